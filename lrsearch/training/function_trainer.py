"""Training by a user's function, each run with its seed."""

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrsearch.runs import RunSpec, Task
from lrsearch.runs.environment import environment
from lrsearch.runs.job import Job, OnProgress
from lrsearch.training.user_trainer import UserTrainer

NUMPY_SEEDS = 2**32


class FunctionTrainer(UserTrainer):
    """Trains runs of one task by a user's function, in this process.

    Args:
        function: takes a `Job`, and returns its metric, a mapping of metrics, or None.
        task: the task that it trains.
        device: a torch device, such as "cuda:0"; None for the GPU if there is one.
        source: the digest of the function's source, recorded with each run.
    """

    def __init__(
        self, function: Callable[[Job], Any], task: Task, device: str | None = None, source: str | None = None
    ) -> None:
        super().__init__(task, device, source)
        self.function = function

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _job(self, spec: RunSpec, folder: Path | None, watch: OnProgress | None, is_range_test: bool | None) -> Job:
        return Job(spec, folder=folder, device=self.device, on_progress=watch, is_range_test=is_range_test)

    def _environment(self, job: Job) -> Mapping[str, str]:
        return environment(job.device)

    def _outcome(self, job: Job) -> Any:
        with seeded(job.seed):
            try:
                return self.function(job)
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                return error


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed `random`, numpy and torch, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state()
    with _torch_state_restored():
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def seed_all(seed: int) -> None:
    """Seed `random`, numpy, and torch where it is loaded."""
    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


@contextlib.contextmanager
def _torch_state_restored() -> Iterator[None]:
    import torch

    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
        yield
