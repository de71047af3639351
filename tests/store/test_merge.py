"""Merging copies what is whole of another store, and seals no damage anew."""

import sqlite3
from contextlib import closing

import pytest

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.roles import Origin, Role
from lrsearch.schedules import FIX
from lrsearch.store import Trial, check, open_store
from lrsearch.tasks import find_task

MLP, CNN = find_task("digits-mlp"), find_task("digits-cnn")
STUDIES = ("a" * 16, "b" * 16)


def spec(seed=0, task=MLP):
    return RunSpec(task, FIX(k0=0.1), 100, seed)


def finished(score=0.5):
    return Run(state=RunState.FINISHED, steps=100, seconds=1.0, score=score, loss=0.5)


def ask(store, key, task=MLP, trials=2):
    store.open_study(key, f"study {key[0]}", task, {"budget": 4.0}, {"recommended": []})
    for number in range(trials):
        store.assign(key, Trial(number, Role.DEFAULT, Origin.DEFAULT, FIX(k0=0.1), 100, number), spec(number, task))


def damage(path, *statements):
    with closing(sqlite3.connect(path)) as raw:
        for statement in statements:
            raw.execute(statement)
        raw.commit()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "other.db"


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "store.db") as opened:
        yield opened


def merged(store, path) -> frozenset[str]:
    """Merge a file into a store, which must be whole then; return what was damaged in the file."""
    with open_store(path) as other:
        store.merge(other)
    whole = check(store.url)
    assert whole.is_whole, whole.damage
    return other.damaged


def test_studies_come_from_a_store_without_runs(store, path):
    with open_store(path) as other:
        ask(other, STUDIES[0])
    assert merged(store, path) == frozenset()
    assert [study.name for study in store.studies()] == ["study a"]
    assert [trial.seed for trial in store.history(STUDIES[0])] == [0, 1]


def test_a_damaged_study_and_a_damaged_trial_stay_where_they_are(store, path, caplog):
    with open_store(path) as other:
        for key in STUDIES:
            ask(other, key)
        other.record(spec(), finished())
    damage(
        path,
        "UPDATE lrsearch_studies SET frozen = '{\"recommended\":[1]}' WHERE key LIKE 'a%'",
        "UPDATE lrsearch_assignments SET horizon = 77 WHERE study_key LIKE 'b%' AND number = 1",
    )
    assert merged(store, path) == {"lrsearch_studies", "lrsearch_assignments"}
    assert [study.name for study in store.studies()] == ["study b"]
    assert [(trial.number, trial.horizon) for trial in store.history(STUDIES[1])] == [(0, 100)]
    assert len(store.runs()) == 1
    assert caplog.text.count("lrsearch_assignments") == 1


def test_rows_of_a_damaged_task_or_run_stay_where_they_are_and_hide_no_others(store, path):
    with open_store(path) as other:
        for task, key in zip((MLP, CNN), STUDIES, strict=True):
            ask(other, key, task)
            other.record(spec(task=task), finished())
            other.record(spec(task=task), finished(0.75))
            other.record(spec(1, task), finished())
    damage(
        path,
        "UPDATE lrsearch_tasks SET description = '{}' WHERE name = 'digits-cnn'",
        f"UPDATE lrsearch_runs SET score = 1.0 WHERE key = '{spec().key}'",  # noqa: S608
    )
    assert merged(store, path) == {"lrsearch_tasks", spec().key}
    assert [run.key for run in store.runs()] == [spec(1).key]
    assert [study.name for study in store.studies()] == ["study a"]
    assert store.attempts(spec().key) == []


def test_a_page_of_damaged_runs_hides_no_later_page(path):
    with open_store(path) as other:
        for seed in range(6):
            other.record(spec(seed), finished())
        keys = [entry["key"] for entry in other.entries()]
    damage(path, f"UPDATE lrsearch_runs SET steps = 1 WHERE key IN ('{keys[0]}', '{keys[1]}')")  # noqa: S608
    with open_store(path) as other:
        assert [[entry["key"] for entry in page] for page in other.pages(size=2)] == [[], keys[2:4], keys[4:]]
        assert [entry["key"] for entry in other.entries()] == keys[2:]


def test_runs_of_a_damaged_origin_come_as_untrusted(store, path):
    with open_store(path) as other:
        other.record(spec(), finished(), origin="lab")
        other.record(spec(1), finished())
    damage(path, "UPDATE lrsearch_origins SET digest = 'x' WHERE name = 'lab'")
    assert merged(store, path) == {"lrsearch_origins"}
    assert store.origins() == {"lab": False, "local": True}
    assert store.find(spec().key) is None
    assert len(store.runs()) == 2


def test_a_study_that_is_there_gets_no_trials_of_another(store, path):
    with open_store(path) as other:
        ask(other, STUDIES[0])
    ask(store, STUDIES[0], trials=1)
    merged(store, path)
    assert len(store.history(STUDIES[0])) == 1
