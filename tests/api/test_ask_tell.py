"""An ask-and-tell study equals the search that trains itself, over days, restarts and failures."""

import importlib.util
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsearch as lrs
from lrsearch.api import reopen_study
from lrsearch.errors import BudgetError, TaskError, UsageError, WorkError
from lrsearch.report.explanation import sentences
from lrsearch.runs import RunState
from lrsearch.runs.counter import StepCounter
from lrsearch.study.job_folders import JobFolders
from lrsearch.study.study import Study

FILE = Path(__file__).with_name("surface.py")
surface = importlib.util.module_from_spec(importlib.util.spec_from_file_location("surface_by_hand", FILE))
surface.__spec__.loader.exec_module(surface)
FUNCTION, TASK = surface.minimized, surface.minimized.task
SEARCH = {"budget": 8, "functions": ["TRI", "SIN2", "FIX"]}


def trial_rows(result):
    """What a search did, trial by trial."""
    return [
        (
            one.role,
            one.origin,
            str(one.policy),
            one.horizon,
            one.seed,
            str(trial.run.state),
            trial.run.score,
            trial.run.steps,
            trial.run.train_losses if one.role == "range-test" else None,
        )
        for trial in result.history
        for one in [trial]
    ]


def train(study, job):
    """Train a job as a person would, and tell what came of it."""
    own = lrs.Job(job.spec)
    surface.train(own)
    if job.is_range_test:
        return study.tell(job.number, curves={"train_loss": own.values.series["train_loss"]})
    _, value = own.values.last("val_loss")
    return study.tell(job.number, {"val_loss": value}, steps=None if math.isfinite(value) else own.step)


def drive(study, most=1):
    while jobs := study.ask(most):
        for job in jobs:
            train(study, job)
    return study


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return lrs.search(FUNCTION, **SEARCH, out=tmp_path_factory.mktemp("searched"))


@pytest.mark.parametrize("most", [1, 5])
def test_the_study_of_a_function_by_hand_is_its_search_trial_by_trial(searched, tmp_path, most):
    with lrs.open_study(FUNCTION, **SEARCH, out=tmp_path) as study:
        result = drive(study, most).result()
        assert (study.is_done, study.ask(), study.open_jobs()) == (True, [], [])
    assert sum(trial.origin == "suggested" for trial in result.history) > 3
    assert trial_rows(result) == trial_rows(searched)
    assert (result.key, result.verdict, result.best, result.cost) == (
        searched.key,
        searched.verdict,
        searched.best,
        searched.cost,
    )


