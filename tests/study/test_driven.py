"""What a driven study says of its lost attempts and of its time, and the signals that interrupt it."""

import os
import signal
import threading
from dataclasses import replace

import pytest

from lrsearch.errors import UsageError, WorkError
from lrsearch.runs import Run, RunState
from lrsearch.runs.executor import Limits
from lrsearch.schedules import TRI
from lrsearch.study.driven import Driven
from lrsearch.study.result import conclude
from lrsearch.study.signals import interrupting_signals
from lrsearch.study.strategy import with_role
from lrsearch.words import counted


def train(study, world, lost=0, until=lambda trial: False):
    """Train a study to its end, or until a trial; the default loses some steps before its last attempt."""
    while isinstance(trials := study.ask_all(), list):
        for trial in trials:
            if until(trial):
                return study
            if trial.role == "default" and lost:
                study.charge(trial, Run(state=RunState.INTERRUPTED, steps=lost, seconds=1.0))
            study.tell(trial, world.train(trial.spec(study.setup.task)))
    return study


def test_lost_steps_are_part_of_the_cost_and_a_confirming_pair_that_they_cost_is_named(open_study, world, task):
    lost = task.horizon // 2
    whole = conclude(train(open_study(12), world(best=0.17)))
    disturbed = train(open_study(12, seed=1), world(best=0.17), lost)
    result = conclude(disturbed)
    pairs = [len(with_role(each.history, "confirm")) // 2 for each in (whole, result)]
    assert with_role(disturbed.history, "default")[0].stored.lost_steps == lost
    assert sum(trial.stored.lost_steps for trial in result.history) == lost
    assert result.cost <= 12
    assert not [warning for warning in whole.warnings if "lost" in warning]
    assert pairs[1] < pairs[0]
    (warning,) = [warning for warning in result.warnings if "lost" in warning]
    assert warning == (
        f"only {counted(pairs[1], 'pair')} of runs, not {pairs[0]}, on fresh seeds compared the best policy with the"
        " default: lost attempts cost 0.50 FRE"
    )


def test_the_end_of_the_time_is_said_with_what_it_left_out(open_study, world, task):
    study = open_study(12)
    study.setup = replace(study.setup, known=(TRI(k0=0.01, k1=0.2, l=64),))
    train(study, world(), until=lambda trial: trial.role == "candidate")
    result = conclude(study, ("first",), Driven(is_out_of_time=True), 2)
    why = "the time limit of 2 h ended the search"
    assert result.warnings == (
        "first",
        f"{why} after {result.cost:.2f} of 12 FRE; the same call goes on",
        f"TRI(k0=0.01, k1=0.2, l=64) was not tried: {why}",
    )
    assert result.to_json()["is_out_of_time"]


def test_without_the_default_the_error_says_that_the_time_was_over(open_study, world):
    study = train(open_study(12), world(), until=lambda trial: trial.role == "default")
    with pytest.raises(
        WorkError, match=r"default was not trained: the time limit of 0\.5 h ended the search before it"
    ):
        conclude(study, (), Driven(is_out_of_time=True), 0.5)


def test_a_search_that_ended_in_its_last_moment_is_whole(open_study, world):
    result = conclude(train(open_study(4), world()), (), Driven(is_out_of_time=True), 1)
    assert not [warning for warning in result.warnings if "time limit" in warning]


def test_a_later_run_that_fails_while_the_first_is_in_training_ends_nothing(open_study, world):
    study, failed = open_study(12), Run(state=RunState.FAILED, steps=0, seconds=0.0, error="KeyError: 'lr'")
    first, second = study.ask_all()
    study.tell(second, failed)
    study.tell(first, world().train(first.spec(study.setup.task)))
    assert len(study.ask_all()) > 0


def test_the_first_run_that_fails_ends_the_search_though_another_is_in_training(open_study):
    study, failed = open_study(12), Run(state=RunState.FAILED, steps=0, seconds=0.0, error="KeyError: 'lr'")
    first, _ = study.ask_all()
    with pytest.raises(WorkError, match="KeyError"):
        study.tell(first, failed)


@pytest.fixture
def unhandled():
    """No action for the signals, where another test has left one: a Ray that was joined handles SIGTERM by an exit."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


@pytest.mark.usefixtures("unhandled")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_interrupts_a_training_as_ctrl_c_does_and_its_action_is_restored(name):
    number = getattr(signal, name)
    with pytest.raises(KeyboardInterrupt), interrupting_signals():
        os.kill(os.getpid(), number)
        signal.pause()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_the_user_handles_stays_the_users():
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        with interrupting_signals():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


@pytest.mark.usefixtures("unhandled")
def test_in_another_thread_signals_are_left_alone():
    actions = []

    def train():
        with interrupting_signals():
            actions.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert actions == [signal.SIG_DFL]


@pytest.mark.parametrize("number", [0, -1, True, "2", float("nan"), float("inf"), []])
def test_a_limit_is_a_number_above_0(number):
    with pytest.raises(UsageError, match=r"max_hours is a number above 0, got .*; leave it out for no limit"):
        Limits.of(None, number, now=0.0)
    with pytest.raises(UsageError, match="max_seconds_per_run is a number above 0"):
        Limits.of(number, None, now=0.0)
