"""The searcher of a sweep: it has a Tune trial for each worker, and another one where a worker was lost."""

from collections import Counter
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from lrsearch.executors.processes import STARTS
from lrsearch.runs.lost import Cause, Death


class Slots(Searcher):
    """Gives Ray Tune a trial for each worker, and another where one was lost.

    Args:
        slots: the number of workers.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self.is_over = False
        self._missing = list(range(slots))
        self._trials: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._failures = Counter[int]()
        self._nodes: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while all workers are there, FINISHED once all is over."""
        if self.is_over:
            return Searcher.FINISHED
        if not self._missing:
            return None
        self._trials[trial_id] = worker = self._missing.pop(0)
        return {"worker": worker}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: messages have their own way."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note that a trial has ended; `replace` decides on another one."""
        worker = self._trials.pop(trial_id, None)
        if worker is not None:
            self._lost[trial_id] = worker

    def placed(self, trial_id: str, node: str) -> None:
        """Note the node of a trial."""
        self._nodes[trial_id] = node

    def node_of(self, trial_id: str) -> str | None:
        """The node of a trial; None before its actor has started."""
        return self._nodes.get(trial_id)

    def opened(self, worker: int) -> None:
        """Note that a worker can train."""
        self._failures[worker] = 0

    def replace(self, worker: int, death: Death) -> bool:
        """Have a lost worker replaced. Returns False where it has ended too often before it could train."""
        self._failures[worker] += death.cause is not Cause.NODE
        if self._failures[worker] >= STARTS:
            return False
        self._missing.append(worker)
        return True

    def has(self, trial_id: str) -> bool:
        """Whether a trial is one that trains, and was not lost."""
        return trial_id in self._trials

    def worker_of(self, trial_id: str) -> int | None:
        """The worker of a trial, also of a lost one."""
        return self._trials.get(trial_id, self._lost.get(trial_id))

    @property
    def stopper(self) -> "StopAll":
        """What tells Ray Tune that all is over."""
        return StopAll(self)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a sweep continues from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StopAll(tune.Stopper):
    """Stops all trials once all is over.

    Args:
        slots: knows when.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no trial stops alone."""
        return False

    def stop_all(self) -> bool:
        """Whether all is over."""
        return self._slots.is_over

    def __getstate__(self) -> dict[str, Any]:
        return {}
