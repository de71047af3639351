"""The measurements of the store in a short form: counts that must be 0 are 0, and all planned faults land.

The full form is `python studies/store/measure.py`; its output is in `studies/store/output.txt`.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lrsearch.errors import StoreError
from lrsearch.store import open_store
from lrsearch.store.checking import check

STUDY = Path(__file__).parents[2] / "studies" / "store"
sys.path.insert(0, str(STUDY))
import measure  # noqa: E402
from made import DIGITS, Databases, entry, rows  # noqa: E402

BOTH = ("settings", "writers", "openers", "kills", "cycles")
FILES = ("migrators", "flips", "bundles", "truncations")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, postgres) -> dict[str, Databases]:
    """New databases, of both kinds."""
    folder = tmp_path_factory.mktemp("measures")
    return {"sqlite": Databases(folder), "postgresql": Databases(folder / "server", postgres)}


@pytest.fixture
def figures(kinds, tmp_path):
    named = measure.figures(tmp_path, kinds["postgresql"], seed=1, runs=2000, sizes=measure.SHORT)
    return dict(named)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"{name} {kind}" for name in BOTH for kind in ("sqlite", "postgresql")), *FILES])
def test_a_short_measurement_holds(name, figures):
    figure = figures[name]()
    assert measure.broken(figure) == [], figure


def test_odd_values_are_kept_or_refused_alike_in_both_databases(figures):
    assert measure.broken(figures["odd"]()) == []


@pytest.mark.slow
def test_a_store_with_many_runs_is_filled_whole(figures):
    figure = figures["many"]()
    assert measure.broken(figure) == []
    assert figure["present"] == 2000


def test_figures_that_fall_short_are_broken():
    assert measure.broken({"asked": 20, "landed": 19, "lost": 0}) == ["landed: 19 of 20"]
    assert measure.broken({"asked": 20, "landed": 20, "lost": 1}) == ["lost: 1"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_refused_run_takes_the_others_of_its_transaction_with_it(kind, kinds):
    url = kinds[kind].new()
    with open_store(url) as store:

        def some():
            yield entry(DIGITS.key, 0)
            yield entry("0" * 15, 1)

        with pytest.raises(StoreError, match="the key of a task"):
            store.add(some(), tasks={DIGITS.key: DIGITS.description})
    assert rows(url, "SELECT count(*) FROM lrsearch_runs") == rows(url, "SELECT count(*) FROM lrsearch_tasks") == [(0,)]


@pytest.mark.parametrize("column", ["details", "key", "state"])
def test_a_text_that_a_flipped_bit_made_bytes_is_seen(tmp_path, column):
    with open_store(tmp_path / "store.db") as store:
        store.add([entry(DIGITS.key, 0)], tasks={DIGITS.key: DIGITS.description})
    assert check(str(tmp_path / "store.db")).is_whole
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        raw.execute(f"UPDATE lrsearch_runs SET {column} = CAST({column} AS BLOB)")  # noqa: S608
        raw.commit()
    (damage, *_) = check(str(tmp_path / "store.db")).damage
    assert damage.table == "runs"
