"""Bundles: a text file that carries runs between stores. What is imported can be wrong, but never dangerous.

    {"bundle":2,"digest":"...","runs":2,"tasks":1}
    {"task":{...its description...}}
    {"run":{...},"digest":"..."}

The first line has the digest of all others, so a file that was cut or changed is seen before anything is written.
Lines are in the order of keys, and JSON has one form, so equal stores make equal bundles.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from lrsearch.errors import LRSearchError, StoreError
from lrsearch.runs import task_key
from lrsearch.store.record import Record, canonical, digest
from lrsearch.store.store import Store
from lrsearch.store.untrusted import check_description, check_record
from lrsearch.words import counted

FORMAT, FORMATS = 2, (1, 2)
"""Runs of the first format do not say their metric: it is their task's."""
LONGEST_LINE, LARGEST_FILE = 16 * 2**20, 2**30
PAGE = 500


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be taken: its number, from 1, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do.

    Args:
        origin: what its runs are called from now on; empty where they keep their own.
        runs: runs in the bundle that are whole.
        new: runs that the store did not know; None where nothing was written.
        bad: lines that were not taken.
    """

    origin: str
    runs: int
    new: int | None
    bad: tuple[BadLine, ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "origin": self.origin,
            "runs": self.runs,
            "new": self.new,
            "bad": [{"line": line.number, "reason": line.reason} for line in self.bad],
        }


def write_bundle(store: Store, path: Path, task: str | None = None) -> int:
    """Write all that has ended, or what has of one task, into a new file, and give how many runs it holds.

    The file is whole or not there: it gets its name at the end.

    Raises:
        StoreError: if it is there already, or cannot be written.
    """
    if path.exists():
        raise StoreError(f"{path} is there already; give another name")
    try:
        with tempfile.TemporaryFile(dir=path.parent) as body:
            tasks, runs, whole = _write_body(store, body, task)
            head = {"bundle": FORMAT, "digest": whole, "runs": runs, "tasks": tasks}
            part = path.with_name(f".{path.name}.part")
            with part.open("wb") as file:
                file.write(canonical(head).encode() + b"\n")
                body.seek(0)
                while some := body.read(2**20):
                    file.write(some)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    return runs


def bundle_of(record: Record, description: Mapping[str, Any]) -> bytes:
    """Give a bundle of one run."""
    body = _line({"task": description}) + _run_line(record)
    head = {"bundle": FORMAT, "digest": hashlib.sha256(body).hexdigest(), "runs": 1, "tasks": 1}
    return canonical(head).encode() + b"\n" + body


def read_bundle(store: Store, path: Path, *, trust: bool = False, partly: bool = False, dry: bool = False) -> Imported:
    """Import a bundle: all of it, or nothing.

    Its runs get the bundle's digest as their origin and do not recommend unless asked. No result of this store is
    changed: of a run that is known here, what the bundle says is kept as another attempt.

    Args:
        store: where to.
        path: the bundle.
        trust: take the runs as this store's own: they keep their origins, and recommend.
        partly: take the good lines where others are bad.
        dry: write nothing, and say what would be.

    Raises:
        StoreError: if the file cannot be read, was cut or changed, or has bad lines and was not to be taken partly.
    """
    bad = list[BadLine]()
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise StoreError(f"{path} is larger than {LARGEST_FILE // 2**20:,} MiB: split it by task, with --task")
        with path.open("rb") as file:
            whole = _check_whole(file, path)
            file.seek(0)
            file.readline()
            tasks, records = dict[str, Any](), 0
            for number, line in enumerate(file, start=2):
                records += isinstance(_read_line(line, number, tasks, bad), Record)
            if bad and not partly and not dry:
                raise StoreError(
                    f"{path} has {counted(len(bad), 'bad line')}, the first is line {bad[0].number}:"
                    f" {bad[0].reason}; nothing was imported; look at all with --dry-run, or"
                    " take the others with --partly"
                )
            origin = "" if trust else f"bundle-{whole[:8]}"
            new = None if dry else _import(store, file, tasks, origin)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    return Imported(origin, records, new, tuple(bad))


def _pages(store: Store, task: str | None = None) -> Iterator[list[Record]]:
    after = ""
    while some := store.records(after, PAGE, task):
        yield [record for record in some if record.state != "running"]
        after = some[-1].key


def _write_body(store: Store, body: IO[bytes], task: str | None) -> tuple[int, int, str]:
    """Write tasks and runs; give how many of each, and the digest of all."""
    summed = hashlib.sha256()

    def write(line: bytes) -> None:
        summed.update(line)
        body.write(line)

    tasks = {key: told for key, told in sorted(store.tasks().items()) if task in (None, told["name"])}
    for description in tasks.values():
        write(_line({"task": description}))
    runs = 0
    for some in _pages(store, task):
        for record in some:
            write(_run_line(record))
            runs += 1
    return len(tasks), runs, summed.hexdigest()


def _line(values: Any) -> bytes:
    return canonical(values).encode() + b"\n"


def _run_line(record: Record) -> bytes:
    run = record.to_json()
    return _line({"digest": digest(run), "run": run})


def _check_whole(file: io.BufferedReader, path: Path) -> str:
    """Hold the file against its first line, and give its digest."""
    try:
        head = _strict(file.readline(LONGEST_LINE))
        form, expected = head["bundle"], head["digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{path} is no bundle: its first line does not say so") from None
    if form not in FORMATS:
        raise StoreError(f"{path} is a bundle of format {str(form)[:20]}, this lrsearch knows {FORMAT}")
    if not isinstance(expected, str) or hashlib.file_digest(file, "sha256").hexdigest() != expected:
        raise StoreError(f"{path} was cut or changed: its digest does not hold; nothing was imported")
    return expected


def _read_line(line: bytes, number: int, tasks: dict[str, Any], bad: list[BadLine]) -> Record | None:
    """Read a run, or a task into the tasks; what is bad joins the bad lines."""
    try:
        if len(line) > LONGEST_LINE:
            raise StoreError(f"longer than {LONGEST_LINE // 2**20} MiB")
        values = _strict(line)
        if set(values) == {"task"}:
            check_description(values["task"])
            tasks[task_key(values["task"])] = values["task"]
            return None
        if set(values) != {"run", "digest"} or digest(values["run"]) != values["digest"]:
            raise StoreError("neither a task nor a run whose digest holds")
        return check_record(values["run"], tasks)
    except (LRSearchError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        bad.append(
            BadLine(
                number,
                f"{type(error).__name__}: {str(error)[:200]}"
                if not isinstance(error, LRSearchError)
                else str(error)[:200],
            )
        )
        return None


def _import(store: Store, file: IO[bytes], tasks: Mapping[str, Any], origin: str) -> int:
    def records() -> Iterator[Record]:
        known: dict[str, Any] = {}
        file.seek(0)
        file.readline()
        for number, line in enumerate(file, start=2):
            record = _read_line(line, number, known, [])
            if record is not None:
                yield replace(record, origin=origin or record.origin)

    return store.add(records(), trusted=not origin, tasks=tasks)


def _strict(line: bytes) -> Any:
    """Read JSON that says everything once and knows no NaN."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    values = json.loads(line.decode(), object_pairs_hook=once, parse_constant=refuse)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    return values
