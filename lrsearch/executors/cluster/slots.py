"""What Ray Tune asks while a sweep runs: which trial comes next, whether all is over, and what was lost."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from lrsearch.executors.processes import STARTS
from lrsearch.executors.workers import Died, Gone, Refused, to_json
from lrsearch.runs.lost import Cause, Death

NODE_SECONDS = 5.0
"""Between two looks at the nodes of the cluster: a rule."""
ALONE_SECONDS = 20.0
"""Without any node that could train, until the sweep ends: a rule, as a lost node often comes back at once."""
MEMORY_TEXTS = ("running low on memory", "OutOfMemoryError")
NODE_TEXTS = ("its node has died", "node was terminated", "ActorUnavailableError", "NodeDiedError", "node failed")
"""Parts of Ray's error messages, of Ray 2.60."""


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


class Watch(tune.Callback):
    """Reports lost workers, and the loss of all machines.

    Args:
        send: sends a message to the parent process.
        slots: the workers.
        cpus, gpus: what a worker needs.
        clock: seconds.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        slots: Slots,
        cpus: float,
        gpus: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send, self._slots, self._needs, self._clock = send, slots, {"CPU": cpus, "GPU": gpus}, clock
        self._checked_at = self._trained_at = clock()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report a lost worker with Ray's reason."""
        text = Path(trial.error_file).read_text() if trial.error_file else ""
        worker, death = trial.config["worker"], death_of_actor(text)
        self._send(to_json(Died(worker, death)))
        if not self._slots.replace(worker, death):
            self._send(to_json(Refused(worker, f"its actor ended {STARTS} times before it could train: {death}")))

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the nodes every few seconds."""
        now = self._clock()
        if self._slots.is_over or now - self._checked_at < NODE_SECONDS:
            return
        self._checked_at = now
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        if any(all(node["Resources"].get(name, 0) >= need for name, need in self._needs.items()) for node in nodes):
            self._trained_at = now
        elif now - self._trained_at > ALONE_SECONDS:
            self._send(to_json(Gone(f"no machine of the cluster is left that could train ({len(nodes)} are alive)")))
            self._slots.is_over = True

    def __getstate__(self) -> dict[str, Any]:
        return {}


def death_of_actor(text: str) -> Death:
    r"""The end of a worker's actor, from the text of Ray's error.

    >>> print(death_of_actor("ActorDiedError: The actor died.\nThe actor is dead because its node has died."))
    node lost: The actor is dead because its node has died
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    kinds = {Cause.MEMORY: MEMORY_TEXTS, Cause.NODE: NODE_TEXTS}
    for cause, parts in kinds.items():
        line = next((line for line in lines if any(part in line for part in parts)), None)
        if line is not None:
            return Death(cause, line[:200].rstrip("."))
    return Death(Cause.KILLED, (lines[-1] if lines else "for a reason that Ray does not say")[:200].rstrip("."))
