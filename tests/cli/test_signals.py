"""Signals to a search on the command line: the first ends it cleanly, the second at once, and nothing stays behind."""

import os
import select
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import lrsearch as lrs

TRAINING = """
import os
import time
import lrsearch as lrs

@lrs.task("hanging", horizon=320, epoch=10, minimize="loss", lr_range=(1e-4, 10.0))
def train(job):
    \"\"\"Candidates wait at update 10: the first until it is released; and again while they clean up.\"\"\"
    try:
        for step in range(1, 1 + job.horizon):
            job.log(step, train_loss=1 / step)
            if job.is_evaluation_due(step):
                job.log(step, loss=1 / step)
            if job.horizon == 20 and step == 10:
                wait("released" if is_first() else "never")
    finally:
        if job.horizon == 20 and job.step == 10:
            wait("never")

def is_first():
    try:
        os.close(os.open("first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def wait(event):
    with open(os.environ["WAITING"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    while not os.path.exists(event):
        time.sleep(0.01)
"""
pytestmark = pytest.mark.faults


class Search:
    """A search in a process of its own, whose candidates wait until they are released."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.workers = folder, workers
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        (folder / "train.py").write_text(TRAINING)
        os.mkfifo(folder / "waiting")
        self.waiting = os.fdopen(os.open(folder / "waiting", os.O_RDWR))
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        words = ["search", "train.py:train", "--budget", "8", "--workers", str(self.workers), "--out", "out"]
        places = {"WAITING": "waiting", "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-m", "lrsearch", *words],
            cwd=self.folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | places,
        )

    def close(self) -> None:
        self.waiting.close()
        self.process.kill()
        self.process.communicate()

    def wait(self) -> list[int]:
        """Wait until a candidate waits in every worker; return the processes of these workers."""
        return [int(self.waiting.readline()) for _ in range(self.workers)]

    def interrupt(self, number: int) -> None:
        """Send a signal and read until it was received."""
        self.process.send_signal(number)
        while "stopping, and keeping what is done" not in self.process.stderr.readline():
            pass

    def charged(self) -> list[tuple[str, int]]:
        """The state and the lost updates of the candidates in the store."""
        with lrs.open_store(self.folder / "out" / "store.db") as store:
            return [(str(run.run.state), run.lost_steps) for run in store.runs() if run.horizon == 20]


@pytest.fixture
def opened(tmp_path):
    """Opens a search, and closes it at the end of the test."""
    with ExitStack() as stack:

        def open_(workers: int) -> Search:
            search = Search(tmp_path, workers)
            stack.callback(search.close)
            return search

        yield open_


def has_ended(pid: int, seconds: float) -> bool:
    """Whether a process ends within some seconds."""
    try:
        ending = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([ending], [], [], seconds)[0])
    finally:
        os.close(ending)


@pytest.mark.parametrize(("workers", "name", "charged"), [(1, "SIGTERM", [10]), (2, "SIGINT", [10, 20])])
def test_the_second_signal_ends_a_hanging_search_and_what_it_trained_is_charged(
    opened, tmp_path, workers, name, charged
):
    search, number = opened(workers), getattr(signal, name)
    pids = search.wait()
    search.interrupt(number)
    if workers == 1:
        assert int(search.waiting.readline()) == search.process.pid  # it cleans up, and hangs again
    else:
        (tmp_path / "released").touch()
        while "interrupted" not in search.process.stderr.readline():
            pass
    search.process.send_signal(number)
    assert has_ended(search.process.pid, 30)
    _, err = search.process.communicate()
    assert search.process.returncode == 130, err
    assert "what finished is kept, the same command goes on from there" in err
    assert all(has_ended(pid, 30) for pid in pids)
    assert not list(search.temporary.iterdir())
    assert sorted(search.charged()) == [("interrupted", updates) for updates in charged]


def test_the_first_signal_ends_a_search_cleanly_and_the_same_command_goes_on(opened, tmp_path):
    search = opened(2)
    pids = search.wait()
    search.interrupt(signal.SIGUSR1)
    for event in ("released", "never"):
        (tmp_path / event).touch()
    _, err = search.process.communicate()
    assert search.process.returncode == 130, err
    assert all(has_ended(pid, 30) for pid in pids)
    assert not list(search.temporary.iterdir())
    assert len(search.charged()) == 2
    search.process = search.start()
    out, err = search.process.communicate()
    assert "taken from the store" in out, err
    assert "interrupted" not in {state for state, _ in search.charged()}
