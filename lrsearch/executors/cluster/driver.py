"""The driver of a sweep: the process that joins the Ray cluster and runs Ray Tune. What Ray prints goes to its log.

It is started by `workers.py` with one end of a pair of sockets, reads the settings and the pickled source, and then
passes orders to the workers and their messages back. It knows neither the study nor the store.
"""

import json
import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from lrsearch.errors import LRSearchError
from lrsearch.executors.cluster.joining import joined
from lrsearch.executors.cluster.places import Places
from lrsearch.executors.cluster.preflight import check_nodes
from lrsearch.executors.cluster.queues import Queues
from lrsearch.executors.cluster.settings import CHECKED, END, READY, STOP, SweepSettings, share
from lrsearch.executors.cluster.slot import PLACED, Slot
from lrsearch.executors.cluster.slots import Slots
from lrsearch.executors.cluster.watch import Watch
from lrsearch.executors.worker import MachineShare
from lrsearch.executors.workers import Gone, Opened, RunEnded, to_json

WAITING = 10_000
"""Workers that may wait for an order at a time: a rule, above the size of any cluster."""
LAST_SECONDS = 15.0
"""For Ray to end its processes, once the parent process has died or said so: a rule."""


class Parent:
    """The connection to the process that started this one. Any thread may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, values: dict[str, Any]) -> None:
        """Send plain values; nothing where the parent process is gone."""
        with self._lock, suppress(OSError):
            self._connection.send_bytes(json.dumps(values).encode())

    def receive(self) -> Any:
        """Wait for plain values.

        Raises:
            EOFError: if the parent process is gone.
        """
        return json.loads(self._connection.recv_bytes())

    def receive_bytes(self) -> bytes:
        """Wait for bytes."""
        return self._connection.recv_bytes()


def main(descriptor: int) -> None:
    """Drive one sweep.

    Args:
        descriptor: the file descriptor of the connection to the parent process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = Parent(Connection(descriptor))
    settings, source = SweepSettings.from_json(parent.receive()), parent.receive_bytes()
    try:
        with joined(settings):
            rows = check_nodes(settings)
            parent.send({"kind": CHECKED, "rows": [row.to_json() for row in rows]})
            if all(row.is_right for row in rows):
                _run(parent, settings, source)
    except LRSearchError as error:
        parent.send(to_json(Gone(str(error))))
    except (RayError, TuneError, RuntimeError) as error:
        parent.send(to_json(Gone(f"the Ray run broke off: {type(error).__name__}: {last_line(error)}")))


def last_line(error: Exception) -> str:
    """The line of an error's text that names the cause: of a TuneError, a whole traceback, the last."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1 if isinstance(error, TuneError) else 0][:200].rstrip(". ")


def _run(parent: Parent, settings: SweepSettings, source: bytes) -> None:
    """Run Ray Tune until the parent process says that it is over, or dies."""
    slots, gpus = share(ray.cluster_resources(), settings)  # type: ignore[no-untyped-call]
    queues = ray.remote(Queues).options(num_cpus=0, max_concurrency=WAITING, scheduling_strategy=_here()).remote()
    searcher = Slots(slots)
    watch = Watch(parent.send, searcher, settings.cpus, gpus)
    threads = max(1, int(settings.cpus))
    worker = tune.with_parameters(
        Slot,
        source=source,
        queues=queues,
        share=MachineShare(threads, "cuda:0" if 0 < gpus <= 1 else None),  # of several a program takes its own
        seconds_per_run=settings.seconds_per_run,
        places=Places(settings.mark, settings.name),
    )
    os.environ |= {"TUNE_MAX_PENDING_TRIALS_PG": str(slots), "TUNE_FORCE_TRIAL_CLEANUP_S": "10"}
    resources = tune.PlacementGroupFactory([{"CPU": settings.cpus} | ({"GPU": gpus} if gpus else {})])
    tuner = tune.Tuner(
        tune.with_resources(worker, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, trial_dirname_creator=_trial_folder, trial_name_creator=_trial_name
        ),
        run_config=tune.RunConfig(
            name=settings.name,
            storage_path=settings.ray_folder,
            verbose=0,
            stop=searcher.stopper,
            callbacks=[watch],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    parent.send({"kind": READY, "slots": slots, "gpus": gpus})
    threading.Thread(target=_relay_orders, args=(parent, queues, searcher, settings), daemon=True).start()
    threading.Thread(target=_relay_messages, args=(parent, queues, searcher), daemon=True).start()
    tuner.fit()


def _relay_orders(parent: Parent, queues: Any, searcher: Slots, settings: SweepSettings) -> None:
    """Pass what the parent process says on to the queues, until it says that all is over, or dies."""
    with suppress(EOFError, OSError):
        while (values := parent.receive())["kind"] != END:
            if values["kind"] == STOP:
                queues.stop.remote()
            elif searcher.has(values["trial"]):  # else it was lost meanwhile, and its group is trained elsewhere
                queues.put.remote(values["trial"], values["order"])
    searcher.is_over = True
    queues.end.remote()
    timer = threading.Timer(LAST_SECONDS, _leave, (settings,))
    timer.daemon = True
    timer.start()


def _leave(settings: SweepSettings) -> NoReturn:
    """End at once, where Ray does not end: its processes on this machine end with this one."""
    if settings.temporary is not None:
        shutil.rmtree(settings.temporary, ignore_errors=True)
    os._exit(1)


def _relay_messages(parent: Parent, queues: Any, searcher: Slots) -> None:
    """Pass the messages of the workers on to the parent process, with their numbers and trials.

    Of a lost worker only results count, which came late.
    """
    try:
        while True:
            for trial_id, values in ray.get(queues.messages.remote()):
                if values["kind"] == PLACED:
                    searcher.placed(trial_id, values["node"])
                    continue
                worker = searcher.worker_of(trial_id)
                if worker is None or not (searcher.has(trial_id) or values["kind"] == RunEnded.__name__):
                    continue
                if values["kind"] == Opened.__name__:
                    searcher.opened(worker)
                parent.send(values | {"worker": worker, "trial": trial_id})
    except RayError as error:
        if not searcher.is_over:
            parent.send(to_json(Gone(f"the actor of the sweep's messages is lost: {last_line(error)}")))


def _here() -> Any:
    """The scheduling strategy of an actor beside this process."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _trial_name(trial: Any) -> str:
    return f"worker-{trial.config['worker']}"


def _trial_folder(trial: Any) -> str:
    return f"{trial.config['worker']:05}-{trial.trial_id}"


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(int(sys.argv[1]))
