"""Measure what the store guarantees, under counted faults.

    python studies/store/measure.py [FIGURE ...] [--runs 1000000] [--seed 1] [--short]

Prints a line of JSON for each figure as it ends, and a table of all; ends with status 1 if a figure falls short.
Figures run on SQLite and on a PostgreSQL server that is started for them, except those that need a file.
"""

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import sqlalchemy
from bundles import bundles
from flips import flips, truncations
from handles import cycles, settings
from kills import kills
from made import Databases, postgresql, tasks
from odd import odd_values
from scale import scale, time_recommendation
from together import migrators, openers, writers

ZEROS = (
    "lost",
    "unasked",
    "duplicated",
    "curves_off",
    "errors",
    "locked",
    "crashes",
    "ghosts",
    "damage",
    "missing_after_writing_again",
    "silent",
    "wrong_values",
    "missing",
    "neither",
    "apart",
    "files_left",
    "threads_left",
    "tasks_left",
)
"""Counts that must be 0."""
AS_MANY = (
    ("landed", "asked"),
    ("reported", "landed"),
    ("acknowledged", "written"),
    ("present", "expected"),
    ("one_schema", "stores"),
    ("records", "opened"),
    ("migrated_once", "stores"),
    ("whole", "stores"),
    ("as_they_should", "connections"),
)
"""Pairs of counts that must be equal."""
FULL = {
    "writers": (16, 1000),
    "openers": (24, 20),
    "migrators": (12, 20),
    "kills": 1000,
    "flips": 1000,
    "truncations": 200,
    "cycles": 1000,
    "bundles": (10_000, 1_000_000),
}
SHORT = {
    "writers": (8, 10),
    "openers": (8, 1),
    "migrators": (6, 1),
    "kills": 20,
    "flips": 20,
    "truncations": 10,
    "cycles": 20,
    "bundles": (400, 60),
}


def main() -> None:
    """Measure the figures of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figures", nargs="*", help="all of them, if none is named")
    parser.add_argument("--runs", type=int, default=1_000_000, help="of the large store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="as the tests do")
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, SQLAlchemy {sqlalchemy.__version__},"
        f" {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, seed {arguments.seed}"
    )
    table = []
    with tempfile.TemporaryDirectory() as folder, postgresql(_made(Path(folder) / "server")) as server:
        known = figures(Path(folder), server, arguments.seed, arguments.runs, SHORT if arguments.short else FULL)
        if unknown := set(arguments.figures) - {name.split(" ")[0] for name, _ in known}:
            parser.error(
                f"no such figure: {', '.join(sorted(unknown))}; there are"
                f" {', '.join(dict.fromkeys(name.split(' ')[0] for name, _ in known))}"
            )
        for name, measure in known:
            if arguments.figures and name.split(" ")[0] not in arguments.figures:
                continue
            began = time.perf_counter()
            figure = measure()
            table.append((name, broken(figure), time.perf_counter() - began))
            print(json.dumps({"figure": name, **figure}), flush=True)
    print()
    for name, wrong, seconds in table:
        print(f"{name:28} {'; '.join(wrong) or 'holds':40} {seconds:7.1f} s")
    raise SystemExit(any(wrong for _, wrong, _ in table))


def figures(
    folder: Path, server: Databases, seed: int, runs: int, sizes: dict[str, Any]
) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    """The names of the figures, each with the function that measures it."""
    kinds = (Databases(folder), server)
    both = [
        (f"{name} {kind.kind}", measure)
        for kind in kinds
        for name, measure in (
            ("settings", lambda kind=kind: settings(kind)),
            ("writers", lambda kind=kind: writers(kind, folder, *sizes["writers"])),
            ("openers", lambda kind=kind: openers(kind, *sizes["openers"])),
            ("kills", lambda kind=kind: kills(kind, sizes["kills"], seed)),
            ("cycles", lambda kind=kind: cycles(kind, sizes["cycles"])),
        )
    ]
    return [
        *both,
        ("odd", lambda: compare(*(odd_values(kind) for kind in kinds))),
        ("migrators", lambda: migrators(folder, *sizes["migrators"])),
        ("flips", lambda: flips(_made(folder / "flips"), sizes["flips"], seed)),
        ("bundles", lambda: bundles(_made(folder / "bundles"), *sizes["bundles"], seed)),
        ("truncations", lambda: truncations(_made(folder / "truncations"), sizes["truncations"], seed)),
        ("many", lambda: many(folder, runs)),
    ]


def many(folder: Path, runs: int) -> dict[str, Any]:
    """Measure a store with many runs, and its recommendations."""
    url = Databases(_made(folder / "many")).new()
    return {**scale(url, runs), "recommend": time_recommendation(url, tasks(1)[0])}


def compare(sqlite: dict[str, str], postgresql: dict[str, str]) -> dict[str, Any]:
    """Count the fates of odd values, and those that differ between the databases."""
    fates = list(sqlite.values())
    return {
        "values": len(fates),
        "kept": fates.count("kept"),
        "refused": fates.count("refused"),
        "neither": sum(fate not in ("kept", "refused") for fate in fates),
        "apart": sum(postgresql[name] != sqlite[name] for name in sqlite),
    }


def broken(figure: dict[str, Any]) -> list[str]:
    """The counts of a figure that should be 0 and are not, and those that fall short of another."""
    not_zero = [f"{name}: {figure[name]}" for name in ZEROS if figure.get(name)]
    pairs = [(name, total) for name, total in AS_MANY if name in figure and total in figure]
    short = [f"{name}: {figure[name]} of {figure[total]}" for name, total in pairs if figure[name] != figure[total]]
    return not_zero + short


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
