"""Runs that are trained together: in lockstep, from a shared beginning, or one by one; a fixed rule says which.

The rule reads the task, never the clock, so that a search gives the same runs on any number of workers. In lockstep a
run is what it is alone but for rounding: a store that a table has filled gives a search such runs, and the other way.
"""

import logging
import os
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lrsearch.runs.executor import Ended, Group, Lockstep
from lrsearch.training.groups import LEAST_ROWS
from lrsearch.training.lockstep import fused, why_not
from lrsearch.training.loop import Trainer, Watch
from lrsearch.training.prefixes import train_family

logger = logging.getLogger(__name__)

MOST_FLOP = 10e6
"""Of a forward pass of one batch, for lockstep to pay on a CPU: measured by `studies/benchmarks/fused.py`."""

MOST_ROWS = 16
CACHED_BYTES = 80 * 2**20
"""Of what runs in lockstep hold: beyond it a CPU spends its time on page faults."""

CPU_SHARE, GPU_SHARE = 0.6, 0.8
"""Of the memory that is free."""


def lockstep(trainer: Trainer) -> Lockstep:
    """Say whether runs of a task gain by training in lockstep, and how many fit into memory; it is logged as well."""
    found = _lockstep(trainer)
    logger.info(
        "%s: short runs train %s: %s",
        trainer.task.name,
        f"up to {found.rows} in lockstep" if found.rows else "one by one",
        found.reason,
    )
    return found


def _lockstep(trainer: Trainer) -> Lockstep:
    reason = why_not(trainer, [])
    if reason is not None:
        return Lockstep(0, reason)
    flop, size = _cost(trainer)
    if flop > MOST_FLOP:
        return Lockstep(
            0, f"a batch takes its model {flop / 1e6:.3g} million operations, and it pays up to {MOST_FLOP / 1e6:.0f}"
        )
    if LEAST_ROWS * size > CACHED_BYTES:
        return Lockstep(
            0, f"a run takes {size / 2**20:.0f} MiB, and it pays while {LEAST_ROWS} fit into {CACHED_BYTES / 2**20:.0f}"
        )
    rows = max(LEAST_ROWS, min(MOST_ROWS, CACHED_BYTES // size, _free_bytes(trainer.device) // size))
    return Lockstep(rows, f"a batch takes its model {flop / 1e6:.2g} million operations")


def train_group(
    trainer: Trainer, group: Group, ended: Ended, watch: Watch | None = None, folder: Path | None = None
) -> None:
    """Train a group, and tell of each run that ends; `folder` is for weights and checkpoints, as in `files`."""
    if not group.in_lockstep:
        train_family(trainer, group.specs, ended, watch, folder)
        return
    for n, run in fused(trainer, group.specs, watch, folder):
        ended(group.specs[n], run)


class ClassificationTrainer:
    """Trains groups of runs of a classification in this process.

    Args:
        trainer: holds the task and its data.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.task, self.lockstep = trainer, trainer.task, lockstep(trainer)

    def train_group(self, group: Group, ended: Ended, watch: Watch | None = None, folder: Path | None = None) -> None:
        """Train a group, as `GroupTrainer` says."""
        train_group(self.trainer, group, ended, watch, folder)

    def close(self) -> None:
        """Nothing is held."""


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
