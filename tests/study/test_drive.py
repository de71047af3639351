"""Driving a study: its trials are trained in groups, and a failure raises where no run of the task has ended."""

import pytest

from lrsearch.errors import WorkError
from lrsearch.executors.local import LocalExecutor
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import StepCounter
from lrsearch.runs.executor import DONE, WAIT, Lockstep
from lrsearch.schedules import FIX
from lrsearch.study.drive import drive
from lrsearch.study.result import conclude, cost
from lrsearch.study.strategy import with_role


class WorldTrainer:
    """Trains in a world that answers at once; runs whose place is in `failing` fail.

    Args:
        world: the world.
        task: what is trained.
        failing: tells of a run and the number of runs before whether it fails.
    """

    lockstep = Lockstep(8, "it costs nothing")

    def __init__(self, world, task, failing=lambda spec, number: False):
        self.world, self.task, self.failing, self.groups = world, task, failing, []

    def close(self):
        pass

    def train_group(self, group, ended, watch=None, folder=None):
        for spec in group.specs:
            watch(1)
            number = sum(len(earlier.specs) for earlier in self.groups)
            broken = Run(state=RunState.FAILED, steps=3, seconds=0.0, error="File user.py, line 7\nKeyError: 'lr'")
            ended(spec, broken if self.failing(spec, number) else self.world.train(spec))
        self.groups.append(group)


@pytest.fixture
def driven(world, task):
    """Drives a study, and gives the trainer."""

    def drive_(study, failing=lambda spec, number: False, progress=None, folder=None):
        trainer = WorldTrainer(world(), task, failing)
        drive(study, LocalExecutor(trainer), progress, folder)
        return trainer

    return drive_


def test_a_driven_study_is_trained_in_groups_to_its_end(open_study, driven):
    study, seen = open_study(8), set()
    trainer = driven(study, progress=lambda trial, steps: seen.add(trial.number))
    assert study.is_done
    assert study.ask() is DONE
    assert seen == {trial.number for trial in study.history}
    assert [len(group.specs) for group in trainer.groups if group.in_lockstep].count(8) >= 1
    assert sum(len(group.specs) for group in trainer.groups) == len(study.history)


def test_a_study_says_wait_while_its_runs_are_out_and_done_at_its_end(open_study, world):
    study, answers, trained = open_study(4), world(), 0
    while isinstance(asked := study.ask_all(), list):
        assert study.ask() is WAIT
        trained += len(asked)
        for trial in asked:
            study.tell(trial, answers.train(trial.spec(study.setup.task)))
    assert asked is DONE
    assert study.is_done
    assert trained == len(study.history)


def test_the_first_failure_ends_a_search_of_a_task_that_never_trained_with_the_users_own_words(open_study, driven):
    with pytest.raises(WorkError, match=r"RAMP\(.*failed:\nFile user.py, line 7\nKeyError: 'lr'"):
        driven(open_study(8), lambda spec, number: True)
    assert len(open_study(8).history) > 0


def test_a_failure_is_not_the_end_where_the_store_has_an_ended_run_of_the_task(store, task, open_study, driven):
    store.record(RunSpec(task, FIX(k0=0.1), 50, 7), Run(state=RunState.FINISHED, steps=50, seconds=0.0, score=0.5))
    study = open_study(8)
    driven(study, lambda spec, number: number == 0)
    assert study.history[0].run.state is RunState.FAILED
    assert conclude(study).default.score > 0.5


@pytest.mark.parametrize("which", ["second range test", "every third decade", "all decades", "all range tests"])
def test_failed_probes_do_not_end_a_search_and_are_not_asked_for_again(store, task, open_study, driven, which):
    if which == "all range tests":
        store.record(RunSpec(task, FIX(k0=0.1), 50, 7), Run(state=RunState.FINISHED, steps=50, seconds=0.0, score=0.5))

    def failing(spec, number):
        is_decade = spec.policy.name == "FIX" and spec.horizon < task.horizon // 16
        return {
            "second range test": spec.policy.name == "RAMP" and spec.seed == 1,
            "every third decade": is_decade and number % 3 == 0,
            "all decades": is_decade,
            "all range tests": spec.policy.name == "RAMP",
        }[which]

    study = open_study(8)
    driven(study, failing)
    probes = with_role(study.history, "range-test") + with_role(study.history, "decade")
    failed = [trial for trial in probes if trial.run.state is RunState.FAILED]
    assert failed
    asked = [(trial.policy, trial.seed, trial.horizon) for trial in probes]
    assert len(set(asked)) == len(asked)
    assert conclude(study).default.score > 0.5


def test_a_failed_default_ends_a_search(open_study, driven, task):
    with pytest.raises(WorkError, match="KeyError"):
        driven(open_study(8), lambda spec, number: spec.horizon == task.horizon)


def count(folder, study, number, updates):
    """Leave the count of a killed attempt of a trial."""
    counter = StepCounter(folder / study.history[number].spec(study.setup.task).key)
    counter.count(updates)
    counter.close()


def test_what_a_killed_search_trained_is_charged_before_anything_is_proposed(open_study, driven, task, tmp_path):
    killed = open_study(8)
    killed.ask_all()
    count(tmp_path, killed, 0, 30)
    study = open_study(8)
    seen = []
    driven(study, progress=lambda trial, steps: seen.append(study.history[0].stored.lost_steps), folder=tmp_path)
    assert set(seen) == {30}
    assert study.history[0].stored.lost_steps == 30
    assert cost(study).steps <= 8 * task.horizon
    assert not list(tmp_path.glob("*/steps"))


def test_it_is_charged_too_where_the_budget_pays_for_no_more_runs(open_study, driven, task, tmp_path):
    killed = open_study(8)
    killed.ask_all()
    count(tmp_path, killed, 0, 8 * task.horizon)
    study = open_study(8)
    trainer = driven(study, folder=tmp_path)
    assert trainer.groups == []
    assert cost(study).steps == 8 * task.horizon
    driven(open_study(8), folder=tmp_path)
    assert cost(open_study(8)).steps == 8 * task.horizon


def test_the_count_of_an_ended_run_is_removed_and_charged_no_more(open_study, driven, tmp_path):
    study = open_study(8)
    driven(study, folder=tmp_path)
    before = cost(study).steps
    count(tmp_path, study, 0, 30)  # as where the search was killed between the store and the removal
    driven(study, folder=tmp_path)
    assert cost(study).steps == before
    assert not list(tmp_path.glob("*/steps"))
