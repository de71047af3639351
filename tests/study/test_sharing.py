"""Several processes on one study: together they train what one would, each run once, within one budget."""

from dataclasses import replace

import pytest

from lrsearch.errors import WorkError
from lrsearch.runs import Run, RunState
from lrsearch.runs.executor import DONE, LATER, WAIT, Lockstep, Usage
from lrsearch.store.claims import Claims
from lrsearch.store.place import Place
from lrsearch.study.drive import charge_killed, drive
from lrsearch.study.result import conclude
from lrsearch.study.strategy import committed

OTHER_MACHINE = Place("node2", "another-start", 1, "1")


class AskingExecutor:
    """Asks once for a run, after something else has happened."""

    slots, lockstep, usage = 1, Lockstep(1, "it trains one run at a time"), Usage()

    def __init__(self, before):
        self.before = before

    def train(self, ask, ended, *, folder=None, progress=None, lost=None):
        self.before()
        self.answer = ask()


@pytest.fixture
def open_shared(open_study):
    """Open a study as one of several processes does."""

    def open_(budget=8, place=None, lease=3600.0, **options):
        study = open_study(budget, lease=lease, **options)
        study.claims = Claims(study.store, study.key, lease, place)
        study.claims.renew()
        return study

    return open_


def train(study, trial, answers, seconds=0.5):
    study.tell(trial, replace(answers.train(trial.spec(study.setup.task)), seconds=seconds))


def policies(study):
    return [(trial.role, trial.policy, trial.horizon, trial.seed) for trial in study.history]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_several_processes_make_the_search_of_one(open_shared, study_in, world, count):
    alone = study_in("alone.db")
    answers = world()
    while trial := alone.ask():
        train(alone, trial, answers)
    shared = world()
    studies = [open_shared(12) for _ in range(count)]
    open_trials = {}
    while studies[0].ask is not None:
        asked = [(study, study.ask()) for study in studies if study not in open_trials]
        open_trials |= {study: trial for study, trial in asked if trial}
        if not open_trials:
            assert {trial for _, trial in asked} == {DONE}
            break
        assert {trial for _, trial in asked if not trial} <= {LATER, WAIT}
        study = next(reversed(open_trials))  # the last one to begin is the first to end
        train(study, open_trials.pop(study), shared)
    assert len(shared.trained) == len(set(shared.trained))
    results = [conclude(study) for study in studies]
    assert [study.history for study in studies] == [studies[0].history] * count
    assert set(policies(studies[0])) == set(policies(alone))  # promotions come in the order in which runs end
    assert {str(result.best.policy) for result in results} == {str(conclude(alone).best.policy)}
    assert {result.spent.steps for result in results} == {conclude(alone).spent.steps}
    assert sum(result.spent.trained_runs for result in results) == conclude(alone).spent.trained_runs
    assert all(result.spent.trained_runs for result in results)


def test_a_process_is_told_of_each_other_one_once(open_shared, caplog):
    first = open_shared()
    first.ask()
    second = open_shared(place=OTHER_MACHINE)
    for study in (first, second, first, second):
        study.refresh()
    mine = Place.here().named
    assert [record.getMessage() for record in caplog.records] == [
        f"process 1 on node2 works on {first.name} too: they share its runs and its budget",
        f"{mine} works on {first.name} too: they share its runs and its budget",
    ]
    assert (first.processes, second.processes) == (2, 2)


def test_a_run_of_a_process_that_does_not_answer_is_trained_by_another_and_counts_once(open_shared, world, caplog):
    answers = world()
    slow = open_shared(lease=0, place=OTHER_MACHINE)
    late = slow.ask()
    slow.claims.report(late.spec(slow.setup.task).key, 40)
    slow.claims.renew()
    other = open_shared()
    taken = other.ask()
    assert replace(taken, stored=None) == late
    assert committed(other.history) == committed(slow.history) + 40
    train(slow, late, answers)  # the late result is kept
    steps = late.horizon
    assert other.store.find(late.spec(slow.setup.task).key).run.state is RunState.FINISHED
    train(other, taken, answers, seconds=0.6)
    stored = other.store.find(late.spec(slow.setup.task).key)
    assert (stored.run.steps, stored.lost_steps) == (steps, 40 + steps)
    assert "was trained by another process too: it counts once, its cost twice" in caplog.text
    assert [trial.run is not None for trial in other.history[:1]] == [True]


