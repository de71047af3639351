"""A search whose process is killed with -9 is charged for every update that was made, by any of its processes."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lrsearch.runs.counter import lost_in

SCRIPT = Path(__file__).with_name("killed_driver.py")
KILLS = 2
ROWS = {"function": 1, "classification": 1, "lockstep": 16}
"""Runs that a process trains at a time, at most."""


class KilledSearch:
    """A search that is started again after each kill.

    Args:
        folder: for its files.
        kind, workers: what it trains, and in how many processes.
    """

    def __init__(self, folder, kind, workers):
        self.words, self.temporary = (kind, str(workers)), folder / "temporary"
        self.temporary.mkdir()
        self.log, self.weights = folder / "updates", folder / "out" / "weights"
        self.log.touch()
        self.environment = {
            **os.environ,
            "OUT": str(folder / "out"),
            "UPDATES": str(self.log),
            "TMPDIR": str(self.temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        }

    @property
    def updates(self):
        return self.log.stat().st_size

    def start(self):
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def kill_after(self, updates):
        """Start it, and kill its own process once so many updates more were made.

        Returns whether the kill landed: updates were counted and not reported.
        """
        until = self.updates + updates
        with self.start() as process:
            while self.updates < until and process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.005)
            process.send_signal(signal.SIGKILL)
            counts = list(self.weights.glob("*/steps"))
            return process.wait() == -signal.SIGKILL and any(map(lost_in, (count.parent for count in counts)))

    def finish(self):
        with self.start() as process:
            out, errors = process.communicate()
        assert process.returncode == 0, errors
        return json.loads(out)


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ROWS)
def test_every_update_is_charged_where_the_driver_is_killed(tmp_path, kind, workers):
    """The charge differs by the updates whose count a kill came before: one of each run in training."""
    search, moments = KilledSearch(tmp_path, kind, workers), random.Random(f"{kind} {workers}")
    landed = sum(search.kill_after(moments.randint(20, 300)) for _ in range(KILLS))
    assert landed == KILLS
    result = search.finish()
    uncounted = search.updates - result["steps"]
    print(f"{search.updates} updates, {result}")
    assert 0 <= uncounted <= KILLS * workers * ROWS[kind]
    assert result["steps"] <= result["budget"] * result["horizon"]
    assert not list(search.weights.glob("*/steps"))
    assert not list(search.temporary.iterdir())
