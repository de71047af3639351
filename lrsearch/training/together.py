"""Trains a group of runs in lockstep, with a shared prefix, or one by one; a fixed rule of the task decides.

The rule reads the task, never the clock, so that a search has the same runs on any number of workers. A run in lockstep
equals the single run up to rounding, so tables and searches may use each other's stored runs.
"""

import logging
import os
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lrsearch.runs.executor import Ended, Group, Lockstep
from lrsearch.training.groups import LEAST_ROWS
from lrsearch.training.lockstep import iter_lockstep, why_not
from lrsearch.training.loop import Trainer, Watch
from lrsearch.training.prefixes import train_prefix_group

logger = logging.getLogger(__name__)

MOST_FLOP = 10e6
"""Measured by `studies/benchmarks/fused.py`: up to these operations of a forward pass, lockstep pays on a CPU."""

MOST_ROWS = 16
"""Rule: runs in lockstep at a time."""
CACHED_BYTES = 80 * 2**20
"""Rule: with more bytes in the rows' tensors, a CPU spends its time on page faults."""

CPU_SHARE, GPU_SHARE = 0.6, 0.8
"""Rule: shares of the free memory that runs in lockstep may take."""


def lockstep(trainer: Trainer) -> Lockstep:
    """Whether runs of a task gain by training in lockstep, and how many fit into memory. The answer is logged."""
    decision = _lockstep(trainer)
    logger.info(
        "%s: short runs train %s: %s",
        trainer.task.name,
        f"up to {decision.rows} in lockstep" if decision.rows else "one by one",
        decision.reason,
    )
    return decision


def _lockstep(trainer: Trainer) -> Lockstep:
    reason = why_not(trainer, [])
    if reason is not None:
        return Lockstep(0, reason)
    flop, size = _cost(trainer)
    if flop > MOST_FLOP:
        operations = f"a batch takes its model {flop / 1e6:.3g} million operations"
        return Lockstep(0, f"{operations}, and it pays up to {MOST_FLOP / 1e6:.0f}")
    if LEAST_ROWS * size > CACHED_BYTES:
        fit = f"it pays while {LEAST_ROWS} fit into {CACHED_BYTES / 2**20:.0f}"
        return Lockstep(0, f"a run takes {size / 2**20:.0f} MiB, and {fit}")
    rows = max(LEAST_ROWS, min(MOST_ROWS, CACHED_BYTES // size, _free_bytes(trainer.device) // size))
    return Lockstep(rows, f"a batch takes its model {flop / 1e6:.2g} million operations")


def train_group(
    trainer: Trainer, group: Group, ended: Ended, watch: Watch | None = None, folder: Path | None = None
) -> None:
    """Train a group and pass each run to `ended`; `folder` is for weights and checkpoints, as in `files`."""
    if not group.in_lockstep:
        train_prefix_group(trainer, group.specs, ended, watch, folder)
        return
    for n, run in iter_lockstep(trainer, group.specs, watch, folder):
        ended(group.specs[n], run)


class ClassificationTrainer:
    """Trains groups of runs of a classification in this process.

    Args:
        trainer: the trainer of the task, with its data in memory.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.task, self.lockstep = trainer, trainer.task, lockstep(trainer)

    def train_group(self, group: Group, ended: Ended, watch: Watch | None = None, folder: Path | None = None) -> None:
        """Train a group, see `GroupTrainer.train_group`."""
        train_group(self.trainer, group, ended, watch, folder)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _cost(trainer: Trainer) -> tuple[float, int]:
    """The operations of one batch's forward pass, and the bytes of a run in lockstep."""
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
    """The bytes that runs in lockstep may take."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # `os.sysconf` has these names on some systems only
        return CACHED_BYTES
    return int(CPU_SHARE * free)
