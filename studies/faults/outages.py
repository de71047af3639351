"""Databases that go away in mid-study: connections are cut, a server is restarted, a disk is full."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from databases import Database, database
from oracle import BEGIN, END, STEP, Line, count
from sandbox import PATIENCE, Process, Sandbox, sandbox, wait_until
from searches import codes_of, printed_by, release, start_search
from workers import training

AWAY_SECONDS = 3.0
"""For which the server is stopped: a rule, longer than the first pauses of a search."""
DISK_BYTES = 2**26
"""Room of the small disk: a rule, several times what a study needs."""
TRIED_AGAIN = "the store tried again"
"""What a search says once its store is away."""


def cut(times: int, budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """Cut all connections of two searches to PostgreSQL, spread over their study.

    Args:
        times: how often.
        budget: full-run equivalents.
        horizon: updates of a full run, each of 10 ms.
        seed: the study's.
    """

    def disturb(ledger: Database, is_over: Callable[[], bool]) -> int:
        wait_until(lambda: ledger.cut() or is_over())  # a search that trains may have none, since the last cut
        return int(not is_over())

    return _disturbed(times, budget, horizon, seed, disturb)


def restart(times: int, budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """Restart the PostgreSQL server of two searches, spread over their study. As in `cut`."""

    def disturb(ledger: Database, is_over: Callable[[], bool]) -> int:
        ledger.stop()
        time.sleep(AWAY_SECONDS)
        ledger.start()
        return int(not is_over())

    return _disturbed(times, budget, horizon, seed, disturb)


def full_disk(studies: int, budget: float, horizon: int, seed: int, *, comes_back: bool) -> dict[str, Any]:
    """Fill the disk of a search with an SQLite store in the middle of its study.

    Args:
        studies: their number.
        budget, horizon: as in `cut`.
        seed: of the first study, and of the moments.
        comes_back: whether there is room again once the search says that it waits. Otherwise it must end with a word,
            and is started again with room.
    """
    figures = [_full_disk(budget, horizon, seed + n, comes_back) for n in range(studies)]
    totals = {name: sum(figure[name] for figure in figures) for name in figures[0] if name != "said"}
    return {"seed": seed, "asked": studies, **totals, "said": figures[0]["said"]}


def can_fill_disks() -> bool:
    """Whether this process may mount a small disk, which root may."""
    with sandbox() as box:
        try:
            with _disk(box):
                return True
        except subprocess.CalledProcessError:
            return False


def _disturbed(
    times: int, budget: float, horizon: int, seed: int, disturb: Callable[[Database, Callable[[], bool]], int]
) -> dict[str, Any]:
    """Two searches that are disturbed after equal numbers of updates; what came of them, as counts."""
    answer = _undisturbed(budget, horizon, seed)
    with sandbox() as box, database("postgresql", box) as ledger:
        options = {"training": "sleeps", "budget": budget, "horizon": horizon, "seed": seed, "store": ledger.url}
        searching = [start_search(box, n, options | {"out": str(box.out / str(n))}) for n in range(2)]
        release(box, searching)
        landed = 0
        for n in range(1, times + 1):
            updates = round(n * answer["cost"]["steps"] / (times + 1))
            if not _wait_for(box, searching, STEP, updates):
                break
            landed += disturb(ledger, lambda: all(process.poll() is not None for process in searching))
        codes = codes_of(searching)
        return {
            "seed": seed,
            "asked": times,
            "landed": landed,
            "exit_codes": [code for code in codes if code],
            "said": box.log()[-600:] if any(codes) else "",
            "tracebacks": box.log().count("Traceback"),
            "not_answered": len(codes) - len(printed_by(box)),
            "answered_otherwise": sum(each["policy"] != answer["policy"] for each in printed_by(box)),
            **_kept(ledger, box.oracle.lines()),
            **box.left(),
        }


def _full_disk(budget: float, horizon: int, seed: int, comes_back: bool) -> dict[str, Any]:
    """One study of `full_disk`, as counts."""
    answer = _undisturbed(budget, horizon, seed)
    ended = random.Random(seed).randint(3, max(3, answer["cost"]["runs"] // 2))
    with sandbox() as box, _disk(box) as disk:
        process = _command(box, disk, budget, horizon, seed)
        _wait_for(box, [process], END, ended)
        filler = disk / "filler"
        landed = int(process.poll() is None)
        _fill(filler)
        acknowledged: set[str] = set()
        if comes_back:
            wait_until(lambda: TRIED_AGAIN in box.log() or process.poll() is not None)
            wrong_code = 0
        else:
            wrong_code = int(process.wait(PATIENCE) != 1)
            acknowledged, _ = acknowledged_in(box.oracle.lines())
        said = box.log().strip().splitlines()[-1]
        filler.unlink()
        ledger = Database(f"sqlite:///{disk / 'out' / 'store.db'}")
        held = {row.key for row in ledger.rows() if row.state == "finished"}
        code = (process if comes_back else _command(box, disk, budget, horizon, seed)).wait(PATIENCE)
        printed = (box.folder / "printed").read_text()
        found = json.loads(printed[printed.index("{") :])["best"]["policy"] if code == 0 else None
        return {
            "landed": landed,
            "wrong_code": wrong_code,
            "exit_code": abs(code),
            "said": said,
            "without_a_word": int(not comes_back and not said.startswith("lrsearch: ")),
            "tracebacks": box.log().count("Traceback"),
            "acknowledged_lost": len(acknowledged - held),
            "answered_otherwise": int(found != answer["policy"]),
            **_kept(ledger, box.oracle.lines()),
            "processes_left": len(box.processes()),
        }


def _undisturbed(budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """The answer and the cost of the same search that nothing disturbs."""
    with sandbox() as box:
        options = {"training": "sleeps", "budget": budget, "horizon": horizon, "seed": seed, "out": str(box.out)}
        searching = [start_search(box, 0, options)]
        release(box, searching)
        codes_of(searching)
        (answer,) = printed_by(box)
        return answer


def _command(box: Sandbox, disk: Path, budget: float, horizon: int, seed: int) -> Process:
    """Start `lrsearch search` with its folder on the disk."""
    command = (sys.executable, "-m", "lrsearch", "search", training("sleeps"), "--json", "--out", str(disk / "out"))
    options = ("--budget", str(budget), "--horizon", str(horizon), "--seed", str(seed))
    return box.start(*command, *options, output=box.folder / "printed")


def _wait_for(box: Sandbox, searching: list[Process], what: str, number: int) -> bool:
    """Wait for a number of lines of the oracle; False if the searches end before."""
    wait_until(
        lambda: count(box.oracle.lines(), what) >= number or all(process.poll() is not None for process in searching)
    )
    return any(process.poll() is None for process in searching)


def _kept(ledger: Database, lines: list[Line]) -> dict[str, int]:
    """Whether every run that ended is stored, and none was trained again that its search had recorded."""
    ends = {line.key for line in lines if line.what == END}
    acknowledged, again = acknowledged_in(lines)
    rows = ledger.rows()
    return {
        "runs": len(rows),
        "finished": sum(row.state == "finished" for row in rows),
        "finished_lost": len(ends - {row.key for row in rows if row.state == "finished"}),
        "acknowledged": len(acknowledged),
        "trained_again": again,
        "updates": count(lines, STEP),
        "charged": sum(row.charged for row in rows),
    }


def acknowledged_in(lines: list[Line]) -> tuple[set[str], int]:
    """The runs that had ended before their process began another one: so its search had recorded them.

    Returns:
        Their keys, and how often one of them was begun again.
    """
    ended: dict[int, str] = {}
    acknowledged, again = set[str](), 0
    for line in lines:
        if line.what == END:
            ended[line.pid] = line.key
        elif line.what == BEGIN:
            again += line.key in acknowledged
            acknowledged |= {ended.pop(line.pid)} if line.pid in ended else set()
    return acknowledged, again


@contextmanager
def _disk(box: Sandbox) -> Iterator[Path]:
    """A small disk in memory, mounted in the sandbox."""
    folder = box.folder / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder))
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(("umount", "-l", str(folder)), check=True)  # noqa: S607


def _fill(filler: Path) -> None:
    """Fill the rest of a disk."""
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return
