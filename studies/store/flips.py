"""A store's file with one flipped bit, or cut off: whether it is reported, and how much can be salvaged."""

import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from made import DIGITS, add_tasks, entry, tasks

from lrsearch.errors import StoreError
from lrsearch.runs.roles import Origin, Role
from lrsearch.schedules import FIX
from lrsearch.store import Trial, open_store
from lrsearch.store.checking import check
from lrsearch.store.salvage import salvage

PAGE = 4096
KEY_OF_RUN = "(SELECT key FROM lrsearch_runs WHERE id = run)"
OWN = {"lrsearch_runs": ("key", "digest"), "lrsearch_curves": (KEY_OF_RUN, "points")}
"""Expressions for a run's key, and for the text of its own rows, by table."""
REFERRED = (
    "SELECT r.key, p.text FROM lrsearch_runs r JOIN lrsearch_policies p ON p.key = r.policy_key",
    "SELECT r.key, t.description FROM lrsearch_runs r JOIN lrsearch_tasks t ON t.key = r.task_key",
)


class Original:
    """An undamaged store of made-up runs: its bytes, what SQLite itself reads from them, and the pages of each run.

    Args:
        folder: for the file.
        runs: number of runs.
    """

    def __init__(self, folder: Path, runs: int) -> None:
        path = folder / "whole.db"
        made = tasks(3)
        with open_store(f"sqlite:///{path}") as store:
            add_tasks(store, made)
            entries = [entry(made[n % len(made)].key, n) for n in range(runs)]
            store.add(entries)
            store.add({**each, "loss": 0.125} for each in entries[::20])
            store.open_study("0" * 16, "made up", made[0], {"budget": 12.0}, {"recommended": []})
            for number in range(30):
                trial = Trial(number, Role.CANDIDATE, Origin.RULE, FIX(k0=0.1 + number), 100, 0)
                store.assign("0" * 16, trial, trial.spec(DIGITS))
        self.data = path.read_bytes()
        self.dump = dump(path)
        self.contents = contents(path)
        self.pages = _pages(path, self.data)


def flips(folder: Path, count: int, seed: int, runs: int = 200) -> dict[str, Any]:
    """Flip one bit of the undamaged file at a time, until `count` flips have changed what SQLite reads."""
    original = Original(folder, runs)
    bits = list(range(8 * len(original.data)))
    random.Random(seed).shuffle(bits)
    faults = ((_flipped(original.data, bit), {bit // 8 // PAGE}) for bit in bits)
    return {"asked": count, "bytes": len(original.data), **_judged(original, folder, faults, count), "seed": seed}


def truncations(folder: Path, count: int, seed: int, runs: int = 200) -> dict[str, Any]:
    """Cut the undamaged file off at random places."""
    original = Original(folder, runs)
    end = -(-len(original.data) // PAGE)
    lengths = random.Random(seed).sample(range(len(original.data)), count)
    faults = ((original.data[:length], set(range(length // PAGE, end))) for length in lengths)
    return {"asked": count, "bytes": len(original.data), **_judged(original, folder, faults, count), "seed": seed}


def dump(path: Path) -> list[str] | None:
    """All that SQLite itself reads from a file; None if it cannot."""
    try:
        with closing(sqlite3.connect(path)) as raw:
            return list(raw.iterdump())
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def contents(path: Path) -> set[tuple[Any, ...]]:
    """All rows of a file, read by SQLite itself, without the ids that it assigned."""
    all_rows: set[tuple[Any, ...]] = set()
    with closing(sqlite3.connect(path)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
            listed = ", ".join(KEY_OF_RUN if name == "run" else name for name in columns)
            all_rows |= {(table, *row) for row in raw.execute(f"SELECT {listed} FROM {table}")}  # noqa: S608
    return all_rows


def _pages(path: Path, data: bytes) -> dict[str, set[int]]:
    """The pages of each run by its key: those with its row, its curves, its policy and its task."""
    pages: dict[str, set[int]] = {}
    queries = [*(f"SELECT {key}, {text} FROM {table}" for table, (key, text) in OWN.items()), *REFERRED]  # noqa: S608
    with closing(sqlite3.connect(path)) as raw:
        for query in queries:
            for key, text in raw.execute(query):
                pages.setdefault(key, set()).update(_pages_with(data, text.encode()))
    return pages


def _pages_with(data: bytes, text: bytes) -> Iterator[int]:
    """The pages that contain a text, at each of its places."""
    at = data.find(text)
    assert at >= 0
    while at >= 0:
        yield from range(at // PAGE, (at + len(text) - 1) // PAGE + 1)
        at = data.find(text, at + 1)


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _judged(original: Original, folder: Path, faults: Iterable[tuple[bytes, set[int]]], count: int) -> dict[str, int]:
    """Count the faults that were reported and the runs that were salvaged, until `count` faults have landed.

    A fault has landed if SQLite itself reads something else, or no longer can.
    """
    names = ("attempted", "landed", "reported", "silent", "runs_expected", "runs_out", "wrong_values", "missing")
    counts = Counter[str](dict.fromkeys(names, 0))
    path = folder / "damaged.db"
    for data, gone in faults:
        path.write_bytes(data)
        counts["attempted"] += 1
        if dump(path) == original.dump:
            continue
        reported = _is_reported(path)
        out = _salvaged(path, folder / "salvaged.db")
        keys = {row[1] for row in out if row[0] == "lrsearch_runs"}
        expected = {key for key, pages in original.pages.items() if not pages & gone}
        counts.update(
            landed=1,
            reported=reported,
            silent=not reported,
            runs_expected=len(expected),
            runs_out=len(keys),
            wrong_values=len(out - original.contents),
            missing=len(expected - keys),
        )
        if counts["landed"] == count:
            break
    return dict(counts)


def _is_reported(path: Path) -> bool:
    try:
        return not check(f"sqlite:///{path}").is_whole
    except StoreError:
        return True


def _salvaged(path: Path, target: Path) -> set[tuple[Any, ...]]:
    """All rows that salvage recovers."""
    target.unlink(missing_ok=True)
    try:
        salvage(str(path), str(target))
    except StoreError as error:
        assert "none of it is whole" in str(error), error
        return set()
    return contents(target)
