"""What several processes trained and what their study was charged: the oracle's lines against the ledger's rows."""

from collections import Counter
from collections.abc import Sequence

from databases import Database
from oracle import BEGIN, END, STEP, Line, count

from lrsearch.store.claims import RENEWALS

LEASE = 2.0
"""Seconds of a lease: a rule, so that 3 leases are short beside a study."""
LATE_SECONDS = 0.5
"""By which a renewal may be late on a busy machine: a rule. What a killed machine has not reported is lost."""


def rows_of(ledger: Database, lines: list[Line], cap: int, twice: int) -> dict[str, int]:
    """The rows of the study: one for each run, all finished; and the steps beyond its cap and what trained twice."""
    rows = ledger.rows()
    begun = {line.key for line in lines if line.what == BEGIN}
    return {
        "begun": count(lines, BEGIN),
        "runs": len({row.key for row in rows}),
        "finished": sum(row.state == "finished" for row in rows),
        "counted_twice": len(rows) - len({row.key for row in rows}),
        "unknown_runs": len(begun - {row.key for row in rows}),
        "claims_left": ledger.claims(),
        "over_budget": max(0, sum(row.charged for row in rows) - cap - twice),
    }


def runs_of_killed(lines: list[Line], pids: list[int]) -> dict[tuple[str, int], list[float]]:
    """The runs in which processes were killed, each with the times of the updates that its process had made."""
    made: dict[tuple[str, int], list[float]] = {}
    for line in lines:
        if line.pid in pids:
            if line.what == END:
                made.pop((line.key, line.pid), None)
            else:
                made.setdefault((line.key, line.pid), []).extend([line.at] if line.what == STEP else [])
    return made


def run_of_frozen(lines: list[Line], pid: int, at: float) -> dict[str, list[float]]:
    """The run in which a process was frozen, with the times of the updates that it had made."""
    mine = [line for line in lines if line.pid == pid and line.at < at]
    key = mine[-1].key
    is_open = not any(line.what == END and line.key == key for line in mine)
    return {key: [line.at for line in mine if line.key == key and line.what == STEP]} if is_open else {}


def unreported(kind: str, killed: dict[tuple[str, int], list[float]], lines: list[Line]) -> int:
    """The updates of killed processes that nobody may know of.

    In a folder that others see it is one that was not counted yet; else those since the last renewal. Where another
    process trained the run at the same time, nobody takes it from the killed one, and all may be lost.
    """
    since = LEASE / RENEWALS + LATE_SECONDS
    number = 0
    for (key, own), times in killed.items():
        others = [line.at for line in lines if line.key == key and line.pid != own]
        if any(times[0] < at < times[-1] for at in others if times):
            number += len(times)
        else:
            number += 1 if kind == "sqlite" else sum(at >= times[-1] - since for at in times)
    return number


def difference(ledger: Database, lines: list[Line], unreported: int, killed: Sequence[int]) -> dict[str, int]:
    """The charged steps against the oracle's updates, and how many of the difference have no reason.

    Args:
        ledger: the study's.
        lines: the oracle's.
        unreported: updates that may be missing.
        killed: processes that were killed: of the attempts of others, what they had reported is charged twice.
    """
    charged, updates = sum(row.charged for row in ledger.rows()), count(lines, STEP)
    more = charged - updates
    twice = overtaken(lines, killed)
    return {
        "updates": updates,
        "charged": charged,
        "more": more,
        "may_be_twice": twice,
        "may_be_missing": unreported,
        "unexplained": max(0, more - twice, -more - unreported),
    }


def paid_twice(lines: list[Line]) -> int:
    """The most that runs may cost beyond their first training: other trainings, and what was reported of them."""
    ends = Counter(line.key for line in lines if line.what == END)
    horizons = {line.key: line.horizon for line in lines}
    again = sum(horizons[key] * (number - 1) for key, number in ends.items())
    return again + (overtaken(lines, []) if again else 0)


def overtaken(lines: list[Line], killed: Sequence[int]) -> int:
    """The updates of attempts that were still in training when another process began their run."""
    made: dict[str, dict[int, int]] = {}
    number = 0
    for line in lines:
        attempts = made.setdefault(line.key, {})
        if line.what == BEGIN:
            number += sum(steps for pid, steps in attempts.items() if pid not in killed)
            attempts.clear()
            attempts[line.pid] = 0
        elif line.what == STEP and line.pid in attempts:
            attempts[line.pid] += 1
        elif line.what == END:
            attempts.pop(line.pid, None)
    return number


def late_results(ledger: Database, lines: list[Line], late: dict[str, list[float]], pid: int) -> dict[str, int]:
    """What came of the frozen process's run: whether it ended late, and its result is the run's or an attempt's."""
    ended = {line.key for line in lines if line.what == END and line.pid == pid} & set(late)
    ends = Counter(line.key for line in lines if line.what == END)
    return {
        "late": len(late),
        "late_ended": len(ended),
        "late_of_two": sum(ends[key] > 1 for key in ended),
        "late_kept": sum(ledger.has_result(key, pid) for key in ended),
    }


def trained_twice(lines: list[Line]) -> int:
    return sum(ends - 1 for ends in Counter(line.key for line in lines if line.what == END).values())