def test_what_nothing_here_trains_is_searched_as_its_function_would_be_but_for_the_check(searched, tmp_path):
    described = lrs.Task("surface", horizon=160, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
    with lrs.open_study(described, **SEARCH, out=tmp_path) as study:
        result = drive(study, 3).result()
    assert searched.history[0].role == "check"
    assert trial_rows(result) == trial_rows(searched)[1:]
    assert (result.verdict, result.best) == (searched.verdict, searched.best)
    assert result.key != searched.key


def test_a_search_goes_on_where_a_person_ended_and_the_other_way_round(searched, tmp_path):
    with lrs.open_study(FUNCTION, **SEARCH, out=tmp_path) as study:
        for _ in range(6):
            train(study, *study.ask())
    result = lrs.search(FUNCTION, **SEARCH, out=tmp_path)
    assert (trial_rows(result), result.spent.reused_runs) == (trial_rows(searched), 6)
    with lrs.open_study(FUNCTION, **SEARCH, out=tmp_path) as study:
        assert study.is_done
        assert study.result().verdict == searched.verdict


def test_a_study_over_days_is_the_same_in_a_new_process_for_every_call_and_whatever_the_clock_says(
    searched, tmp_path, monkeypatch
):
    day = 0
    while True:
        day += 1
        monkeypatch.setattr("time.time", lambda: 1e9 * day)  # noqa: B023
        with lrs.open_study(FUNCTION, **SEARCH, out=tmp_path) as study:
            jobs = study.ask(4)
        with reopen_study("surface", out=tmp_path) as study:
            assert study.open_jobs() == jobs
            for job in reversed(jobs):
                train(study, job)
        if not jobs:
            break
    assert day > 4
    with lrs.open_study(FUNCTION, **SEARCH, out=tmp_path) as study:
        assert trial_rows(study.result()) == trial_rows(searched)


def test_a_job_says_all_that_training_it_takes(tmp_path):
    with lrs.open_study(TASK, 4, out=tmp_path) as study:
        (job,) = study.ask()
        assert (job.number, job.purpose, job.horizon, job.seed, job.is_range_test) == (0, "range-test", 40, 0, True)
        assert job.folder.is_dir()
        assert job.policy.curve(job.horizon).max() == pytest.approx(10)
        train(study, job)
        (job,) = study.ask()
        assert not job.is_range_test
        assert (job.evaluate_every, job.epoch, job.to_json()["objectives"]) == (8, 8, [["val_loss", "minimize"]])


def test_without_range_tests_the_constant_rates_come_first_and_it_is_a_study_of_its_own(tmp_path):
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        usual = study.key
    with lrs.open_study(TASK, 8, out=tmp_path, range_test=False) as study:
        result = drive(study).result()
        assert study.key != usual
    assert result.history[0].role == "decade"
    assert "range-test" not in {trial.role for trial in result.history}
    assert result.best.score < result.default.score
    assert "range test" not in " ".join(sentences(lrs.explain(result.key, out=tmp_path)))


def probed(study):
    """Train until the default is out, and give it."""
    while (job := study.ask()[0]).purpose != "default":
        train(study, job)
    return job


def test_a_failed_job_is_charged_and_left_out_and_the_study_goes_on(tmp_path):
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        (job,) = study.ask()
        before = study.left
        assert study.tell(job.number, failed="out of memory", steps=10).state is RunState.FAILED
        assert study.left == pytest.approx(before + 30 / 160)
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        result = drive(study).result()
        with pytest.raises(UsageError, match=r"job 0 was told before: failed: out of memory; release\(0\)"):
            study.tell(0, failed="again")
    assert [trial.run.state for trial in result.history].count(RunState.FAILED) == 1
    assert result.best.score is not None


def test_a_failed_job_is_asked_for_again_where_it_is_released(tmp_path):
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        study.ask()
        study.tell(0, failed="a power cut", steps=10)
        study.release(0)
        (job,) = study.ask()
        train(study, job)
        assert (job.number, study.is_done) == (0, False)
        drive(study)
        assert study.result().history[0].stored.lost_steps == 10


def test_a_failed_default_is_asked_for_again_by_itself_for_nothing_is_found_without(tmp_path):
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        with pytest.raises(WorkError, match="nothing to answer yet: the strong default comes after the probes"):
            study.result()
        default = probed(study)
        with pytest.raises(WorkError, match=f"job {default.number}, which is out"):
            study.result()
        study.tell(default.number, failed="out of memory", steps=5)
        with pytest.raises(WorkError, match="out of memory; ask hands it out again"):
            study.result()
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        assert not study.is_done
        (again,) = study.ask(5)
        assert again == default
        train(study, again)
        assert drive(study).result().cost <= 8


def test_a_default_that_the_budget_does_not_pay_for_again_ends_the_study_with_the_reason(tmp_path):
    with lrs.open_study(TASK, 2, out=tmp_path) as study:
        study.tell(probed(study).number, failed="out of memory")
        assert (study.ask(), study.is_done) == ([], True)
        with pytest.raises(WorkError, match="out of memory; the budget does not pay for it again"):
            study.result()
        number = study._study.history[-1].number
        with pytest.raises(BudgetError, match="does not pay for its 160 updates again"):
            study.release(number)


def test_a_job_that_was_given_back_is_asked_for_again_and_its_late_result_is_kept(tmp_path):
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        (job,) = study.ask()
        assert study.ask() == []
        study.release(0, steps=7)
        assert study.open_jobs() == []
        assert study.ask() == [job]
        study.release(0)
        assert train(study, job).state is RunState.FINISHED
        assert study.ask()[0].number == 1


def test_who_asks_at_once_never_gets_the_same_job(tmp_path):
    with lrs.open_study(TASK, 12, functions=["TRI"], out=tmp_path) as study:
        train(study, probed(study))

    def ask(n):
        with lrs.open_study(TASK, 12, functions=["TRI"], out=tmp_path) as own:
            return [job.number for _ in range(3) for job in own.ask()]

    with ThreadPoolExecutor(4) as pool:
        asked = [number for numbers in pool.map(ask, range(4)) for number in numbers]
    assert len(asked) == len(set(asked)) > 3
    with lrs.open_study(TASK, 12, functions=["TRI"], out=tmp_path) as study:
        assert [job.number for job in study.open_jobs()] == sorted(asked)


def test_from_machines_that_share_the_store_alone_no_job_is_out_twice(searched, tmp_path):
    store = f"sqlite:///{tmp_path / 'store.db'}"
    with (
        lrs.open_study(FUNCTION, **SEARCH, out=tmp_path / "a", store=store) as first,
        lrs.open_study(FUNCTION, **SEARCH, out=tmp_path / "b", store=store) as second,
    ):
        while not first.is_done:
            jobs = {study: study.ask() for study in (first, second)}
            numbers = [job.number for asked in jobs.values() for job in asked]
            assert len(numbers) == len(set(numbers))
            assert {job.number for job in first.open_jobs()} == set(numbers)
            for study, asked in jobs.items():
                for job in asked:
                    train(second if study is first else first, job)  # a job may be told on another machine
        assert trial_rows(second.result()) == trial_rows(searched)


def test_a_search_ends_where_only_jobs_that_are_out_are_left_and_names_them(searched, tmp_path):
    with lrs.open_study(FUNCTION, **SEARCH, out=tmp_path) as study:
        jobs = study.ask(2)
        with pytest.raises(WorkError, match=r"1 job is out by `lrsearch study ask`: 0; tell or release"):
            lrs.search(FUNCTION, **SEARCH, out=tmp_path)
        for job in jobs:
            study.release(job.number)
    assert lrs.search(FUNCTION, **SEARCH, out=tmp_path).verdict == searched.verdict


def test_a_stored_run_is_not_handed_out(tmp_path):
    lrs.prune(FUNCTION, 8, out=tmp_path)
    with lrs.open_study(TASK, 8, out=tmp_path) as study:
        (job,) = study.ask()
        assert job.purpose == "default"
        assert job.number > 3
        train(study, job)
        assert study.result().spent.trained_runs == 1


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (7, "job 7 was never asked for in surface-.*jobs that are out: 0"),
        (-1, "never asked for"),
        ("0", "by its number"),
        (True, "by its number"),
        (None, "by its number"),
        (1.0, "by its number"),
    ],
)
def test_a_number_that_is_not_out_is_refused(tmp_path, number, match):
    with lrs.open_study(TASK, 4, out=tmp_path) as study:
        study.ask()
        for call in (lambda: study.tell(number, 2.0), lambda: study.release(number)):
            with pytest.raises(UsageError, match=match):
                call()


