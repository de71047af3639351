"""Measure what executors and shared studies guarantee when processes, machines, drivers and databases fail.

    python studies/faults/measure.py [--only NAME ...] [--seed 1] [--short] [--out studies/faults/output.txt]

Prints a line of JSON for each figure as it ends, and a table of all; ends with status 1 if a figure misses its bar.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import ray
import torch
from bars import BARS, missed
from drivers import killed_drivers
from nodes import killed_idle_nodes, killed_in_a_probe, killed_nodes
from outages import cut, full_disk, restart
from overhead import overhead
from password import all_cases, password
from sharing import all_killed, sharing, together
from speed import speed
from two import two
from utilization import utilization
from workers import search_with_faults, worker_faults

Figures = dict[str, Callable[[], dict[str, Any]]]
FOREVER = 10_000
"""Kills at most, where nodes are killed until the runs have ended."""


def figures(seed: int) -> Figures:
    """The figures at full scale, each with the function that measures it."""
    return {
        "share pool": lambda: utilization("pool", 12, 1000),
        "share ray": lambda: utilization("ray", 12, 1000),
        "share cluster": lambda: utilization("cluster", 12, 1000),
        "nodes": lambda: killed_nodes(60, (500, 1500), 20.0, FOREVER, seed),
        "idle-node": lambda: killed_idle_nodes(10),
        "probe": lambda: killed_in_a_probe(6.0, 200, seed),
        "workers": lambda: worker_faults(10, 100, seed),
        "search": lambda: search_with_faults(2, 16.0, seed),
        "drivers pool": lambda: killed_drivers("pool", 20, 2, 12.0, 200, seed),
        "drivers ray": lambda: killed_drivers("ray", 20, 2, 12.0, 200, seed),
        "sharing postgresql": lambda: sharing("postgresql", 12.0, 200, 2, seed),
        "sharing sqlite": lambda: sharing("sqlite", 12.0, 200, 2, seed),
        "all-killed postgresql": lambda: all_killed("postgresql", 12.0, 200, 2, seed),
        "all-killed sqlite": lambda: all_killed("sqlite", 12.0, 200, 2, seed),
        "together postgresql": lambda: together("postgresql", 12, 6.0, seed),
        "together sqlite": lambda: together("sqlite", 12, 6.0, seed),
        "cut": lambda: cut(50, 24.0, 100, seed),
        "restart": lambda: restart(3, 12.0, 200, seed),
        "full-disk waits": lambda: full_disk(1, 6.0, 200, seed, comes_back=True),
        "full-disk ends": lambda: full_disk(1, 6.0, 200, seed, comes_back=False),
        "password": lambda: password(40, all_cases()),
        "two": lambda: two("burns", 12.0, 125, seed),
        "two sleeps": lambda: two("sleeps", 12.0, 1000, seed),
        "overhead local": lambda: overhead("local", 400),
        "overhead pool": lambda: overhead("pool", 400),
        "overhead ray": lambda: overhead("ray", 400),
        "speed digits-cnn": lambda: speed("digits-cnn", 6, 1280),
        "speed digits-mlp": lambda: speed("digits-mlp", 20, 1280),
    }


def short_figures(seed: int) -> Figures:
    """The same in a few seconds each, as the tests measure them."""
    return {
        "share pool": lambda: utilization("pool", 4, 100),
        "share ray": lambda: utilization("ray", 4, 100),
        "nodes": lambda: killed_nodes(4, (300, 400), 1.0, 1, seed),
        "idle-node": lambda: killed_idle_nodes(1),
        "probe": lambda: killed_in_a_probe(3.0, 100, seed),
        "workers": lambda: worker_faults(1, 60, seed),
        "search": lambda: search_with_faults(1, 6.0, seed),
        "drivers pool": lambda: killed_drivers("pool", 2, 2, 6.0, 60, seed),
        "drivers ray": lambda: killed_drivers("ray", 1, 1, 6.0, 60, seed),
        "sharing postgresql": lambda: sharing("postgresql", 8.0, 200, 1, seed),
        "sharing sqlite": lambda: sharing("sqlite", 8.0, 200, 1, seed),
        "all-killed postgresql": lambda: all_killed("postgresql", 6.0, 120, 1, seed),
        "all-killed sqlite": lambda: all_killed("sqlite", 6.0, 120, 1, seed),
        "together postgresql": lambda: together("postgresql", 4, 4.0, seed),
        "together sqlite": lambda: together("sqlite", 4, 4.0, seed),
        "cut": lambda: cut(5, 4.0, 100, seed),
        "restart": lambda: restart(1, 4.0, 100, seed),
        "full-disk waits": lambda: full_disk(1, 4.0, 60, seed, comes_back=True),
        "password": lambda: password(40, all_cases()[:4:3]),
        "two": lambda: two("burns", 4.0, 20, seed, (1, 2)),
        "overhead local": lambda: overhead("local", 20),
        "overhead pool": lambda: overhead("pool", 20),
        "speed digits-mlp": lambda: speed("digits-mlp", 2, 40, (1, 2)),
    }


def main() -> None:
    """Measure the figures of the command line."""
    parser = argparse.ArgumentParser(description="Measure what executors guarantee under faults.")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="figures, such as nodes; all of them if none"
    )
    parser.add_argument("--seed", type=int, default=1, help="of every fault schedule")
    parser.add_argument("--short", action="store_true", help="as the tests do: its times and shares say nothing")
    parser.add_argument("--out", type=argparse.FileType("w"), help="a file for what is printed")
    arguments = parser.parse_args()
    chosen = _chosen(short_figures(arguments.seed) if arguments.short else figures(arguments.seed), arguments.only)
    if isinstance(chosen, str):
        parser.error(chosen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out

    def show(text: str) -> None:
        for file in (sys.stdout, arguments.out):
            if file:
                print(text, file=file, flush=True)

    show(_machine(arguments.seed))
    table = {}
    for name, measure in chosen.items():
        began = time.perf_counter()
        figure = _measured(measure)
        misses = missed(name, figure, is_short=arguments.short)
        table[name] = f"{'; '.join(misses) or 'meets its bar':70} {time.perf_counter() - began:7.1f} s"
        show(json.dumps({"figure": name, "misses": misses, **figure}))
    show("")
    for name, row in table.items():
        show(f"{name:17} {row}")
    show("\nbars:")
    for name, bar in BARS.items():
        show(f"{name:17} {bar}")
    raise SystemExit(not all(row.startswith("meets") for row in table.values()))


def _measured(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A figure; where it broke off, why, so that the others are measured all the same."""
    try:
        return measure()
    except Exception as error:
        return {"broke_off": f"{type(error).__name__}: {error}"}


def _chosen(known: Figures, only: list[str]) -> Figures | str:
    """The figures whose name, or the first word of it, is among `only`; a text for people where one is unknown."""
    names = {name for name in known for wanted in only if wanted in (name, name.split()[0])}
    unknown = [wanted for wanted in only if not any(wanted in (name, name.split()[0]) for name in known)]
    if unknown:
        return f"no such figure: {', '.join(unknown)}; there are {', '.join(known)}"
    return {name: measure for name, measure in known.items() if name in names or not only}


def _machine(seed: int) -> str:
    cores = len(os.sched_getaffinity(0))
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, Ray {ray.__version__}"
    return f"{versions}, {cores} cores, load {os.getloadavg()[0]:.1f}, seed {seed}"


if __name__ == "__main__":
    main()
