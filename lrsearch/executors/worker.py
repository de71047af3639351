"""A worker process: it opens a source, trains the groups that it receives, and ends with its own child processes."""

import atexit
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lrsearch.errors import LRSearchError
from lrsearch.executors.workers import Order
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.executor import INTERRUPTING, GroupTrainer, TrainerSource

REPORT_SECONDS = 0.2
"""Between two reports of the steps done. A rule: often enough for people, too seldom to slow training."""
GRACE_SECONDS = 5.0
"""For a run to stop and write its checkpoint before its process is killed: a rule."""
ORPHAN_SECONDS = 3.0
"""For the same, where the parent process has died: a rule."""
PARENT_SECONDS = 1.0
"""Between two checks that the parent process lives: a rule."""

OPENED, FAILED, ENDED, STEPS = "opened", "failed", "ended", "steps"
"""The kinds of a worker's messages. Their content is its trainer's lockstep; the reason of a failure; a run's key and
the run; a run's key and its steps."""


@dataclass(frozen=True, slots=True)
class MachineShare:
    """A worker's share of the machine.

    Args:
        threads: its share of the cores.
        device: its GPU; None where there is none.
    """

    threads: int
    device: str | None


def work(connection: Connection, is_stopping: Any, share: MachineShare) -> None:
    """Train the groups that arrive, until the connection is closed. The first message is the source.

    Args:
        connection: for groups and messages.
        is_stopping: a shared byte: not 0 when runs must stop.
        share: the worker's share of the machine.
    """
    _lead_process_group()
    terminated = _Termination()
    with suppress(EOFError, OSError, KeyboardInterrupt):  # the connection was closed, perhaps in the middle of a run
        if (trainer := _open(connection, share)) is None:
            return
        for name in INTERRUPTING:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), terminated)
        with closing(trainer):
            while not terminated:
                order: Order = connection.recv()
                with terminated.postponed():
                    _train(trainer, order, connection, is_stopping, terminated)
    if terminated:
        terminated.obey()


class _Termination:
    """A signal from outside. It interrupts the run in progress, which writes its checkpoint; then the process ends."""

    def __init__(self) -> None:
        self._is_set, self._is_postponed = False, False

    def __bool__(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """End once the group has ended."""
        self._is_set = True

    def __call__(self, number: int, frame: object) -> None:
        self.set()
        if not self._is_postponed:
            raise KeyboardInterrupt

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Only note the signal meanwhile."""
        self._is_postponed = True
        try:
            yield
        finally:
            self._is_postponed = False

    def obey(self) -> None:
        """End by the signal."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def kill_group(pid: int) -> None:
    """Kill the process group of a worker: the worker and its child processes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _lead_process_group() -> None:
    """Make a process group that ignores Ctrl-C, and ends with this process or with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(os, "setsid"):  # Windows
        return
    os.setsid()
    atexit.register(kill_group, os.getpid())  # registered first, so it runs last: no child process outlives it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Kill the group soon after the parent's death, even in the middle of a run."""
    parent = multiprocessing.parent_process()
    while parent is not None and os.getppid() == parent.pid:
        parent.join(PARENT_SECONDS)
    time.sleep(ORPHAN_SECONDS)
    kill_group(os.getpid())


def _open(connection: Connection, share: MachineShare) -> GroupTrainer | None:
    """Open the source and send its lockstep; if that fails, send the reason and return None."""
    try:
        source: TrainerSource = connection.recv()
        trainer = source.open(is_own_process=True, threads=share.threads, device=share.device)
        lockstep = trainer.lockstep
    except EOFError:
        raise
    except BaseException as error:  # the user's file may do anything, sys.exit included
        connection.send((FAILED, _reason(error)))
        return None
    connection.send((OPENED, lockstep.rows, lockstep.reason))
    return trainer


def _train(
    trainer: GroupTrainer, order: Order, connection: Connection, is_stopping: Any, terminated: _Termination
) -> None:
    """Train a group. Send each run as it ends, and the steps done every few steps."""
    last_report, open_keys = time.monotonic(), list(order.keys)
    folder = None if order.folder is None else Path(order.folder)

    def send(*message: Any) -> None:
        try:
            connection.send(message)
        except OSError:  # the parent process is gone
            raise KeyboardInterrupt from None

    def watch(step: int) -> None:
        nonlocal last_report
        if is_stopping.value or terminated:
            raise KeyboardInterrupt
        if time.monotonic() - last_report > REPORT_SECONDS:
            send(STEPS, open_keys[0], step)
            last_report = time.monotonic()

    def ended(spec: RunSpec, run: Run) -> None:
        open_keys.remove(spec.key)
        if run.state is RunState.INTERRUPTED and not is_stopping.value:  # by a signal, or by the training itself
            terminated.set()
        send(ENDED, spec.key, run.to_text())

    try:
        trainer.train_group(order.group(trainer.task), ended, watch, folder)
    except BaseException as error:
        send(FAILED, _reason(error))


def _reason(error: BaseException) -> str:
    """The message of an lrsearch error; the traceback of any other."""
    return str(error) if isinstance(error, LRSearchError) else "".join(traceback.format_exception(error)).rstrip()
