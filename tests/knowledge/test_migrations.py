"""Stores of every schema that there was open, say what they said, and their studies go on."""

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
from lrsearch.knowledge import migrations, open_store
from lrsearch.knowledge import store as store_module
from lrsearch.knowledge.schema import SCHEMA_VERSION

HERE = Path(__file__).parent / "schemas"
KEPT = sorted(HERE.glob("schema-*.db"))
spec = importlib.util.spec_from_file_location("make_store", HERE / "make_store.py")
make_store = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_store)


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
        assert make_store.golden(store) == golden
        assert store.damaged == frozenset()
    assert version_of(kept) == [(SCHEMA_VERSION,)]


def test_its_study_goes_on_and_ends(kept):
    with open_store(str(kept)) as store:
        study = make_store.open_study(store)
        before = [(trial.assignment, trial.stored) for trial in study.history]
        while assignment := study.ask():
            study.tell(assignment, make_store.ended(assignment.spec(make_store.MLP)))
        assert study.is_done
        assert len(study.history) > len(before)
        assert [(trial.assignment, trial.stored) for trial in study.history[: len(before)]] == before


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
        assert make_store.golden(store) == json.loads((HERE / "schema-1.json").read_text())


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
    assert sorted(migrations.READERS) == list(range(1, SCHEMA_VERSION))
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
