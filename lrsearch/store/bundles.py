"""Bundles: text files that carry runs between stores. An imported run can be wrong, but never dangerous.

    {"bundle":2,"digest":"...","runs":2,"tasks":1}
    {"task":{...its description...}}
    {"run":{...},"digest":"..."}

The first line has the digest of all others: a file that was cut or changed is refused before anything is written.
Lines are in the order of keys and JSON is canonical, so equal stores make equal bundles.
"""

import gzip
import hashlib
import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lrsearch.errors import LRSearchError, StoreError
from lrsearch.runs import RunState, task_key
from lrsearch.store.fields import Entry
from lrsearch.store.store import Store
from lrsearch.store.untrusted import check_description, check_entry
from lrsearch.store.values import canonical, digest
from lrsearch.words import counted

FORMAT, FORMATS = 2, (1, 2)
"""The format that is written, and those that are read. Runs of format 1 have the metric of their task."""
LONGEST_LINE, LARGEST_FILE = 16 * 2**20, 2**30
"""Bytes: a rule, so that no bundle fills the memory or the disk."""
PAGE = 500
"""Runs that are read from the store at once."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be imported: its number, from 1, and the reason."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import, or of its dry run.

    Args:
        origin: the origin that its runs have in the store; empty where they keep their own.
        runs: valid runs in the bundle.
        new: runs that the store did not have; None after a dry run.
        bad: lines that were not imported.
    """

    origin: str
    runs: int
    new: int | None
    bad: tuple[BadLine, ...]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "origin": self.origin,
            "runs": self.runs,
            "new": self.new,
            "bad": [{"line": line.number, "reason": line.reason} for line in self.bad],
        }


def write_bundle(store: Store, path: Path, task: str | None = None) -> int:
    """Write all runs that ended, or those of one task, to a new file, and return how many there are.

    The file is complete or absent: it gets its name at the end.

    Raises:
        StoreError: if the file exists, or cannot be written.
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
                while block := body.read(2**20):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    return runs


def bundle_of(entry: Entry, description: Mapping[str, Any]) -> bytes:
    """A bundle of one run."""
    body = _line({"task": description}) + _run_line(entry)
    head = {"bundle": FORMAT, "digest": hashlib.sha256(body).hexdigest(), "runs": 1, "tasks": 1}
    return canonical(head).encode() + b"\n" + body


def read_bundle(store: Store, path: Path, *, trust: bool = False, partly: bool = False, dry: bool = False) -> Imported:
    """Import a bundle: all of it, or nothing.

    Its runs get the bundle's digest as their origin, and are no evidence for recommendations. Results in the store do
    not change: another result of a stored run becomes an attempt beside it.

    Args:
        store: the store to import into.
        path: the bundle.
        trust: import the runs as the store's own: they keep their origins, and are evidence.
        partly: import the good lines where others are bad.
        dry: write nothing, and return what an import would do.

    Raises:
        StoreError: if the file cannot be read, was cut or changed, or has bad lines without `partly`.
    """
    bad = list[BadLine]()
    try:
        with open_bundle(path) as file:
            whole = _check_whole(file, path)
            file.seek(0)
            file.readline()
            tasks, runs = dict[str, Any](), 0
            for number, line in enumerate(file, start=2):
                runs += _read_line(line, number, tasks, bad) is not None
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
    return Imported(origin, runs, new, tuple(bad))


@contextmanager
def open_bundle(path: Path) -> Iterator[IO[bytes]]:
    """Open a bundle, or one that was compressed by gzip, as `.gz`.

    Raises:
        StoreError: if it is too large, or no whole gzip file.
        OSError: if it cannot be read.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise StoreError(f"{path} is larger than {LARGEST_FILE // 2**20:,} MiB: split it by task, with --task")
    if path.suffix != ".gz":
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path) as packed:
            content = packed.read(LARGEST_FILE + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StoreError(f"{path} is not a whole gzip file: {error}") from None
    if len(content) > LARGEST_FILE:
        raise StoreError(f"{path} holds more than {LARGEST_FILE // 2**20:,} MiB: split it by task, with --task")
    yield io.BytesIO(content)


def bundle_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a bundle after its first, as JSON objects: `task`, or `run` with its digest.

    Raises:
        StoreError: if it was cut or changed, or is no bundle.
        OSError: if it cannot be read.
    """
    with open_bundle(path) as file:
        _check_whole(file, path)
        file.seek(0)
        file.readline()
        for line in file:
            yield json.loads(line)


def _pages(store: Store, task: str | None = None) -> Iterator[list[Entry]]:
    """The runs that ended, page by page."""
    for page in store.pages(task, PAGE):
        yield [entry for entry in page if entry["state"] != RunState.RUNNING]


def _write_body(store: Store, body: IO[bytes], task: str | None) -> tuple[int, int, str]:
    """Write tasks and runs; return how many of each, and the digest of all lines."""
    hasher = hashlib.sha256()

    def write(line: bytes) -> None:
        hasher.update(line)
        body.write(line)

    descriptions = [each for _, each in sorted(store.tasks().items()) if task in (None, each["name"])]
    for description in descriptions:
        write(_line({"task": description}))
    runs = 0
    for page in _pages(store, task):
        for entry in page:
            write(_run_line(entry))
            runs += 1
    return len(descriptions), runs, hasher.hexdigest()


def _line(values: Any) -> bytes:
    return canonical(values).encode() + b"\n"


def _run_line(entry: Entry) -> bytes:
    return _line({"digest": digest(entry), "run": entry})


def _check_whole(file: IO[bytes], path: Path) -> str:
    """Check the file against the digest in its first line, and return the digest."""
    try:
        head = _strict(file.readline(LONGEST_LINE))
        form, expected = head["bundle"], head["digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{path} is no bundle: its first line does not say so") from None
    if form not in FORMATS:
        raise StoreError(f"{path} is a bundle of format {str(form)[:20]}, this lrsearch knows {FORMAT}")
    hasher = hashlib.sha256()
    while block := file.read(2**20):
        hasher.update(block)
    if hasher.hexdigest() != expected:
        raise StoreError(f"{path} was cut or changed: its digest does not hold; nothing was imported")
    return hasher.hexdigest()


def _read_line(line: bytes, number: int, tasks: dict[str, Any], bad: list[BadLine]) -> Entry | None:
    """Return the run of a line, or add its task to the tasks; add a bad line to the bad ones."""
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
        return check_entry(values["run"], tasks)
    except (LRSearchError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        prefix = "" if isinstance(error, LRSearchError) else f"{type(error).__name__}: "
        bad.append(BadLine(number, prefix + str(error)[:200]))
        return None


def _import(store: Store, file: IO[bytes], tasks: Mapping[str, Any], origin: str) -> int:
    """Write the good lines, and return how many runs were new."""

    def entries() -> Iterator[Entry]:
        tasks_so_far: dict[str, Any] = {}
        file.seek(0)
        file.readline()
        for number, line in enumerate(file, start=2):
            entry = _read_line(line, number, tasks_so_far, [])
            if entry is not None:
                yield {**entry, "origin": origin or entry["origin"]}

    return store.add(entries(), trusted=not origin, tasks=tasks)


def _strict(line: bytes) -> Any:
    """Read a JSON object without repeated names and without NaN; Python's own reader allows both."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    values = json.loads(line.decode(), object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    return values
