"""Several processes that search together on one study: some are killed, one is frozen, and many start at once."""

import random
import signal
import time
from typing import Any

from charged import (
    LEASE,
    difference,
    late_results,
    paid_twice,
    rows_of,
    run_of_frozen,
    runs_of_killed,
    trained_twice,
    unreported,
)
from databases import Database, database
from oracle import BEGIN, END, STEP, Line, count
from sandbox import Process, Sandbox, sandbox, wait_until
from searches import codes_of, printed_by, release, start_search

from lrsearch.store.claims import LEASE_SECONDS

SHORT = 4
"""A run of less than a full one divided by this is short: it ends before its process can be disturbed."""
LEASES_FROZEN = 3
"""Leases for which a process is frozen: asked for."""


def sharing(kind: str, budget: float, horizon: int, studies: int, seed: int) -> dict[str, Any]:
    """Search with four processes; one is killed in a run, another one is frozen in a run for 3 leases, and continued.

    Args:
        kind: "postgresql", where each process has its own folder as on a machine of its own, or "sqlite", where all
            have the same.
        budget: full-run equivalents.
        horizon: updates of a full run, each of 10 ms.
        studies: their number.
        seed: of the first study, and of the moments.
    """
    return _summed([_disturbed(kind, budget, horizon, seed + n) for n in range(studies)], seed)


def all_killed(kind: str, budget: float, horizon: int, studies: int, seed: int) -> dict[str, Any]:
    """Search with four processes, all of which are killed at once, and start one of them again. As in `sharing`."""
    return _summed([_all_killed(kind, budget, horizon, seed + n) for n in range(studies)], seed)


def together(kind: str, processes: int, budget: float, seed: int) -> dict[str, Any]:
    """Start many processes of one search at once, on a new database.

    Args:
        kind: "postgresql" or "sqlite".
        processes: their number.
        budget: full-run equivalents.
        seed: the study's.
    """
    with sandbox() as box, database(kind, box) as ledger:
        searching = [_start(box, ledger, kind, n, budget, 40, seed, LEASE_SECONDS) for n in range(processes)]
        release(box, searching)
        codes = codes_of(searching)
        return {
            "seed": seed,
            "processes": processes,
            **_answers(box, ledger, codes),
            "other_studies": ledger.studies() - 1,
            "trained_twice": trained_twice(box.oracle.lines()),
            **rows_of(ledger, box.oracle.lines(), round(budget * 40), 0),
            "tracebacks": box.log().count("Traceback"),
            **box.left(),
        }


