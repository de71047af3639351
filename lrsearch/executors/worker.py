"""A worker process: it opens a source, trains the groups that come down its line, and ends with all that it started."""

import atexit
import multiprocessing
import os
import signal
import threading
import time
import traceback
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from lrsearch.errors import LRSearchError
from lrsearch.runs import Run, RunSpec, Stop
from lrsearch.runs.executor import Group, GroupTrainer, TrainerSource
from lrsearch.schedules import parse

NEWS_EVERY_SECONDS = 0.2
GRACE_SECONDS = 5.0
"""For a run to be interrupted and its checkpoint written, before its process is ended."""
PARENT_SECONDS = 1.0

OPENED, FAILED, ENDED, STEPS = "opened", "failed", "ended", "steps"
"""What a worker says: its trainer's lockstep; why it cannot go on; a run's key, and the run; a run's key, and steps."""

TaskLike = tuple[str, int, int, Stop | None]
"""A run as it is sent: policy, horizon, seed, stop. Its task is the source's."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker has of the machine.

    Args:
        threads: its share of the cores.
        device: its GPU; None where there is none.
    """

    threads: int
    device: str | None


def work(line: Connection, stop: Event, place: Place) -> None:
    """Train what comes down the line, until it is closed. The first message is the source."""
    _lead_a_group()
    with suppress(EOFError, OSError, KeyboardInterrupt):  # the line was closed, perhaps in the middle of a run
        if (trainer := _open(line, place)) is None:
            return
        with closing(trainer):
            while True:
                asked, in_lockstep, folder = line.recv()
                specs = tuple(RunSpec(trainer.task, parse(policy), *rest) for policy, *rest in asked)
                _train(trainer, Group(specs, in_lockstep), folder, line, stop)


def end_group(pid: int) -> None:
    """End a worker's process and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _lead_a_group() -> None:
    """Have a process group of its own, deaf to Ctrl-C, that ends when this process does, or the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(os, "setsid"):  # Windows
        return
    os.setsid()
    atexit.register(end_group, os.getpid())  # registered first, so it is the last: nothing that was started outlives it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End the group soon after the parent's death, however deep in a run this process is."""
    parent = multiprocessing.parent_process()
    while parent is not None and os.getppid() == parent.pid:
        parent.join(PARENT_SECONDS)
    time.sleep(GRACE_SECONDS)
    end_group(os.getpid())


def _open(line: Connection, place: Place) -> GroupTrainer | None:
    """Open the source, and say how its runs train; None, once it is said why, if that fails."""
    try:
        source: TrainerSource = line.recv()
        trainer = source.open(is_own_process=True, threads=place.threads, device=place.device)
        lockstep = trainer.lockstep
    except EOFError:
        raise
    except BaseException as error:  # the user's file may do anything, sys.exit included
        line.send((FAILED, _reason(error)))
        return None
    line.send((OPENED, lockstep.rows, lockstep.reason))
    return trainer


def _train(trainer: GroupTrainer, group: Group, folder: Path | None, line: Connection, stop: Event) -> None:
    """Train a group, and send each run as it ends, and the steps done every now and then."""
    told, waiting = time.monotonic(), [spec.key for spec in group.specs]

    def say(*news: Any) -> None:
        try:
            line.send(news)
        except OSError:  # who asked is gone
            raise KeyboardInterrupt from None

    def watch(step: int) -> None:
        nonlocal told
        if stop.is_set():
            raise KeyboardInterrupt
        if time.monotonic() - told > NEWS_EVERY_SECONDS:
            say(STEPS, waiting[0], step)
            told = time.monotonic()

    def ended(spec: RunSpec, run: Run) -> None:
        waiting.remove(spec.key)
        say(ENDED, spec.key, run.to_text())

    try:
        trainer.train_group(group, ended, watch, folder)
    except BaseException as error:
        say(FAILED, _reason(error))


def _reason(error: BaseException) -> str:
    """What an error says; of one that is not lrsearch's own, its traceback."""
    return str(error) if isinstance(error, LRSearchError) else "".join(traceback.format_exception(error)).rstrip()
