"""Runs that are trained together: in lockstep, from a shared beginning, or one by one; a fixed rule says which.

The rule reads the task, never the clock, so that a search gives the same runs on any number of workers. In lockstep a
run is what it is alone but for rounding: a store that a table has filled gives a search such runs, and the other way.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.training.fused import fused, why_not
from lrsearch.training.loop import Trainer, Watch
from lrsearch.training.prefixes import Ended, families, train_family

logger = logging.getLogger(__name__)

Progress = Callable[[RunSpec, int], None]

MOST_FLOP = 10e6
"""Of a forward pass of one batch, for lockstep to pay on a CPU: measured by `studies/benchmarks/fused.py`."""

MOST_ROWS = 16
CACHED_BYTES = 80 * 2**20
"""Of what runs in lockstep hold: beyond it a CPU spends its time on page faults."""

CPU_SHARE, GPU_SHARE = 0.6, 0.8
"""Of the memory that is free."""

LEAST_ROWS = 4
"""In lockstep, two or three runs take longer than one after the other."""


MOST_STEPS = 10_000
"""Of a run in lockstep: it keeps no checkpoint."""


@dataclass(frozen=True, slots=True)
class Lockstep:
    """Whether short runs of a task train in lockstep.

    Args:
        rows: how many at a time; 0 if they train one by one.
        reason: why, for people.
    """

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Runs for one worker.

    Args:
        specs: the runs: of one horizon where they are in lockstep.
        in_lockstep: whether they are, else they share a beginning, or there is one.
    """

    specs: tuple[RunSpec, ...]
    in_lockstep: bool = False


def lockstep(trainer: Trainer) -> Lockstep:
    """Say whether runs of a task gain by training in lockstep, and how many fit into memory; it is logged as well."""
    found = _lockstep(trainer)
    logger.info("%s: short runs train %s: %s", trainer.task.name,
                f"up to {found.rows} in lockstep" if found.rows else "one by one", found.reason)
    return found


def _lockstep(trainer: Trainer) -> Lockstep:
    reason = why_not(trainer, [])
    if reason is not None:
        return Lockstep(0, reason)
    flop, size = _cost(trainer)
    if flop > MOST_FLOP:
        return Lockstep(0, f"a batch takes its model {flop / 1e6:.3g} million operations, and it pays up to"
                           f" {MOST_FLOP / 1e6:.0f}")
    if LEAST_ROWS * size > CACHED_BYTES:
        return Lockstep(0, f"a run takes {size / 2**20:.0f} MiB, and it pays while {LEAST_ROWS} fit into"
                           f" {CACHED_BYTES / 2**20:.0f}")
    rows = max(LEAST_ROWS, min(MOST_ROWS, CACHED_BYTES // size, _free_bytes(trainer.device) // size))
    return Lockstep(rows, f"a batch takes its model {flop / 1e6:.2g} million operations")


def groups(specs: Sequence[RunSpec], short: Sequence[RunSpec], rows: int, workers: int = 1) -> list[Group]:
    """Group runs for workers. Runs in lockstep are of one seed, for convolutions round otherwise in mixed company.

    Args:
        specs: what to train.
        short: those among them that train in lockstep if the task's runs do.
        rows: how many do at a time; 0 for none.
        workers: how many processes train: a group is not larger than a worker's share of its horizon.
    """
    wanted = {spec.key for spec in short if rows and _can_be_in_lockstep(spec)}
    chosen = [spec for spec in specs if spec.key in wanted]
    found: list[Group] = []
    for horizon, seed in dict.fromkeys((spec.horizon, spec.seed) for spec in chosen):
        alike = [spec for spec in chosen if (spec.horizon, spec.seed) == (horizon, seed)]
        size = min(rows, max(LEAST_ROWS, -(-len(alike) // workers)))
        found += [Group(tuple(alike[start : start + size]), True) for start in range(0, len(alike), size)]
    return found + [Group(tuple(family)) for family in families([spec for spec in specs if spec.key not in wanted])]


def _can_be_in_lockstep(spec: RunSpec) -> bool:
    """Tell whether a run knows its learning rates ahead, and is short enough to begin anew if it is interrupted."""
    return spec.horizon <= MOST_STEPS and not spec.policy.is_controller


def train_group(
    trainer: Trainer, group: Group, ended: Ended, watch: Watch | None = None, folder: Path | None = None
) -> None:
    """Train a group, and tell of each run that ends; `folder` is for weights and checkpoints, as in `files`."""
    if not group.in_lockstep:
        train_family(trainer, group.specs, ended, watch, folder)
        return
    for n, run in fused(trainer, group.specs, watch, folder):
        ended(group.specs[n], run)


class Crew(Protocol):
    """Those who train: worker processes, or this one."""

    @property
    def workers(self) -> int:
        """How many groups they train at a time."""

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of their task train in lockstep."""

    def train(
        self, ask: Callable[[], Group | None], ended: Ended, *, folder: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Train groups until there are none, and tell of each run that ends.

        Args:
            ask: gives what to train next; None while what is open must end first, and when nothing is left.
            ended: is told of every run that ends.
            folder: for the weights of full runs and the checkpoints of those in progress; None to keep none.
            progress: is told the steps done of a run that is open, every now and then.

        Raises:
            KeyboardInterrupt: if it was interrupted, after that was told of every run that it ended.
        """


class Here:
    """This process, which trains one group after the other.

    Args:
        trainer: holds the task and its data.
    """

    workers = 1

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.lockstep = trainer, lockstep(trainer)

    def train(
        self, ask: Callable[[], Group | None], ended: Ended, *, folder: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Train groups, as `Crew` says; None ends it."""
        open_runs: list[RunSpec] = []
        is_over = False

        def told(spec: RunSpec, run: Run) -> None:
            nonlocal is_over
            open_runs.remove(spec)
            is_over |= run.state is RunState.INTERRUPTED
            try:
                ended(spec, run)
            except KeyboardInterrupt:  # what ended beside it is told of as well, and it again, before that is raised
                is_over = True
                if run.state.is_final:
                    ended(spec, run)

        def watch(step: int) -> None:
            if is_over:
                raise KeyboardInterrupt
            if progress:
                progress(open_runs[0], step)

        while not is_over and (group := ask()) is not None:
            open_runs[:] = group.specs
            train_group(self.trainer, group, told, watch, folder)
        if is_over:
            raise KeyboardInterrupt


def _cost(trainer: Trainer) -> tuple[float, int]:
    """The operations of a forward pass of one batch, and the bytes that a run holds in lockstep."""
    model, saved = trainer.new_model(0), 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    batch = trainer.train_split.x[: trainer.task.batch_size]
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(count, lambda tensor: tensor):
        trainer.loss(model, batch, trainer.train_split.y[: len(batch)])
    state = sum(p.numel() * p.element_size() for p in model.parameters())
    return float(counter.get_total_flops()), 2 * saved + 4 * state


def _free_bytes(device: torch.device) -> int:
    """The bytes that runs may take."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return CACHED_BYTES
    return int(CPU_SHARE * free)