def _disturbed(kind: str, budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """One study of `sharing`, as counts."""
    draw = random.Random(seed)
    with sandbox() as box, database(kind, box) as ledger:
        searching = [_start(box, ledger, kind, n, budget, horizon, seed) for n in range(4)]
        release(box, searching)
        killed = _in_a_run(box, searching, draw.randint(4, 10), horizon // SHORT)
        killed.kill()
        killed.wait()
        others = [process for process in searching if process is not killed]
        frozen = _in_a_run(box, others, count(box.oracle.lines(), END) + draw.randint(0, 4), horizon // SHORT)
        frozen.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        time.sleep(LEASES_FROZEN * LEASE)
        frozen.send_signal(signal.SIGCONT)
        codes = codes_of(others)
        lines = box.oracle.lines()
        lost, late = runs_of_killed(lines, [killed.pid]), run_of_frozen(lines, frozen.pid, frozen_at)
        return {
            "asked": 2,
            "landed": len(lost) + len(late),
            **_answers(box, ledger, codes),
            **late_results(ledger, lines, late, frozen.pid),
            **rows_of(ledger, box.oracle.lines(), round(budget * horizon), paid_twice(lines)),
            **difference(ledger, lines, unreported(kind, lost, lines), [killed.pid]),
            **box.left(),
        }


def _all_killed(kind: str, budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """One study of `all_killed`, as counts."""
    draw = random.Random(seed)
    with sandbox() as box, database(kind, box) as ledger:
        searching = [_start(box, ledger, kind, n, budget, horizon, seed) for n in range(4)]
        release(box, searching)
        _in_a_run(box, searching, draw.randint(4, 10), horizon // SHORT)
        for process in searching:
            process.kill()
        for process in searching:
            process.wait()
        before = len(box.oracle.lines())
        recorded = {row.key for row in ledger.rows() if row.state == "finished"}
        again = draw.randrange(4)
        codes = codes_of([_start(box, ledger, kind, again, budget, horizon, seed)])
        lines = box.oracle.lines()
        lost = runs_of_killed(lines, [process.pid for process in searching])
        return {
            "asked": 1,
            "landed": min(1, len(lost)),
            "runs_killed": len(lost),
            "trained_twice": sum(line.what == BEGIN and line.key in recorded for line in lines[before:]),
            **_answers(box, ledger, codes),
            **rows_of(ledger, box.oracle.lines(), round(budget * horizon), 0),
            **difference(ledger, lines, unreported(kind, lost, lines), [process.pid for process in searching]),
            **box.left(),
        }


def _start(
    box: Sandbox, ledger: Database, kind: str, number: int, budget: float, horizon: int, seed: int, lease: float = LEASE
) -> Process:
    """Start a process that searches; on PostgreSQL with a folder of its own."""
    out = box.out if kind == "sqlite" else box.out / str(number)
    options = {"training": "shared", "horizon": horizon, "budget": budget, "seed": seed, "lease": lease}
    return start_search(box, number, options | {"store": ledger.url, "out": str(out)})


def _in_a_run(box: Sandbox, searching: list[Process], ended: int, least: int) -> Process:
    """Wait until so many runs have ended and a process is in the middle of a run of `least` updates, and return it.

    Raises:
        RuntimeError: if all have ended before.
    """
    found: list[Process] = []

    def is_there() -> bool:
        lines = box.oracle.lines()
        by_pid = {process.pid: process for process in searching}
        middle = [by_pid[pid] for pid in _in_the_middle(lines, least) if pid in by_pid]
        found.extend(middle if count(lines, END) >= ended else [])
        return bool(found)

    wait_until(lambda: is_there() or all(process.poll() is not None for process in searching))
    if not found:
        raise RuntimeError(f"the search ended before its process could be disturbed; the log ends with:\n{box.log()}")
    return found[0]


def _in_the_middle(lines: list[Line], least: int) -> list[int]:
    """The processes that have made between a quarter and a half of a run that is not short."""
    made: dict[int, tuple[int, int]] = {}
    for line in lines:
        if line.what == STEP:
            made[line.pid] = (made.get(line.pid, (0, 0))[0] + 1, line.horizon)
        else:
            made[line.pid] = (0, line.horizon)
    return [pid for pid, (steps, horizon) in made.items() if horizon >= least and horizon / 4 <= steps <= horizon / 2]


def _answers(box: Sandbox, ledger: Database, codes: list[int]) -> dict[str, Any]:
    """Whether all processes that lived answered, and answered the same, and said what the rows cost in the end."""
    printed = printed_by(box)
    charged = sum(row.charged for row in ledger.rows())
    return {
        "exit_codes": [code for code in codes if code],
        "said": box.log()[-600:] if any(codes) else "",
        "not_answered": len(codes) - len(printed),
        "answered_otherwise": len({answer["policy"] for answer in printed}) - 1,
        "cost_otherwise": charged - max((answer["cost"]["steps"] for answer in printed), default=0),
    }


def _summed(studies: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Several studies as one figure: counts are added, lists joined, and texts too."""
    figure: dict[str, Any] = {name: studies[0][name] for name in studies[0]}
    for study in studies[1:]:
        figure = {name: figure[name] + study[name] for name in figure}
    return {"seed": seed, "studies": len(studies), **figure}
