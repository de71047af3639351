"""A store's file with one bit flipped, or cut off: is it seen, and what can be got out?"""

import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from made import DIGITS, add_tasks, record, tasks

from lrsearch.errors import StoreError
from lrsearch.schedules import FIX
from lrsearch.store import Trial, open_store
from lrsearch.store.checking import check
from lrsearch.store.salvage import salvage

PAGE = 4096
KEY_OF_RUN = "(SELECT key FROM lrsearch_runs WHERE id = run)"
OWN = {"lrsearch_runs": ("key", "digest"), "lrsearch_curves": (KEY_OF_RUN, "points")}
"""What stands in a run's rows and nowhere else, by the run's key."""
REFERRED = (
    "SELECT r.key, p.text FROM lrsearch_runs r JOIN lrsearch_policies p ON p.key = r.policy_key",
    "SELECT r.key, t.description FROM lrsearch_runs r JOIN lrsearch_tasks t ON t.key = r.task_key",
)


class Original:
    """A whole store of made-up runs: its bytes, what SQLite itself reads from them, and where in them each run lies.

    Args:
        folder: where it is made.
        runs: how many.
    """

    def __init__(self, folder: Path, runs: int) -> None:
        path = folder / "whole.db"
        made = tasks(3)
        with open_store(f"sqlite:///{path}") as store:
            add_tasks(store, made)
            records = [record(made[n % len(made)].key, n) for n in range(runs)]
            store.add(records)
            store.add(replace(one, loss=0.125) for one in records[::20])
            store.open_study("0" * 16, "made up", made[0], {"budget": 12.0}, {"recommended": []})
            for number in range(30):
                asked = Trial(number, "candidate", "rule", FIX(k0=0.1 + number), 100, 0)
                store.assign("0" * 16, asked, asked.spec(DIGITS))
        self.data = path.read_bytes()
        self.dump = dump(path)
        self.contents = contents(path)
        self.pages = _pages(path, self.data)


def flips(folder: Path, count: int, seed: int, runs: int = 200) -> dict[str, Any]:
    """Flip one bit of the whole file, again and again, until so many flips have landed."""
    original = Original(folder, runs)
    bits = list(range(8 * len(original.data)))
    random.Random(seed).shuffle(bits)
    faults = ((_flipped(original.data, bit), {bit // 8 // PAGE}) for bit in bits)
    return {"asked": count, "bytes": len(original.data), **_judged(original, folder, faults, count), "seed": seed}


def truncations(folder: Path, count: int, seed: int, runs: int = 200) -> dict[str, Any]:
    """Cut the file off, again and again."""
    original = Original(folder, runs)
    end = -(-len(original.data) // PAGE)
    lengths = random.Random(seed).sample(range(len(original.data)), count)
    faults = ((original.data[:length], set(range(length // PAGE, end))) for length in lengths)
    return {"asked": count, "bytes": len(original.data), **_judged(original, folder, faults, count), "seed": seed}


def dump(path: Path) -> list[str] | None:
    """Give all that SQLite itself reads from a file; None if it cannot."""
    try:
        with closing(sqlite3.connect(path)) as raw:
            return list(raw.iterdump())
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def contents(path: Path) -> set[tuple[Any, ...]]:
    """Give all rows of a file, read by SQLite itself, without the numbers that it gives them."""
    found: set[tuple[Any, ...]] = set()
    with closing(sqlite3.connect(path)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
            asked = ", ".join(KEY_OF_RUN if name == "run" else name for name in columns)
            found |= {(table, *row) for row in raw.execute(f"SELECT {asked} FROM {table}")}  # noqa: S608
    return found


def _pages(path: Path, data: bytes) -> dict[str, set[int]]:
    """Give the pages that hold a run, by its key: its row, its curves, its policy and its task."""
    found: dict[str, set[int]] = {}
    queries = [*(f"SELECT {key}, {text} FROM {table}" for table, (key, text) in OWN.items()), *REFERRED]  # noqa: S608
    with closing(sqlite3.connect(path)) as raw:
        for query in queries:
            for key, text in raw.execute(query):
                found.setdefault(key, set()).update(_places(data, text.encode()))
    return found


def _places(data: bytes, text: bytes) -> Iterator[int]:
    """Give the pages that a text lies in, wherever it stands."""
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
    """Count what of the damage was reported and what came out, until so many faults have landed.

    A fault has landed if SQLite itself reads something else, or no longer can.
    """
    found = Counter[str](
        dict.fromkeys(
            ("attempted", "landed", "reported", "silent", "runs_expected", "runs_out", "wrong_values", "missing"), 0
        )
    )
    path = folder / "damaged.db"
    for data, gone in faults:
        path.write_bytes(data)
        found["attempted"] += 1
        if dump(path) == original.dump:
            continue
        reported = _is_reported(path)
        out = _salvaged(path, folder / "salvaged.db")
        keys = {row[1] for row in out if row[0] == "lrsearch_runs"}
        expected = {key for key, pages in original.pages.items() if not pages & gone}
        found.update(
            landed=1,
            reported=reported,
            silent=not reported,
            runs_expected=len(expected),
            runs_out=len(keys),
            wrong_values=len(out - original.contents),
            missing=len(expected - keys),
        )
        if found["landed"] == count:
            break
    return dict(found)


def _is_reported(path: Path) -> bool:
    try:
        return not check(f"sqlite:///{path}").is_whole
    except StoreError:
        return True


def _salvaged(path: Path, target: Path) -> set[tuple[Any, ...]]:
    """Give all rows that come out."""
    target.unlink(missing_ok=True)
    try:
        salvage(str(path), str(target))
    except StoreError as error:
        assert "none of it is whole" in str(error), error
        return set()
    return contents(target)
