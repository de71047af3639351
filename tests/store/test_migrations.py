"""Stores of every older schema can be opened, hold what they held, and their studies continue."""

import importlib.util
import json
import logging
import shutil
import sqlite3
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from lrsearch.errors import StoreError
from lrsearch.store import check, migrations, open_store, read_bundle, record, salvage
from lrsearch.store import store as store_module
from lrsearch.store.schema import SCHEMA_VERSION

HERE = Path(__file__).parent / "schemas"
KEPT = sorted(HERE.glob("schema-*.db"))
RECORDED = HERE / "recorded-2"


def script(name):
    """The script that wrote a kept store, as a module."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_store, make_recorded = script("make_store"), script("make_recorded")


def as_before(now, before):
    """Present values without the names that were added since."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {name: as_before(now.get(name), value) for name, value in before.items()}
    if isinstance(before, list) and isinstance(now, list) and len(now) == len(before):
        return [as_before(*pair) for pair in zip(now, before, strict=True)]
    return now


@pytest.fixture(params=KEPT, ids=[path.stem for path in KEPT])
def kept(request, tmp_path):
    """A copy of a store that an older version wrote."""
    return Path(shutil.copy(request.param, tmp_path / "store.db"))


def version_of(path):
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute("SELECT version FROM lrsearch_schema").fetchall()


def test_every_schema_has_its_store():
    assert [path.stem for path in KEPT] == [f"schema-{n}" for n in range(1, SCHEMA_VERSION + 1)]


def test_a_kept_store_says_what_it_said(kept, request):
    golden = json.loads((HERE / f"{request.node.callspec.id}.json").read_text())
    with open_store(str(kept)) as store:
        assert as_before(make_store.golden(store), golden) == golden
        assert {(run.objective.name, run.objective.direction, run.unit) for run in store.runs()} == {
            ("top1", "maximize", None)
        }
        assert store.damaged == frozenset()
    assert version_of(kept) == [(SCHEMA_VERSION,)]


def test_its_study_goes_on_and_ends(kept):
    with open_store(str(kept)) as store:
        study = make_store.open_study(store)
        before = list(study.history)
        while trial := study.ask():
            study.tell(trial, make_store.ended(trial.spec(make_store.MLP)))
        assert study.is_done
        assert len(study.history) > len(before)
        assert study.history[: len(before)] == before


def test_an_older_store_is_copied_first_to_the_byte_of_what_it_held(kept):
    with closing(sqlite3.connect(kept)) as raw:
        before, version = list(raw.iterdump()), version_of(kept)
    with open_store(str(kept)):
        pass
    copies = [path for path in kept.parent.iterdir() if path != kept]
    if version == [(SCHEMA_VERSION,)]:
        assert copies == []
        return
    (copy,) = copies
    assert copy.name == f"store.db.schema-{version[0][0]}"
    with closing(sqlite3.connect(copy)) as raw:
        assert list(raw.iterdump()) == before


def opened(path):
    with open_store(path) as store:
        return len(store.runs())


@pytest.mark.slow
def test_processes_that_open_an_old_store_together_bring_it_up_to_date_once(tmp_path):
    path = shutil.copy(HERE / "schema-1.db", tmp_path / "store.db")
    expected = len(json.loads((HERE / "schema-1.json").read_text())["runs"])
    with ProcessPoolExecutor(6) as pool:
        assert list(pool.map(opened, [path] * 6)) == [expected] * 6
    assert version_of(path) == [(SCHEMA_VERSION,)]


class Denier:
    """Counts what SQLite is about to do, and forbids the n-th."""

    def __init__(self, forbidden=None):
        self.count, self.forbidden = 0, forbidden

    def __call__(self, *_):
        self.count += 1
        return sqlite3.SQLITE_DENY if self.count == self.forbidden else sqlite3.SQLITE_OK

    def open(self, path, monkeypatch):
        real = store_module.connect

        def connect(*given):
            engine = real(*given)
            engine.dispose()
            event.listen(engine, "connect", lambda connection, _: connection.set_authorizer(self))
            return engine

        with monkeypatch.context() as patch:
            patch.setattr(store_module, "connect", connect)
            open_store(str(path)).close()


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_a_migration_that_is_cut_short_anywhere_leaves_the_old_store(tmp_path, share, monkeypatch):
    whole = Denier()
    whole.open(shutil.copy(HERE / "schema-1.db", tmp_path / "whole.db"), monkeypatch)
    path = Path(shutil.copy(HERE / "schema-1.db", tmp_path / "store.db"))
    with closing(sqlite3.connect(path)) as raw:
        before = list(raw.iterdump())
    cut = Denier(forbidden=int(whole.count * share))
    with pytest.raises(StoreError, match=r"store\.db"):
        cut.open(path, monkeypatch)
    assert cut.count >= cut.forbidden > 0
    with closing(sqlite3.connect(path)) as raw:
        assert list(raw.iterdump()) == before
    with open_store(str(path)) as store:
        golden = json.loads((HERE / "schema-1.json").read_text())
        assert as_before(make_store.golden(store), golden) == golden


