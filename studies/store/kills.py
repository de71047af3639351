"""Processes that are killed with SIGKILL: between insert and commit, and right after the acknowledgement."""

import os
import random
import signal
from multiprocessing.connection import Connection
from typing import Any

from made import DIGITS, Databases, add_tasks, entry, processes, rows
from sqlalchemy import event

from lrsearch.store import open_store
from lrsearch.store.checking import check

PLACES = ("INSERT INTO lrsearch_runs", "INSERT INTO lrsearch_curves", "commit", "acknowledged")
"""A process is killed after this statement, just before it commits, or right after it reported the commit."""
BEFORE = PLACES[:3]


def kills(databases: Databases, count: int, seed: int) -> dict[str, Any]:
    """Kill processes that write a run each, until `count` kills have landed, half of them before the commit.

    A kill has landed if the process reported its place and was ended by the signal. Then the runs are written again.
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
    acknowledged = {entry(DIGITS.key, n)["key"] for n in landed["acknowledged"]}
    stored = [key for (key,) in rows(url, "SELECT key FROM lrsearch_runs WHERE state = 'finished'")]
    ((orphans,),) = rows(url, "SELECT count(*) FROM lrsearch_curves WHERE run NOT IN (SELECT id FROM lrsearch_runs)")
    damage = len(check(url).damage)
    with open_store(url) as store:
        store.add(entry(DIGITS.key, n) for n in range(attempted))
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
    """Let a process write run n and die at a place; return whether it did."""
    context = processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_write_and_die, args=(url, n, place, sender))
    process.start()
    sender.close()
    process.join()
    reported = receiver.recv() if receiver.poll() else None
    receiver.close()
    return reported == place and process.exitcode == -signal.SIGKILL


def _write_and_die(url: str, n: int, place: str, sender: Connection) -> None:
    def die(*_: Any) -> None:
        sender.send(place)
        os.kill(os.getpid(), signal.SIGKILL)

    def after(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith(place):
            die()

    with open_store(url) as store:
        if place == "commit":
            event.listen(store._engine, "commit", die)
        event.listen(store._engine, "after_cursor_execute", after)
        store.add([entry(DIGITS.key, n)])
        die()