def test_a_second_or_a_wrong_report_is_refused_and_changes_nothing(tmp_path):
    with lrs.open_study(TASK, 4, out=tmp_path) as study:
        (job,) = study.ask()
        with pytest.raises(UsageError, match="it is a range test"):
            study.tell(0, 2.1)
        assert study.open_jobs() == [job]
        train(study, job)
        with pytest.raises(UsageError, match=r"job 0 was told before: (finished|diverged)"):
            train(study, job)
        with pytest.raises(UsageError, match="job 0 has ended, and is kept"):
            study.release(0)
        (job,) = study.ask()
        with pytest.raises(UsageError, match=r"job 1: steps is the updates that it made, 0 to \d+, got -1"):
            study.release(1, steps=-1)
        with pytest.raises(UsageError, match="most is how many jobs"):
            study.ask(0)
        drive(study)
        train(study, job)
        drive(study)
        with pytest.raises(UsageError, match=r"never asked for.*out: none"):
            study.tell(999, 2.0)
    with pytest.raises(UsageError, match="the study is closed; open it again"):
        study.ask()


@pytest.mark.parametrize(
    ("task", "match"),
    [
        ("digits-mlp", r"trained by lrsearch itself: lrs\.search\('digits-mlp'\)"),
        ("digits-ml", "no task 'digits-ml'"),
        (lambda job: 1.0, r"@lrs\.task"),
        (None, "got None"),
    ],
)
def test_a_task_that_nobody_trains_by_hand_is_refused(tmp_path, task, match):
    with pytest.raises(TaskError, match=match):
        lrs.open_study(task, 4, out=tmp_path)


def test_a_study_is_opened_by_its_name_with_all_that_it_began_with(tmp_path):
    task = lrs.Task(
        "described",
        horizon=160,
        epoch=8.0,
        maximize="bleu",
        known=["FIX(k0=0.1)"],
        evaluations=4,
        lr_range=(1e-3, 1.0),
        settings={"width": 3},
        facts={"optimizer": "adamw", "parameters": 10, "model": "mlp", "method": "lora"},
    )
    with lrs.open_study(task, 5, seed=3, functions=["TRI", "FIX"], out=tmp_path, range_test=False) as study:
        asked = study.ask()
        with reopen_study("described", out=tmp_path) as again:
            assert again.key == study.key
            assert [job.to_json() for job in again.open_jobs()] == [job.to_json() for job in asked]
            assert (again.task.known, again.task.lr_range, again.budget) == (task.known, task.lr_range, 5)
            assert again.ask() == []
    lrs.search(FUNCTION, 4, out=tmp_path)
    with lrs.open_study(TASK, 4, out=tmp_path), pytest.raises(UsageError, match="2 studies are called 'surface'"):
        reopen_study("surface", out=tmp_path)
    with pytest.raises(UsageError, match="no study 'other'"):
        reopen_study("other", out=tmp_path)


