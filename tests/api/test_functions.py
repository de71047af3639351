"""A user's function is searched: in either direction, on any number of processes, again and again."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.api import run_table
from lrsearch.errors import TaskError, UsageError, WorkError
from lrsearch.report.explanation import sentences
from lrsearch.runs import RunState

FILE = Path(__file__).with_name("surface.py")
surface = importlib.util.module_from_spec(importlib.util.spec_from_file_location("surface_of_tests", FILE))
surface.__spec__.loader.exec_module(surface)


def trial_rows(result, sign=1):
    """What a search did, trial by trial, its scores with the other sign where that is asked for."""
    return [
        (
            one.role,
            one.origin,
            str(one.policy),
            one.horizon,
            one.seed,
            str(trial.run.state),
            None if trial.run.score is None else sign * trial.run.score,
        )
        for trial in result.history
        for one in [trial]
    ]


def test_minimizing_a_loss_is_maximizing_its_negative_trial_by_trial(tmp_path):
    """In earnest; over three surfaces and seeds the law is in tests/study."""
    lower, higher = (
        lrs.search(function, 8, out=tmp_path / function.__name__) for function in (surface.minimized, surface.maximized)
    )
    assert trial_rows(lower) == trial_rows(higher, -1)
    assert lower.best.policy == higher.best.policy
    assert (lower.best.score, lower.default.score) == (-higher.best.score, -higher.default.score)
    assert lower.decision.noise == higher.decision.noise
    assert lower.to_json()["objective"] == {"name": "val_loss", "direction": "minimize"}
    json.dumps([lower.to_json(), higher.to_json()], allow_nan=False)


def test_a_search_begins_with_a_check_and_goes_on_where_it_ended(tmp_path):
    first = lrs.search(surface.minimized, 5, out=tmp_path)
    again = lrs.search(surface.minimized, 5, out=tmp_path)
    assert (first.history[0].role, first.history[0].horizon) == ("check", 2)
    assert (again.spent.trained_runs, trial_rows(again)) == (0, trial_rows(first))
    assert first.cost <= 5


def test_two_processes_search_as_one_does(tmp_path):
    """As a script, which the processes can find."""
    program = (
        f"import sys; sys.path.insert(0, {str(FILE.parent)!r})\n"
        "import lrsearch as lrs, surface\n"
        "if __name__ == '__main__':\n"
        "    found = [lrs.search(surface.minimized, 4, out=f'{sys.argv[1]}/{n}', workers=n) for n in (1, 2)]\n"
        "    one, two = ([(str(t.policy), t.run.score) for t in each.history] for each in found)\n"
        "    assert one == two, (one, two)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def failing(where):
    """A training that raises in runs of some length."""

    @lrs.task("failing", horizon=160, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
    def train(job):
        if where(job):
            raise ValueError("no such column")
        surface.train(job)

    return train


def test_the_first_failure_is_loud_and_costs_two_updates(tmp_path):
    with pytest.raises(WorkError, match=r"(?s)no such column"):
        lrs.search(failing(lambda job: True), 8, out=tmp_path)
    with lrs.open_store(tmp_path / "store.db") as store:
        (run,) = store.runs()
    assert (run.run.state, run.horizon) == (RunState.FAILED, 2)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.faults)])
@pytest.mark.parametrize(
    ("role", "where"),
    [
        ("decade", lambda job: job.horizon == 50 and job.policy(0) == 0.1),
        ("range-test", lambda job: job.policy.name == "RAMP"),
    ],
)
def test_a_failed_probe_does_not_end_a_search_and_its_error_is_in_the_table(tmp_path, role, where, workers):
    result = lrs.search(failing(where), 8, out=tmp_path, workers=workers)
    table = result.table()
    failed = table[table["state"] == "failed"]
    assert set(failed["role"]) == {role}
    assert all("ValueError: no such column" in why for why in failed["why"])
    assert result.best.score is not None


def test_where_every_run_but_the_check_fails_the_search_ends_with_the_users_traceback(tmp_path):
    with pytest.raises(WorkError, match=r"(?s)failed:.*in train.*ValueError: no such column"):
        lrs.search(failing(lambda job: job.horizon > 2), 8, out=tmp_path)


@pytest.mark.parametrize("returned", [None, {"other": 1.0}, "good"])
def test_a_metric_that_is_not_there_ends_the_search_at_once(tmp_path, returned):
    @lrs.task("silent", horizon=160, epoch=8, minimize="val_loss")
    def train(job):
        return returned

    with pytest.raises(WorkError, match=r"val_loss"):
        lrs.search(train, 8, out=tmp_path)


def test_a_training_without_train_loss_is_searched_by_constant_rates(tmp_path):
    @lrs.task("quiet", horizon=160, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
    def train(job):
        *_, (_, loss) = surface.course(job)
        return loss if loss < 100 else float("nan")

    result = lrs.search(train, 6, out=tmp_path)
    roles = [trial.role for trial in result.history]
    assert (roles.count("range-test"), roles.count("decade") > 3) == (1, True)
    assert result.best.score < 1.0
    assert "no train_loss" in " ".join(sentences(lrs.explain(result.key, out=tmp_path)))


@pytest.mark.parametrize("asked", [lambda job: 1.0, surface.train, 3, None])
def test_a_function_without_its_task_is_refused(tmp_path, asked):
    with pytest.raises((TaskError, UsageError), match=r"@lrs\.task"):
        lrs.search(asked, 4, out=tmp_path)


def test_a_function_is_pruned_explained_and_verified_in_its_own_unit(tmp_path):
    pruned = lrs.prune(surface.minimized, 8, out=tmp_path)
    assert pruned.space.peak.high < 10.0
    low = lrs.verify("FIX(k0=0.2)", surface.minimized, 1.5, 160, out=tmp_path)
    none = lrs.verify("FIX(k0=0.0001)", surface.minimized, 1.5, 160, out=tmp_path)
    assert (low.reached, none.reached) == (True, False)
    assert "%" not in low.sentence + none.sentence


def test_what_one_project_learned_is_recommended_to_the_next(tmp_path):
    lrs.search(surface.minimized, 6, out=tmp_path)

    @lrs.task("another", horizon=320, epoch=16, minimize="val_loss", lr_range=(1e-4, 10.0))
    def another(job):
        surface.train(job)

    with lrs.open_store(tmp_path / "store.db") as store:
        found = lrs.recommend(another, store)
    assert found
    assert {one.task for one in found} == {"surface"}


def test_a_function_that_changed_under_its_version_gives_one_warning_with_the_reused_runs(tmp_path, caplog):
    def one(job):
        surface.train(job)

    def other(job):
        surface.train(job, 1.0)

    decorate = lrs.task("changing", horizon=160, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
    first = lrs.search(decorate(one), 4, out=tmp_path)
    assert not [line for line in first.warnings if "changed" in line]
    second = lrs.search(decorate(other), 4, seed=1, out=tmp_path)
    (line,) = [line for line in second.warnings if "changed" in line]
    assert f"{first.spent.runs} stored runs" in line
    assert caplog.text.count("its version stayed '1'") == 1
    assert line in second.to_json()["warnings"]


def test_an_unchecked_policy_is_a_warning(tmp_path):
    result = lrs.search(surface.minimized, 4, out=tmp_path)
    assert any("not checked" in line for line in result.warnings)


def test_what_cannot_be_sent_trains_here_and_says_so(tmp_path, caplog):
    with (tmp_path / "log").open("w") as handle:

        @lrs.task("holding", horizon=160, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
        def train(job):
            handle.write("a")
            surface.train(job)

        result = lrs.search(train, 4, out=tmp_path, workers=2)
    assert result.best.score is not None
    assert "it trains in this process, one run at a time" in caplog.text


def test_a_study_file_names_a_function_beside_it(tmp_path):
    from lrsearch.study.file import read_study

    (tmp_path / "surface.py").write_text(FILE.read_text())
    (tmp_path / "table.toml").write_text(
        'task = "surface.py:minimized"\nseeds = 2\n'
        '[[policies]]\npolicy = "FIX(k0=0.1)"\n[[policies]]\npolicy = "FIX(k0=0.4)"\n'
    )
    table = read_study(tmp_path / "table.toml")
    results = run_table(table, out=tmp_path / "out")
    assert [len(outcome.runs) for outcome in results.outcomes] == [2, 2]
    (tmp_path / "far.toml").write_text(
        'task = "../surface.py:minimized"\nseeds = 1\n[[policies]]\npolicy = "FIX(k0=1)"\n'
    )
    with pytest.raises(UsageError, match="a function stands beside it"):
        read_study(tmp_path / "far.toml")


@pytest.mark.faults
def test_every_update_of_a_killed_search_is_charged_once_and_none_is_hidden(tmp_path):
    env = {**os.environ, "OUT": str(tmp_path / "out"), "UPDATES": str(tmp_path / "updates")}
    killed = 0
    while True:
        done = subprocess.run(
            [sys.executable, str(FILE.with_name("killed.py"))], capture_output=True, text=True, check=False, env=env
        )
        if done.returncode != -signal.SIGKILL:
            break
        killed += 1
        assert killed < 5
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert killed == len(printed["lost"]) > 0
    assert printed["lost"] == [10] * killed  # it goes on from update 60 of 70
    assert printed["steps"] == len((tmp_path / "updates").read_text())