def test_a_run_that_cannot_be_read_is_left_out_and_said(tmp_path, caplog):
    path = Path(shutil.copy(HERE / "schema-1.db", tmp_path / "store.db"))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE lrsearch_runs SET curve = '[1, 2' WHERE state = 'stopped'")
        raw.execute("UPDATE lrsearch_runs SET policy = 'NOT(a=1' WHERE state = 'failed'")
        raw.commit()
    with caplog.at_level(logging.WARNING), open_store(str(path)) as store:
        assert len(store.runs()) == len(json.loads((HERE / "schema-1.json").read_text())["runs"]) - 2
    assert "2 runs could not be read" in caplog.text
    assert path.with_name("store.db.schema-1").exists()


@pytest.fixture(scope="module")
def recorded():
    """The contents of the store of recorded runs when it was written."""
    return json.loads(RECORDED.with_suffix(".json").read_text())


@pytest.fixture(params=["sqlite", "postgresql"])
def recorded_url(request, tmp_path, postgres):
    """A copy of the store of recorded runs, in a database of each kind."""
    path = shutil.copy(RECORDED.with_suffix(".db"), tmp_path / "store.db")
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    url = postgres("recorded_2")
    carry(path, url)
    return url


def carry(path, url):
    """Copy the tables of an SQLite file into a PostgreSQL database, as its own schema 2 had them."""
    import psycopg

    as_postgres = {
        "JSON": "JSON",
        "FLOAT": "DOUBLE PRECISION",
        "BOOLEAN": "BOOLEAN",
        "INTEGER": "BIGINT",
        "BIGINT": "BIGINT",
    }
    with closing(sqlite3.connect(path)) as raw, psycopg.connect(url.replace("+psycopg", "")) as server:
        for (table,) in raw.execute("SELECT name FROM sqlite_master WHERE name LIKE 'lrsearch_%' AND type = 'table'"):
            columns = {
                name: as_postgres.get(kind.split("(")[0], "TEXT")
                for _, name, kind, *_ in raw.execute(f"PRAGMA table_info({table})")
            }
            server.execute(f"CREATE TABLE {table} ({', '.join(f'{n} {kind}' for n, kind in columns.items())})")
            for row in raw.execute(f"SELECT * FROM {table}").fetchall():  # noqa: S608
                values = [
                    bool(value) if kind == "BOOLEAN" else value
                    for value, kind in zip(row, columns.values(), strict=True)
                ]
                marks = ", ".join(["%s"] * len(values))
                server.execute(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608


def test_recorded_runs_and_bundles_of_schema_2_give_the_same_answers(recorded_url, recorded):
    with open_store(recorded_url) as store:
        assert store._engine.dialect.name == recorded_url.split(":")[0].split("+")[0]
        now = json.loads(json.dumps(make_recorded.golden(store)))
        for name, before in recorded.items():
            assert as_before(now[name], before) == before, name
        assert store.damaged == frozenset()
    if recorded_url.startswith("sqlite"):
        assert check(recorded_url).is_whole


def test_the_metric_of_a_run_of_schema_2_is_its_tasks_and_a_units_is_its_unit(tmp_path, recorded):
    path = shutil.copy(RECORDED.with_suffix(".db"), tmp_path / "store.db")
    with open_store(path) as store:
        runs = store.runs()
        entries = store.entries()
        attempts = [attempt for run in runs for attempt in store.attempts(run.key)]
    assert {(run.task, run.objective.name, run.objective.direction, run.unit) for run in runs} == {
        ("digits-mlp", "top1", "maximize", None),
        ("digits-cnn", "top1", "maximize", None),
        ("mine", "score", "maximize", None),
        ("mine", "score", "maximize", "%"),
    }
    assert [(each["metric"], each["unit"], each["score"]) for each in attempts] == [("score", "points", 97.5)]
    assert not [entry for entry in entries if "unit" in entry["details"]]
    with_curves = [run.run for run in runs if run.origin == "recorded" and "bleu" in run.run.curves]
    assert with_curves[0].curves["own:bleu"] == ((50, 1.0), (100, 1.0), (150, 1.0), (200, 1.0))
    assert with_curves[0].curves["bleu"] != with_curves[0].curves["own:bleu"]


def test_a_store_of_schema_2_goes_on(tmp_path, recorded):
    path = shutil.copy(RECORDED.with_suffix(".db"), tmp_path / "store.db")
    with open_store(path) as store:
        study = make_store.open_study(store)
        assert not study.ask()
        assert len(study.history) == len(recorded["history"])
        with record(store, task="mine", policy="FIX(k0=0.3)", horizon=200, minimize="mse") as run:
            run.finish(0.25)
        assert (store.find(run.key).objective.name, store.find(run.key).run.score) == ("mse", 0.25)


def test_a_bundle_of_before_is_read_as_it_was(tmp_path, recorded):
    with open_store(tmp_path / "store.db") as store:
        done = read_bundle(store, RECORDED.with_suffix(".bundle"), trust=True)
        assert (done.bad, done.new) == ((), len(recorded["runs"]))
        now = json.loads(json.dumps(make_store.golden(store)))
    assert as_before(now["runs"], recorded["runs"]) == recorded["runs"]


def test_damaged_rows_of_schema_2_are_left_out_with_a_warning_and_the_others_migrated(tmp_path, caplog, recorded):
    path = Path(shutil.copy(RECORDED.with_suffix(".db"), tmp_path / "store.db"))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE lrsearch_runs SET score = 0.5 WHERE id = 3")
        raw.execute("UPDATE lrsearch_curves SET points = '[[1, 2.0]]' WHERE run = 5 AND series = 'val_loss'")
        raw.execute("UPDATE lrsearch_assignments SET horizon = 7 WHERE number = 60")
        raw.commit()
    with caplog.at_level(logging.WARNING), open_store(path) as store:
        left = {run.key for run in store.runs()}
    assert len(left) == len(recorded["runs"]) - 2
    assert left < {run["key"] for run in recorded["runs"]}
    assert "2 runs could not be read" in caplog.text
    assert "1 other rows could not be read" in caplog.text
    assert check(str(path)).is_whole


def test_a_damaged_file_of_schema_2_is_salvaged_into_the_present_schema(tmp_path, recorded):
    path = Path(shutil.copy(RECORDED.with_suffix(".db"), tmp_path / "store.db"))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE lrsearch_runs SET score = 0.5 WHERE id = 3")
        raw.commit()
    salvaged = salvage(str(path), str(tmp_path / "new.db"))
    assert (salvaged.rows["runs"], salvaged.rows["attempts"], salvaged.left) == (len(recorded["runs"]) - 1, 1, 1)
    assert check(str(tmp_path / "new.db")).is_whole
    with open_store(tmp_path / "new.db") as store:
        assert {run.unit for run in store.runs(task="mine")} == {None, "%"}


def test_a_schema_that_no_version_wrote_is_refused(tmp_path):
    path = Path(shutil.copy(HERE / "schema-1.db", tmp_path / "store.db"))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE lrsearch_schema SET version = 0")
        raw.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="schema 0"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_the_readers_cover_all_older_schemas():
    assert sorted([*migrations.READERS, migrations.WITHOUT_CLAIMS]) == list(range(1, SCHEMA_VERSION))
    assert "make_store" not in sys.modules


def test_a_file_is_shared_with_optuna_whose_tables_stay_as_they_are(tmp_path):
    import optuna

    path = tmp_path / "shared.db"
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="theirs")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    with closing(sqlite3.connect(path)) as raw:
        before = list(raw.iterdump())
    with open_store(path) as store:
        make_store.fill(store)
        assert store.runs()
    with closing(sqlite3.connect(path)) as raw:
        after = list(raw.iterdump())
    assert [line for line in after if "lrsearch_" not in line] == before
    assert optuna.load_study(storage=f"sqlite:///{path}", study_name="theirs").best_value == 0.5