def test_only_a_search_of_a_users_own_training_is_an_ask_and_tell_study(tmp_path):
    lrs.prune(FUNCTION, 4, out=tmp_path)
    with pytest.raises(UsageError, match="trains itself: only a search"):
        reopen_study("surface", out=tmp_path)


class Hands:
    """People who ask, train, fail, give back, restart and are killed; they know what they have.

    Args:
        folder: of the study.
        budget: of the study, in FRE.
    """

    def __init__(self, folder, budget):
        self.folder, self.budget, self.out, self.ended = folder, budget, {}, set()
        self.reopen()

    def reopen(self, n=0):
        self.study = lrs.open_study(
            TASK, self.budget, functions=["TRI", "FIX"], out=self.folder, storage="sqlite:///:memory:"
        )

    def ask(self, n):
        for job in self.study.ask(n + 1):
            assert job.number not in self.out.keys() | self.ended
            self.out[job.number] = job

    def killed_asking(self, n):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JobFolders, "write", _killed)
            with suppress(KeyboardInterrupt):
                assert self.study.ask() == []
        self.reopen()

    def picked(self, n):
        return self.out.pop(sorted(self.out)[n % len(self.out)]) if self.out else None

    def tell(self, n):
        if job := self.picked(n):
            train(self.study, job)
            self.ended.add(job.number)

    def killed_telling(self, n):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Study, "_settle", _killed)
            with suppress(KeyboardInterrupt):
                self.tell(n)
        self.ended |= {trial.number for trial in self.known() if trial.run and trial.run.state.is_final}
        self.reopen()

    def fail(self, n):
        if job := self.picked(n):
            self.study.tell(job.number, failed="out of memory", steps=None if n % 2 else 2)

    def release(self, n):
        if job := self.picked(n):
            self.study.release(job.number, steps=min(n, job.horizon))

    def known(self):
        """The ledger's trials."""
        return self.study._read().history

    def see(self):
        """What holds at any moment."""
        assert [job.number for job in self.study.open_jobs()] == sorted(self.out)
        assert sum(trial.spent for trial in self.known()) <= self.budget * TASK.horizon
        final = {trial.number for trial in self.known() if trial.run and trial.run.state.is_final}
        assert self.ended <= final


OPERATIONS = ("ask", "tell", "tell", "fail", "release", "reopen", "killed_asking", "killed_telling")


@settings(max_examples=4)
@given(
    operations=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 7)), min_size=8, max_size=24),
    budget=st.sampled_from([2.5, 4, 6]),
)
def test_whatever_happens_no_job_is_out_twice_none_that_finished_is_asked_again_and_the_budget_holds(
    operations, budget
):
    with TemporaryDirectory() as folder:
        hands = Hands(folder, budget)
        for name, n in operations:
            getattr(hands, name)(n)
            hands.see()
        while hands.out or not hands.study.is_done:
            while hands.out:
                hands.tell(0)
            hands.ask(3)
        hands.see()
        hands.study.close()


def _killed(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["released", "failed", "killed"])
def test_what_a_program_counted_is_charged_once_however_its_job_goes_on(tmp_path, how):
    """Its first attempt made 40 updates; the second goes through all of them."""
    with lrs.open_study(TASK, 3, out=tmp_path, range_test=False) as study:
        (job,) = study.ask()
        before = study.left * TASK.horizon + job.horizon
        StepCounter(job.folder).count(40)
        if how == "released":
            study.release(job.number)
        if how == "failed":
            study.tell(job.number, failed="out of memory", steps=0)
            study.release(job.number)
        if how != "killed":
            (job,) = study.ask()
        StepCounter(job.folder).count(job.horizon)
        study.tell(job.number, 1.5)
        assert before - study.left * TASK.horizon == 40 + job.horizon


def test_a_job_that_the_user_starts_again_is_resumed(tmp_path, monkeypatch):
    with lrs.open_study(TASK, 3, out=tmp_path, range_test=False) as study:
        (job,) = study.ask()
    monkeypatch.setenv("LRSEARCH_JOB", str(job.folder / "job.json"))
    assert not lrs.job().resumed
    StepCounter(job.folder).count(8)
    assert lrs.job().resumed
