"""The searcher of a sweep: it has a Tune trial for each worker, and another one where a worker was lost."""

from collections import Counter
from typing import Any

from ray import tune
from ray.tune.search import Searcher

STARTS = 5
"""Actors of a worker that end before one can train: a rule, above the number of nodes that are lost meanwhile."""


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
        """Have a lost worker replaced at once: where no trial is left, Tune waits here for the next one."""
        worker = self._trials.pop(trial_id, None)
        if worker is None:
            return
        self._lost[trial_id] = worker
        if error:
            self._failures[worker] += 1
            if not self.is_refused(worker):
                self._missing.append(worker)

    def placed(self, trial_id: str, node: str) -> None:
        """Note the node of a trial."""
        self._nodes[trial_id] = node

    def node_of(self, trial_id: str) -> str | None:
        """The node of a trial; None before its actor has started."""
        return self._nodes.get(trial_id)

    def opened(self, worker: int) -> None:
        """Note that a worker can train."""
        self._failures[worker] = 0

    def is_refused(self, worker: int) -> bool:
        """Whether a worker was lost so often before it could train that it is not replaced."""
        return self._failures[worker] >= STARTS

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
