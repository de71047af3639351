"""A worker of a sweep: a Tune trial whose actor keeps a training process and relays its orders and messages."""

import sys
from typing import Any

import ray
from ray import tune

from lrsearch.executors.cluster.places import Places
from lrsearch.executors.cluster.queues import END, TRAIN
from lrsearch.executors.processes import ProcessWorkers
from lrsearch.executors.worker import GRACE_SECONDS, MachineShare
from lrsearch.executors.workers import Died, Failed, Message, Opened, Order, Refused, RunEnded, to_json
from lrsearch.runs import Run

PLACED = "placed"
"""The kind of the message that names the worker's node."""
RELAY_SECONDS = 1.0
"""Between two questions whether to stop, while the training process says nothing: a rule."""


class Slot(tune.Trainable):
    """Trains one group of runs in each step. Its process ends with it, and is replaced where it dies.

    The actor itself loads no torch: it starts fast, and a hang or a crash of the training leaves it alive.
    """

    def setup(  # type: ignore[override]  # Ray passes the parameters of `tune.with_parameters`
        self,
        config: dict[str, Any],
        *,
        source: bytes,
        queues: Any,
        share: MachineShare,
        seconds_per_run: float | None,
        places: Places,
    ) -> None:
        """Start the training process.

        Args:
            config: the worker's number.
            source: the pickled source.
            queues: the actor for orders and messages.
            share: the share of the machine.
            seconds_per_run: for an attempt of a run; None for no limit.
            places: where the files of runs go.
        """
        self._queues, self._places = queues, places
        self._is_open = self._is_over = False
        node = ray.get_runtime_context().get_node_id()
        ray.get(queues.report.remote(self.trial_id, {"kind": PLACED, "node": node}))
        vars(sys.modules["__main__"]).pop("__file__", None)  # it is Ray's own script, which the process would import
        self._workers = ProcessWorkers(lambda: source, [share], seconds_per_run)

    def step(self) -> dict[str, Any]:
        """Train a group, and return what became of its runs; the trial is done once all is over."""
        while not self._is_open:
            message = self._relay()
            if isinstance(message, Refused) or self._is_over:
                return {"runs": [], "done": True}
        values = ray.get(self._queues.take.remote(self.trial_id))
        if values is None:  # the end
            return {"runs": [], "done": True}
        return {"runs": self._train(self._places.order(Order.from_json(values))), "done": False}

    def cleanup(self) -> None:
        """End the training process."""
        self._workers.close(GRACE_SECONDS)

    def _train(self, order: Order) -> list[dict[str, Any]]:
        """Train a group until its last run has ended, or its process; return the runs for Ray's own files."""
        self._workers.begin(0, order)
        described = dict(zip(order.keys, order.runs, strict=True))
        ended: list[dict[str, Any]] = []
        while len(ended) < len(described):
            message = self._relay()
            if isinstance(message, RunEnded):
                policy, horizon, seed, _ = described[message.key]
                ended.append({"policy": policy, "horizon": horizon, "seed": seed, **_outcome(message.run)})
            elif isinstance(message, Died | Failed) or self._is_over:
                break
        return ended

    def _relay(self) -> Message | None:
        """Pass on the next message of the training process, and stop it if all stops."""
        message = self._workers.receive(RELAY_SECONDS)
        if isinstance(message, Opened | Died):
            self._is_open = isinstance(message, Opened)
        values = None if message is None else to_json(message)
        state = ray.get(self._queues.report.remote(self.trial_id, values))
        if state != TRAIN:
            self._workers.stop()
        if state == END:
            self._workers.close(GRACE_SECONDS)
            self._is_over = True
        return message


def _outcome(run: Run) -> dict[str, Any]:
    return {"state": str(run.state), "steps": run.steps, "score": run.score, "seconds": run.seconds}
