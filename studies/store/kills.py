"""Kills -9 that land: between insert and commit, and right after the acknowledgement."""

import os
import random
import signal
from multiprocessing.connection import Connection
from typing import Any

from made import DIGITS, Databases, add_tasks, processes, record, rows
from sqlalchemy import event

from lrsearch.store import open_store
from lrsearch.store.checking import check

PLACES = ("INSERT INTO lrsearch_runs", "INSERT INTO lrsearch_curves", "commit", "acknowledged")
"""After which statement a process is killed, just before it commits, or right after it said that it had."""
BEFORE = PLACES[:3]


def kills(databases: Databases, count: int, seed: int) -> dict[str, Any]:
    """Kill processes that write a run each, until so many kills have landed, half of them before the commit.

    A kill has landed if the process said where it was, and was ended by it. Afterwards the runs are written again.
    """
    url, chance = databases.new(), random.Random(seed)
    with open_store(url) as store:
        add_tasks(store, [DIGITS])
    landed: dict[str, list[int]] = {place: [] for place in PLACES}
    attempted = 0
    for half in ([*BEFORE], ["acknowledged"]):
        wanted = sum(map(len, landed.values())) + count // 2
        while sum(map(len, landed.values())) < wanted and attempted < 2 * count:
            place = chance.choice(half)
            if _kill(url, attempted, place):
                landed[place].append(attempted)
            attempted += 1
    acknowledged = {record(DIGITS.key, n).key for n in landed["acknowledged"]}
    stored = [key for (key,) in rows(url, "SELECT key FROM lrsearch_runs WHERE state = 'finished'")]
    ((orphans,),) = rows(url, "SELECT count(*) FROM lrsearch_curves WHERE run NOT IN (SELECT id FROM lrsearch_runs)")
    damage = len(check(url).damage)
    with open_store(url) as store:
        store.add(record(DIGITS.key, n) for n in range(attempted))
    ((again,),) = rows(url, "SELECT count(*) FROM lrsearch_runs WHERE state = 'finished'")
    return {
        "asked": count,
        "attempted": attempted,
        "landed": sum(map(len, landed.values())),
        "by_place": {place: len(some) for place, some in landed.items()},
        "lost": len(acknowledged - set(stored)),
        "ghosts": len(set(stored) - acknowledged) + orphans,
        "damage": damage,
        "missing_after_writing_again": attempted - again,
        "seed": seed,
    }


def _kill(url: str, n: int, place: str) -> bool:
    """Have a process write run n and die at a place; tell whether it did."""
    context = processes()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_write_and_die, args=(url, n, place, there))
    process.start()
    there.close()
    process.join()
    said = here.recv() if here.poll() else None
    here.close()
    return said == place and process.exitcode == -signal.SIGKILL


def _write_and_die(url: str, n: int, place: str, said: Connection) -> None:
    def die(*_: Any) -> None:
        said.send(place)
        os.kill(os.getpid(), signal.SIGKILL)

    def after(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith(place):
            die()

    with open_store(url) as store:
        if place == "commit":
            event.listen(store._engine, "commit", die)
        event.listen(store._engine, "after_cursor_execute", after)
        store.add([record(DIGITS.key, n)])
        die()