def test_while_others_train_the_last_runs_a_process_asks_later(open_shared, world):
    answers, first, second = world(), open_shared(), open_shared()
    while not (first.history and first.history[-1].role == "confirm"):
        trial = first.ask()
        if first.history[-1].role != "confirm":
            train(first, trial, answers)
    trials = [trial]
    while more := second.ask():
        train(second, more, answers)
    assert more is LATER
    assert not second.is_done
    first.tell(trials[0], Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0))
    assert second.ask()


def test_jobs_that_were_handed_out_are_named_and_not_waited_for(open_shared, world):
    by_hand, search = open_shared(), open_shared()
    jobs = [by_hand.ask(by_hand=True) for _ in range(2)]
    answers = world()
    while trial := search.ask():
        train(search, trial, answers)
    assert trial is DONE
    assert search.handed_out == [job.number for job in jobs]
    train(by_hand, jobs[0], answers)
    search.refresh()
    assert search.handed_out == [jobs[1].number]


def test_a_run_that_failed_in_one_process_is_not_tried_again_by_another_that_goes_on(open_shared, world):
    answers = world()
    first, second = open_shared(), open_shared()
    for _ in range(4):
        train(first, first.ask(), answers)
    failed = first.ask()
    first.record(failed, Run(state=RunState.FAILED, steps=1, seconds=0.0, error="no"))
    third = open_shared()
    for study in (second, third):
        while trial := study.ask():
            assert trial.number != failed.number
            train(study, trial, answers)


def test_a_result_that_is_recorded_again_after_an_interrupt_is_charged_once(open_shared, world):
    study = open_shared()
    trial = study.ask()
    run = world().train(trial.spec(study.setup.task))
    for _ in range(2):
        study.record(trial, run)
    assert study.store.find(trial.spec(study.setup.task).key).lost_steps == 0


def test_a_default_that_fails_ends_the_search_of_all_processes(open_shared, world):
    answers, first, second = world(), open_shared(), open_shared()
    second.offers()
    while (trial := first.ask()).role != "default":
        train(first, trial, answers)
    failed = Run(state=RunState.FAILED, steps=1, seconds=0.0, error="ValueError: no")
    for end in (lambda: first.tell(trial, failed), second.ask):
        with pytest.raises(WorkError, match=r"on digits-mlp failed.*ValueError: no"):
            end()


def test_at_its_begin_a_process_charges_what_a_lost_machine_had_reported_and_only_once(open_shared):
    lost = open_shared(lease=0, place=OTHER_MACHINE)
    trial = lost.ask()
    lost.claims.report(trial.spec(lost.setup.task).key, 25)
    lost.claims.renew()
    study, planned = open_shared(), committed(lost.history)
    for _ in range(2):
        charge_killed(study, None)
    assert committed(study.history) == planned + 25
    assert study.ask().number == trial.number
    assert committed(study.history) == planned + 25


@pytest.fixture
def last_run_lost(open_shared, study_in, world):
    """A study of which a lost process had the last run, and reported more steps of it than the budget pays for."""
    alone, answers, runs = study_in("alone.db"), world(), 0
    while trial := alone.ask():
        train(alone, trial, answers)
        runs += 1
    lost = open_shared(12, place=OTHER_MACHINE)
    for _ in range(runs - 1):
        train(lost, lost.ask(), answers)
    trial = lost.ask()
    lost.claims.report(trial.spec(lost.setup.task).key, lost.setup.cap - committed(lost.history) + 1)

    def lapse():
        lost.claims._lease = 0.0
        lost.claims.renew()

    return trial, lapse


@pytest.mark.parametrize("is_driven", [False, True])
def test_a_run_is_not_trained_again_where_its_lost_steps_leave_too_little_of_the_budget(
    open_shared, last_run_lost, is_driven
):
    trial, lapse = last_run_lost
    study = open_shared(12)
    if is_driven:
        executor = AskingExecutor(lapse)
        drive(study, executor)
        assert executor.answer is DONE
    else:
        lapse()
        assert study.ask() is DONE
    assert study.history[trial.number].stored.lost_steps > 0
    assert sum(each.spent for each in study.history) <= study.setup.cap


def test_a_trial_of_another_process_is_not_overwritten(open_shared, world):
    first, second = open_shared(), open_shared()
    second.offers()
    answers = world()
    while trial := first.ask():
        train(first, trial, answers)
    second.offers()
    assert policies(second) == policies(first)
    assert second.history == first.history
