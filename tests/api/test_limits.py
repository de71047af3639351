"""Limits of time and lost workers, by the calls that users make."""

import threading
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.api import run_table
from lrsearch.api.resources import open_executor, source_of
from lrsearch.errors import TaskError, UsageError, WorkError
from lrsearch.executors.pool import Pool
from lrsearch.runs.executor import Limits
from lrsearch.runs.lost import Cause
from lrsearch.study.table import PolicyTable, Row
from lrsearch.training.function_places import module_of

losing, surface = (module_of(Path(__file__).with_name(f"{name}.py")) for name in ("losing", "surface"))


def test_every_call_that_trains_refuses_a_limit_that_cannot_be(tmp_path):
    table = PolicyTable(
        "t", surface.minimized.task, (Row(lrs.parse("FIX(k0=0.1)")),), 1, "here", 160, surface.minimized
    )
    calls = (
        lambda **given: lrs.search(surface.minimized, 4, out=tmp_path / "out", **given),
        lambda **given: lrs.prune(surface.minimized, 4, out=tmp_path / "out", **given),
        lambda **given: lrs.verify("FIX(k0=0.1)", surface.minimized, 1.0, 16, out=tmp_path / "out", **given),
        lambda **given: run_table(table, out=tmp_path / "out", **given),
    )
    for call in calls:
        for name in ("max_hours", "max_seconds_per_run"):
            with pytest.raises(UsageError, match=f"{name} is a number above 0, got 0; leave it out"):
                call(**{name: 0})
    assert not (tmp_path / "out").exists()


def test_a_function_that_cannot_be_sent_is_refused_with_a_limit(tmp_path):
    lock = threading.Lock()

    @lrs.task("mine", horizon=100, epoch=10, minimize="loss")
    def train(job):
        with lock:
            return 1.0

    with pytest.raises(TaskError, match=r"cannot be sent .*; a time limit needs a process that can be ended"):
        lrs.search(train, 4, out=tmp_path, max_hours=1)


@pytest.mark.parametrize("kind", ["function", "program", "classification"])
def test_two_workers_are_two_processes_and_a_limit_makes_one_a_process_as_well(kind):
    given = {"horizon": 40, "epoch": 8, "minimize": "loss"}
    trains = {
        "function": surface.minimized,
        "program": lrs.program(["bash", "-c", "exit 3"], "mine", **given),
        "classification": "digits-mlp",
    }[kind]
    for workers, limits in ((2, Limits()), (1, Limits(seconds_per_run=60))):
        with open_executor(source_of(trains, None), workers, limits=limits) as executor:
            assert type(executor) is Pool
            assert len(executor.workers.pids) == executor.slots == workers


@pytest.mark.faults
def test_lost_attempts_are_tried_again_counted_and_told(tmp_path, monkeypatch):
    updates = tmp_path / "updates"
    monkeypatch.setenv("UPDATES", str(updates))
    received = []
    result = lrs.search(losing.train, 4, out=tmp_path, workers=2, max_seconds_per_run=30, lost=received.append)
    assert [(one.death.cause, one.horizon, one.run.steps) for one in result.lost] == [
        (Cause.KILLED, 40, 20),
        (Cause.HUNG, 160, 20),
    ]
    assert tuple(received) == result.lost
    assert result.spent.steps == updates.stat().st_size
    assert sum(trial.stored.lost_steps for trial in result.history) == 40
    assert [one["cause"] for one in result.to_json()["lost"]] == ["killed", "over its time limit"]
    assert result.usage.slots == 2
    assert 0 < result.usage.share < 1


@pytest.mark.faults
def test_a_search_that_is_out_of_time_answers_and_the_same_call_goes_on(tmp_path):
    def stop(study, trial):
        if trial.role == "default" and trial.run:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lrs.search(surface.minimized, 4, out=tmp_path, watch=stop)
    result = lrs.search(surface.minimized, 4, out=tmp_path, max_hours=1e-9)
    assert result.driven.is_out_of_time
    assert result.decision.is_default
    assert result.warnings[0].startswith("the time limit of 1e-09 h ended the search after ")
    assert not lrs.search(surface.minimized, 4, out=tmp_path).driven.is_out_of_time


@pytest.mark.faults
def test_a_search_without_its_default_ends_with_words(tmp_path):
    with pytest.raises(WorkError, match="the default was not trained: the time limit of 1e-09 h ended the search"):
        lrs.search(surface.minimized, 4, out=tmp_path / "search", max_hours=1e-9)
    with pytest.raises(WorkError, match=r"the time limit of 1e-09 h ended the training before seed 0, 1 had an answer"):
        lrs.verify("FIX(k0=0.1)", surface.minimized, 1.0, 160, seeds=2, out=tmp_path / "verify", max_hours=1e-9)
