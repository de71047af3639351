"""Looks after the machines of a sweep: it reports lost workers with their cause, and the loss of all machines."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune

from lrsearch.executors.cluster.slots import STARTS, Slots
from lrsearch.executors.workers import Died, Gone, Refused, to_json
from lrsearch.runs.lost import Cause, Death

NODE_SECONDS = 5.0
"""Between two checks of the nodes of the cluster: a rule."""
ANSWER_SECONDS = 2.0
"""For a node to answer at its port: a rule."""
ALONE_SECONDS = 15.0
"""Without any node that could train, until the sweep ends: a rule, as a lost node often comes back at once."""
MEMORY_TEXTS = ("running low on memory", "OutOfMemoryError")
NODE_TEXTS = ("its node has died", "node was terminated")
"""Parts of Ray's error messages, of Ray 2.60."""


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
        """Report a lost worker with the cause: its node, or Ray's own reason."""
        worker, node = trial.config["worker"], self._slots.node_of(trial.trial_id)
        death = death_of_actor(Path(trial.error_file).read_text() if trial.error_file else "")
        if death.cause is Cause.KILLED and node is not None and not _is_node_alive(node):
            death = Death(Cause.NODE, "its node has died")
        self._send(to_json(Died(worker, death)))
        if self._slots.is_refused(worker):
            why = f"its actor ended {STARTS} times before it could train, the last time {death}"
            self._send(to_json(Refused(worker, why)))

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the sweep where no node has been left for long that could train."""
        now = self._clock()
        if self._slots.is_over or now - self._checked_at < NODE_SECONDS:
            return
        self._checked_at = now
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        if any(self._can_host(node) and _answers(node) for node in nodes):
            self._trained_at = now
        elif now - self._trained_at > ALONE_SECONDS:
            self._send(to_json(Gone("no machine of the cluster is left that could train")))
            self._slots.is_over = True

    def _can_host(self, node: Any) -> bool:
        return all(node["Resources"].get(name, 0) >= need for name, need in self._needs.items())

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _is_node_alive(node_id: str) -> bool:
    """Whether a node answers. Ray itself notices after up to 15 s that it does not."""
    node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)  # type: ignore[no-untyped-call]
    return node is not None and node["Alive"] and _answers(node)


def _answers(node: Any) -> bool:
    """Whether a node answers at its port."""
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


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
