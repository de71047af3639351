"""Searches whose store has a password: where it can be read while they run, and after they have ended."""

import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from databases import Database, database
from sandbox import PATIENCE, Process, Sandbox, sandbox
from sqlalchemy.engine import make_url
from workers import training

PASSWORD = "hunter2-and-more"  # noqa: S105
"""Made up: the server takes any, so that the searches run with it."""
GIVEN = ("--store", "LRSEARCH_STORE", "PGPASSFILE")
"""How a user gives it: in the URL of the option or of the environment, or in a file that the server's client reads."""
CASES = {
    "ends well": ("sleeps", ("--budget", "4")),
    "wrong budget": ("sleeps", ("--budget", "0.1")),
    "training fails": ("raises", ("--budget", "4")),
    "no such database": ("sleeps", ("--budget", "4")),
}
"""Each case with its training and its options."""
CODES = {"ends well": 0, "wrong budget": 2, "training fails": 1, "no such database": 1}
"""The exit code of each case."""
POLL_SECONDS = 0.1
"""Between two readings of all command lines: a rule, short beside the life of a process."""


def password(horizon: int, asked: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Run searches that end well and that fail, and search all that they leave and show for the password.

    Args:
        horizon: updates of a full run.
        asked: for each search its command, `search` on two workers or `sweep` on Ray, with one of `GIVEN` and `CASES`.
    """
    with sandbox() as box, database("postgresql", box) as ledger:
        figures = [_searched(ledger, *each, horizon, seed) for seed, each in enumerate(asked)]
    totals = {name: sum((figure[name] for figure in figures), start=type(figures[0][name])()) for name in figures[0]}
    return {"asked": len(figures), **totals}


def all_cases() -> list[tuple[str, str, str]]:
    """Each case with each way to give the password, and some of them on Ray."""
    here = [("search", given, case) for case in CASES for given in GIVEN]
    return here + [("sweep", given, case) for case in ("ends well", "training fails") for given in GIVEN[:2]]


def _searched(ledger: Database, command: str, given: str, case: str, horizon: int, seed: int) -> dict[str, Any]:
    """One search; the places where its password was read."""
    name, options = CASES[case]
    with sandbox() as box:
        own, environment = _given(box, given, _url(ledger, "nowhere" if case == "no such database" else None))
        words = (command, training(name), *own, *options, "--horizon", str(horizon), "--seed", str(seed))
        more = ("--workers", "2", "--json", "--out", str(box.out))
        output = box.folder / "printed"
        process = box.start(sys.executable, "-m", "lrsearch", *words, *more, output=output, **environment)
        shown = _watched(box, process, is_in_environment=given == "LRSEARCH_STORE")
        files = [file for file in box.folder.rglob("*") if file.is_file() and file != box.folder / "pgpass"]
        hits = shown | {str(file.relative_to(box.folder)) for file in files if has_password(file)}
        is_as_expected = process.returncode == CODES[case]
        return {
            "landed": int(is_as_expected),
            "files": len(files),
            "hits": [f"{command}, {given}, {case}: {hit}" for hit in sorted(hits)],
            "said": [] if is_as_expected else [f"{command}, {given}, {case}: {process.returncode}; {box.log()[-300:]}"],
            **box.left(),
        }


def _url(ledger: Database, name: str | None) -> str:
    """The URL of the study's database, or of another one of its server, with the password."""
    url = make_url(ledger.url).set(password=PASSWORD)
    return url.set(database=name or url.database).render_as_string(hide_password=False)


def _given(box: Sandbox, given: str, url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The options and the environment of a command by which a user gives it the password."""
    if given == "--store":
        return ("--store", url), {}
    if given == "LRSEARCH_STORE":
        return (), {given: url}
    file = box.folder / "pgpass"
    file.write_text(f"*:*:*:*:{PASSWORD}\n")
    file.chmod(0o600)
    return ("--store", make_url(url).set(password=None).render_as_string()), {given: str(file)}


def _watched(box: Sandbox, process: Process, *, is_in_environment: bool) -> set[str]:
    """Where the password shows until a search ends: other processes' commands and environments, and files in TMPDIR.

    Args:
        box: the sandbox.
        process: the search itself, which the user has started with the password.
        is_in_environment: whether the user has given it there; then his other processes have his environment, too.
    """
    names, shown = ("cmdline",) if is_in_environment else ("cmdline", "environ"), set[str]()
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        others = box.processes().keys() - {process.pid}
        shown |= {
            f"{name} of a process" for pid in others for name in names if has_password(Path(f"/proc/{pid}/{name}"))
        }
        files = [file for file in box.temporary.rglob("*") if file.is_file()]
        shown |= {str(file.relative_to(box.folder)) for file in files if has_password(file)}
        time.sleep(POLL_SECONDS)
    return shown


def has_password(file: Path) -> bool:
    with suppress(OSError):
        return PASSWORD.encode() in file.read_bytes()
    return False
