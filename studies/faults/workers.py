"""Workers of the pool that end in five ways: whether runs are trained again, and each end is named rightly."""

import json
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

from oracle import BEGIN, END, FAULT, Line, count
from sandbox import PATIENCE, Plan, sandbox
from trainings import FAULTS, MEMORY_GROUPS

CAUSES = {
    "killed": "killed",
    "memory": "out of memory",
    "exited": "exited",
    "crashed": "crashed",
    "hung": "over its time limit",
}
"""The cause that lrsearch must name, for each kind of fault."""
SECONDS_PER_RUN = 4.0
"""The time limit: a rule, four times what a run takes on a quiet machine."""


def worker_faults(each: int, updates: int, seed: int) -> dict[str, Any]:
    """Train a plan on a pool; so many runs have a fault of each kind, and one run in six has none.

    Args:
        each: faults of each kind.
        updates: of each run; an update takes 10 ms.
        seed: of the order of the faults.
    """
    kinds = [kind for kind in CAUSES if kind != "memory" or can_run_out_of_memory()] * each
    random.Random(seed).shuffle(kinds)
    runs = tuple((updates, number) for number in range(len(kinds) + len(kinds) // 5))
    with sandbox() as box:
        outcome = box.train(Plan("pool", runs, seconds_per_run=SECONDS_PER_RUN), **{FAULTS: " ".join(kinds)})
        remove_memory_groups()
        kind_of = {file.read_text(): kinds[int(file.name.split("-")[1])] for file in box.folder.glob("fault-*")}
        named = Counter((kind_of.get(lost["key"]), lost["cause"]) for lost in outcome["lost"])
        right = {kind: named[kind, CAUSES[kind]] for kind in CAUSES if kind in kinds}
        return {
            "seed": seed,
            "asked": len(kinds),
            "landed": len(landed(box.oracle.lines())),
            "runs": len(runs),
            "finished": sum(run["state"] == "finished" for run in outcome["runs"]),
            "named": sum(right.values()),
            "named_of_each": right,
            "named_otherwise": [f"{kind}: {cause}" for (kind, cause) in named if CAUSES.get(kind or "") != cause],
            **box.left(),
        }


def search_with_faults(each: int, budget: float, seed: int) -> dict[str, Any]:
    """Search with two workers, whose first runs have faults; whether the search answers, and what it says was lost.

    Args:
        each: faults of each kind.
        budget: full-run equivalents, lost work included.
        seed: of the order of the faults; and the study's.
    """
    kinds = [kind for kind in CAUSES if kind != "memory" or can_run_out_of_memory()] * each
    random.Random(seed).shuffle(kinds)
    with sandbox() as box:
        command = (sys.executable, "-m", "lrsearch", "search", training("sleeps"), "--workers", "2", "--json")
        limits = ("--budget", str(budget), "--max-seconds-per-run", str(SECONDS_PER_RUN))
        options = (*limits, "--seed", str(seed), "--out", str(box.out))
        process = box.start(*command, *options, output=box.folder / "printed", **{FAULTS: " ".join(kinds)})
        code = process.wait(PATIENCE)
        remove_memory_groups()
        lost = json.loads((box.folder / "printed").read_text())["lost"] if code == 0 else []
        asked, named = Counter(CAUSES[kind] for kind in kinds), Counter(attempt["cause"] for attempt in lost)
        return {
            "seed": seed,
            "asked": len(kinds),
            "landed": len(landed(box.oracle.lines())),
            "named": (asked & named).total(),
            "named_otherwise": sorted((named - asked).elements()),
            "exit_code": code,
            "said": "" if code == 0 else box.log()[-300:],
            "begun": count(box.oracle.lines(), BEGIN),
            **box.left(),
        }


def training(name: str) -> str:
    """A function of `trainings.py`, as a command names it."""
    import trainings

    return f"{trainings.__file__}:{name}"


def landed(lines: list[Line]) -> list[Line]:
    """The faults that ended an attempt: it has no end, and its run was begun again by another process."""
    return [
        fault
        for fault in lines
        if fault.what == FAULT
        and not any(line.what == END and (line.key, line.pid) == (fault.key, fault.pid) for line in lines)
        and any(line.what == BEGIN and line.key == fault.key and line.at > fault.at for line in lines)
    ]


def can_run_out_of_memory() -> bool:
    """Whether this process may make a control group of memory, which root may."""
    return os.access(MEMORY_GROUPS, os.W_OK)


def remove_memory_groups() -> None:
    """Remove the control groups of processes that have ended."""
    for group in MEMORY_GROUPS.glob("lrsearch-faults-*"):
        with suppress(OSError):
            group.rmdir()
