"""Drivers of searches and sweeps that are killed, and the same command again until the search is done."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

from oracle import BEGIN, END, STEP, count, open_runs
from sandbox import PATIENCE, Sandbox, sandbox, wait_until
from workers import training

LATE = 3
"""Every third kill comes after half of the runs: asked for."""
FINAL = ("finished", "diverged", "stopped", "failed")
"""States of a run that has ended, as the store has them."""
COMMANDS = {"pool": ("search",), "ray": ("sweep", "--address", "local")}


def killed_drivers(kind: str, kills: int, per_search: int, budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """Kill the command of a search by SIGKILL at drawn moments, and start it again at once until it is done.

    A moment is a number of runs that have ended, and of updates since the command was started. Runs are drawn from
    those of an undisturbed search, for every third kill from the second half of them.

    Args:
        kind: "pool" or "ray".
        kills: in all.
        per_search: kills of one search.
        budget: full-run equivalents.
        horizon: updates of a full run, each of 10 ms.
        seed: of the moments; and the first study's seed.
    """
    draw = random.Random(seed)
    with sandbox() as box:
        wait_for(_start(box, "pool", budget, horizon, seed), box)  # the search is the same on Ray
        runs = count(box.oracle.lines(), END)
    half = -(-runs // 2)
    ended = [draw.randint(half, runs - 2) if n % LATE == 0 else draw.randint(0, half - 1) for n in range(kills)]
    moments = [(after, draw.randint(1, horizon)) for after in ended]
    searches = [
        _killed_search(kind, sorted(moments[start : start + per_search]), budget, horizon, seed + start)
        for start in range(0, kills, per_search)
    ]
    totals = {name: sum(search[name] for search in searches) for name in searches[0]}
    return {"seed": seed, "asked": kills, "searches": len(searches), **totals}


def _killed_search(kind: str, moments: list[tuple[int, int]], budget: float, horizon: int, seed: int) -> dict[str, int]:
    """One search that is killed at some moments; what came of it, as counts."""
    with sandbox() as box:
        killed: list[int] = []
        recorded: dict[str, float] = {}
        for ended, updates in moments:
            process = _start(box, kind, budget, horizon, seed)
            if not _wait_for_moment(box, process, ended, updates):
                break
            process.kill()
            if process.wait() == -9:
                killed.append(count(box.oracle.lines(), END))
            for key in _final_runs(box):
                recorded.setdefault(key, time.monotonic())
        code = wait_for(_start(box, kind, budget, horizon, seed), box)
        lines, runs, charged = box.oracle.lines(), _final_runs(box), _charged(box)
        again = sum(line.what == BEGIN and line.at > recorded.get(line.key, float("inf")) for line in lines)
        return {
            "landed": len(killed),
            "late": sum(ended >= len(runs) / 2 for ended in killed),
            "exit_codes": code,
            "runs": len(runs),
            "not_finished": sum(state != "finished" for state in runs.values()) + len(open_runs(lines).keys() - runs),
            "trained_twice": again,
            "updates": count(lines, STEP),
            "charged": charged,
            "difference": charged - count(lines, STEP),
            **box.left(),
        }


def _wait_for_moment(box: Sandbox, process: subprocess.Popen[bytes], ended: int, updates: int) -> bool:
    """Wait until so many runs have ended, and so many updates were made from now on; False if the command ends."""
    before = count(box.oracle.lines(), STEP)

    def has_come() -> bool:
        lines = box.oracle.lines()
        return count(lines, END) >= ended and count(lines, STEP) >= before + updates

    wait_until(lambda: has_come() or process.poll() is not None)
    return process.poll() is None


def _start(box: Sandbox, kind: str, budget: float, horizon: int, seed: int) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "lrsearch", *COMMANDS[kind], training("sleeps"), "--workers", "2", "--json")
    options = ("--budget", str(budget), "--horizon", str(horizon), "--seed", str(seed), "--out", str(box.out))
    return box.start(*command, *options, output=box.folder / "printed")


def wait_for(process: subprocess.Popen[bytes], box: Sandbox) -> int:
    """The exit code of a command.

    Raises:
        RuntimeError: if it failed.
    """
    if code := process.wait(PATIENCE):
        raise RuntimeError(f"the command ended with {code}; the log ends with:\n{box.log()}")
    return code


def _charged(box: Sandbox) -> int:
    """The steps that the study says it cost."""
    return int(json.loads((box.folder / "printed").read_text())["cost"]["steps"])


def _final_runs(box: Sandbox) -> dict[str, str]:
    """The runs of the oracle that the store holds as ended, with their states; read without lrsearch."""
    store = box.out / "store.db"
    if not store.exists():
        return {}
    trained = {line.key for line in box.oracle.lines()}
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT key, state FROM lrsearch_runs").fetchall()
    return {key: state for key, state in rows if key in trained and state in FINAL}
