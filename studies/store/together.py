"""Several processes on one store: all write, all open one that does not exist yet, or all open an older one."""

import logging
import os
import shutil
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from made import DIGITS, SCHEMAS, Databases, add_tasks, entry, processes, rows

from lrsearch.store import open_store
from lrsearch.store.schema import SCHEMA_VERSION, Base

PATIENCE = 1800
"""Seconds until a process counts as hanging."""


def writers(databases: Databases, folder: Path, count: int, runs: int) -> dict[str, Any]:
    """Let processes write runs to one store, one by one, each with a list of its acknowledged runs.

    The lists are flushed to the disk line by line, and compared with the keys in the database. Every tenth run is
    written by two processes.
    """
    url = databases.new()
    with open_store(url) as store:
        add_tasks(store, [DIGITS])
    lists = [folder / f"{databases.kind}-{n}.txt" for n in range(count)]
    errors = _all_at_once(_write, [(url, path, _numbers(n, count, runs)) for n, path in enumerate(lists)])
    acknowledged = [path.read_text().split() for path in lists]
    stored = [key for (key,) in rows(url, "SELECT key FROM lrsearch_runs WHERE state = 'finished'")]
    numbers = [number for (number,) in rows(url, "SELECT id FROM lrsearch_runs")]
    ((curves,),) = rows(url, "SELECT count(*) FROM lrsearch_curves")
    all_acknowledged = set().union(*acknowledged)
    return {
        "written": sum(len(_numbers(n, count, runs)) for n in range(count)),
        "acknowledged": sum(map(len, acknowledged)),
        "present": len(stored),
        "expected": len(_keys(count, runs)),
        "lost": len(all_acknowledged - set(stored)),
        "unasked": len(set(stored) - _keys(count, runs)),
        "duplicated": len(stored) - len(set(stored)) + len(numbers) - len(set(numbers)),
        "curves_off": curves - 2 * len(stored),
        "errors": len(errors),
        "locked": sum("locked" in error for error in errors),
        "said": errors[:1],
    }


def openers(databases: Databases, count: int, repeats: int) -> dict[str, Any]:
    """Let processes open one store that does not exist yet, at once by a barrier, and write a run each."""
    crashes: list[str] = []
    schemas, present = 0, 0
    for _ in range(repeats):
        url = databases.new()
        crashes += _all_at_once(_open_and_write, [(url, n) for n in range(count)])
        versions = rows(url, "SELECT version FROM lrsearch_schema")
        schemas += versions == [(SCHEMA_VERSION,)] and _tables(url) == set(Base.metadata.tables)
        present += rows(url, "SELECT count(*) FROM lrsearch_runs WHERE state = 'finished'")[0][0]
    return {
        "opened": count * repeats,
        "crashes": len(crashes),
        "stores": repeats,
        "one_schema": schemas,
        "records": present,
        "said": crashes[:1],
    }


def migrators(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Let processes open one store of schema 1, at once by a barrier."""
    errors: list[str] = []
    once = whole = 0
    expected = sorted(rows(f"sqlite:///{SCHEMAS / 'schema-1.db'}", "SELECT key, state FROM lrsearch_runs"))
    for n in range(repeats):
        path = Path(shutil.copy(SCHEMAS / "schema-1.db", folder / f"old-{n}.db"))
        log = folder / f"log-{n}.txt"
        errors += _all_at_once(_migrate, [(f"sqlite:///{path}", log)] * count)
        url = f"sqlite:///{path}"
        once += log.read_text().count("was brought from schema 1") == 1
        whole += (
            rows(url, "SELECT version FROM lrsearch_schema") == [(SCHEMA_VERSION,)]
            and sorted(rows(url, "SELECT key, state FROM lrsearch_runs")) == expected
        )
    return {
        "opened": count * repeats,
        "errors": len(errors),
        "stores": repeats,
        "migrated_once": once,
        "whole": whole,
        "said": errors[:1],
    }


def _all_at_once(do: Any, jobs: list[Any]) -> list[str]:
    """Do each job in a process, all at once, and return the errors."""
    context = processes()
    barrier, failed = context.Barrier(len(jobs)), context.SimpleQueue()
    started = [context.Process(target=_released, args=(barrier, failed, do, job)) for job in jobs]
    for process in started:
        process.start()
    errors = []
    for process in started:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        if process.exitcode != 0:
            errors.append(f"ended with {process.exitcode}")
    while not failed.empty():
        errors[errors.index("ended with 1")] = failed.get()
    return errors


def _released(barrier: Any, failed: Any, do: Any, job: Any) -> None:
    try:
        barrier.wait(PATIENCE)
        do(job)
    except (Exception, BrokenBarrierError) as error:
        failed.put(f"{type(error).__name__}: {error}"[:300])
        raise SystemExit(1) from None


def _keys(count: int, runs: int) -> set[str]:
    return {entry(DIGITS.key, at)["key"] for n in range(count) for at in _numbers(n, count, runs)}


def _numbers(writer: int, count: int, runs: int) -> list[int]:
    """The numbers of a writer's runs: its own, and after every tenth of them one of its neighbour's."""
    own = [writer * runs + at for at in range(runs)]
    neighbour = (writer + 1) % count * runs
    return [n for at, number in enumerate(own) for n in ([number, neighbour + at] if at % 10 == 9 else [number])]


def _write(job: tuple[str, Path, list[int]]) -> None:
    url, path, numbers = job
    with open_store(url) as store, path.open("w") as acknowledged:
        for n in numbers:
            made = entry(DIGITS.key, n)
            store.add([made])
            acknowledged.write(f"{made['key']}\n")
            acknowledged.flush()
            os.fsync(acknowledged.fileno())


def _open_and_write(job: tuple[str, int]) -> None:
    url, n = job
    with open_store(url) as store:
        add_tasks(store, [DIGITS])
        store.add([entry(DIGITS.key, n)])


def _migrate(job: tuple[str, Path]) -> None:
    url, log = job
    logging.getLogger("lrsearch").addHandler(logging.FileHandler(log))
    open_store(url).close()


def _tables(url: str) -> set[str]:
    query = {
        "sqlite": "name FROM sqlite_master WHERE type = 'table' AND name",
        "postgresql": "table_name FROM information_schema.tables WHERE table_name",
    }[url.split(":")[0].split("+")[0]]
    return {name for (name,) in rows(url, f"SELECT {query} LIKE 'lrsearch_%'")}
