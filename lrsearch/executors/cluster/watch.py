"""Looks after the machines of a sweep: it reports lost workers with their cause, and the loss of all machines."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from lrsearch.executors.cluster.slots import Slots
from lrsearch.executors.processes import STARTS
from lrsearch.executors.workers import Died, Gone, Refused, to_json
from lrsearch.runs.lost import Cause, Death

NODE_SECONDS = 5.0
"""Between two checks of the nodes of the cluster: a rule."""
CAUSE_SECONDS = 3.0
"""For Ray to notice that a node is dead, after an actor on it is: a rule; it has taken up to 1 s here."""
ALONE_SECONDS = 20.0
"""Without any node that could train, until the sweep ends: a rule, as a lost node often comes back at once."""
MEMORY_TEXTS = ("running low on memory", "OutOfMemoryError")
NODE_TEXTS = ("its node has died", "node was terminated")
"""Parts of Ray's error messages, of Ray 2.60."""


@dataclass(frozen=True, slots=True)
class _Loss:
    """A worker whose actor is gone, and perhaps its node."""

    worker: int
    node: str | None
    death: Death
    since: float


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
        self._losses: list[_Loss] = []

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note a lost worker with Ray's reason."""
        text = Path(trial.error_file).read_text() if trial.error_file else ""
        node = self._slots.node_of(trial.trial_id)
        self._losses.append(_Loss(trial.config["worker"], node, death_of_actor(text), self._clock()))

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Report losses once their cause is clear; check the nodes every few seconds."""
        now = self._clock()
        if self._slots.is_over or (not self._losses and now - self._checked_at < NODE_SECONDS):
            return
        self._checked_at = now
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        self._report_losses({node["NodeID"] for node in nodes}, now)
        self._require_nodes(nodes, now)

    def _report_losses(self, alive: set[str], now: float) -> None:
        """Report the lost workers. Ray says of an actor that it is gone before it notices that its node is."""
        for loss in list(self._losses):
            death = loss.death
            if death.cause is Cause.KILLED and loss.node is not None and loss.node not in alive:
                death = Death(Cause.NODE, "its node has died")
            elif death.cause is Cause.KILLED and now - loss.since < CAUSE_SECONDS:
                continue
            self._losses.remove(loss)
            self._send(to_json(Died(loss.worker, death)))
            if not self._slots.replace(loss.worker, death):
                why = f"its actor ended {STARTS} times before it could train: {death}"
                self._send(to_json(Refused(loss.worker, why)))

    def _require_nodes(self, nodes: list[Any], now: float) -> None:
        """End the sweep where no node has been left for long that could train."""
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
