"""The `store` commands, as a user types them."""

import json
import sqlite3
from contextlib import closing

import pytest

from lrsearch.runs import Point, Run, RunSpec, RunState
from lrsearch.schedules import FIX
from lrsearch.store import open_store
from lrsearch.tasks import find_task

MLP, CNN = find_task("digits-mlp"), find_task("digits-cnn")
RUN = Run(state=RunState.FINISHED, steps=100, seconds=36.0, score=0.5, loss=0.25, points=(Point(100, 0.25, 0.5),))


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "runs.db"
    with open_store(path) as opened:
        for seed in range(3):
            opened.record(RunSpec((MLP, CNN)[seed % 2], FIX(k0=0.1), 100, seed), RUN)
        opened.record(RunSpec(MLP, FIX(k0=0.2), 100, 0), Run(state=RunState.FAILED, steps=3, seconds=0.1, error="no"))
        opened.record(RunSpec(MLP, FIX(k0=0.1), 100, 0), RUN.__class__.from_text(RUN.to_text().replace("0.5", "0.75")))
    return str(path)


def damage(path):
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE lrsearch_runs SET score = 1.0 WHERE seed = 1")
        raw.commit()


def test_stats_say_how_much_there_is_by_framework_model_classes_and_data(typed, store):
    told = typed("store", "stats", "--store", store, "--json").json
    assert (told["runs"], told["policies"], told["attempts"]) == (4, 2, 1)
    assert told["states"] == {"failed": 1, "finished": 3}
    assert [
        (task["task"], task["framework"], task["model"], task["classes"], task["runs"]) for task in told["tasks"]
    ] == [("digits-cnn", "torch", "digits-cnn", 10, 1), ("digits-mlp", "torch", "digits-mlp", 10, 3)]
    text = typed("store", "stats", "--store", store).out
    assert "digits-cnn  torch" in text
    assert "4 runs of 2 policies" in text


def test_runs_come_in_pages(typed, store):
    first = typed("store", "runs", "--store", store, "--limit", "3", "--json").json
    rest = typed("store", "runs", "--store", store, "--after", first[-1]["key"], "--json").json
    assert [run["key"] for run in first + rest] == [
        run["key"] for run in typed("store", "runs", "--store", store, "--json").json
    ]
    assert (len(first), len(rest)) == (3, 1)
    assert typed("store", "runs", "--store", store, "--origin", "recorded", "--json").json == []


def test_show_tells_all_of_one_run_by_the_beginning_of_its_key(typed, store):
    key = RunSpec(MLP, FIX(k0=0.1), 100, 0).key
    told = typed("store", "show", key[:10], "--store", store, "--json").json
    assert (told["key"], told["score"], told["attempts"][0]["score"]) == (key, 0.5, 0.75)
    text = typed("store", "show", key[:10], "--store", store).out
    assert "metric   top1, maximized" in text
    assert "score    50.00 %" in text
    assert "again    local: finished, 75.00 %" in text


@pytest.mark.parametrize(("key", "says"), [("zz", "no run"), ("", "more than one run"), ("%", "no run")])
def test_show_needs_one_run(typed, store, key, says):
    ended = typed("store", "show", key, "--store", store)
    assert (ended.code, says in ended.err) == (1, True)


def test_a_whole_store_is_whole_and_a_changed_number_is_found(typed, store):
    assert typed("store", "check", "--store", store).out.strip().endswith(": whole")
    damage(store)
    ended = typed("store", "check", "--store", store, "--json")
    assert ended.code == 1
    (found,) = ended.json["damage"]
    assert (found["table"], found["key"]) == ("runs", RunSpec(CNN, FIX(k0=0.1), 100, 1).key)


def test_what_is_whole_is_salvaged_and_the_damaged_file_left(typed, store, tmp_path):
    damage(store)
    before = (tmp_path / "runs.db").read_bytes()
    assert "3 runs" in typed("store", "salvage", "--store", store, "--to", "new.db").out
    assert typed("store", "check", "--store", "new.db").code == 0
    assert (tmp_path / "runs.db").read_bytes() == before
    ended = typed("store", "salvage", "--store", store, "--to", "new.db")
    assert (ended.code, "there already" in ended.err) == (1, True)


def test_runs_travel_in_a_bundle(typed, store, tmp_path):
    assert "4 runs" in typed("store", "export", "all.bundle", "--store", store).out
    assert "2 runs" not in typed("store", "export", "cnn.bundle", "--store", store, "--task", "digits-cnn").out
    assert "nothing was written" in typed("store", "import", "all.bundle", "--store", "o.db", "--dry-run").out
    assert "4 were new" in typed("store", "import", "all.bundle", "--store", "o.db").out
    assert "0 were new" in typed("store", "import", "all.bundle", "--store", "o.db").out
    assert "(not trusted)" in typed("store", "stats", "--store", "o.db").out
    assert json.loads((tmp_path / "all.bundle").read_text().splitlines()[0])["runs"] == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("import", "none.bundle"), "cannot be read"),
        (("import", "runs.db"), "is no bundle"),
        (("export", "runs.db"), "there already"),
        (("export", "x.bundle", "--task", "digits-map"), "digits-mlp"),
        (("merge", "none.db"), "no store at"),
        (("salvage", "--to", "x.db", "--store", "postgresql://h/d"), "SQLite files"),
    ],
)
def test_what_cannot_be_says_so_in_one_line(typed, store, words, says):
    given = words if "--store" in words else (*words, "--store", store)
    ended = typed("store", *given)
    assert ended.code in (1, 2)
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_store_that_is_not_there_is_neither_made_nor_checked(typed, tmp_path):
    for words in (("check",), ("stats",), ("show", "a"), ("salvage", "--to", "x.db"), ("export", "x.bundle")):
        ended = typed("store", *words, "--store", "none.db")
        assert (ended.code, "no store at none.db" in ended.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_another_store_of_ones_own_is_merged(typed, store):
    assert "4 new runs" in typed("store", "merge", store, "--store", "own.db").out
    assert "0 new runs" in typed("store", "merge", store, "--store", "own.db").out
