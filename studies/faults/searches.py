"""Processes that search together: how they are started at once, and what they print."""

import json
import sys
from pathlib import Path
from typing import Any

from sandbox import HERE, PATIENCE, Process, Sandbox, wait_until


def start_search(box: Sandbox, number: int, options: dict[str, Any]) -> Process:
    """Start a process that searches once it is released.

    Args:
        box: the sandbox.
        number: its number among those that search together.
        options: as `searching.py` takes them.
    """
    files = (str(box.folder / f"ready-{number}"), str(box.folder / "released"))
    command = (sys.executable, str(HERE / "searching.py"), *files, json.dumps(options))
    return box.start(*command, output=box.folder / f"printed-{number}")


def release(box: Sandbox, searching: list[Process]) -> None:
    """Release the processes once all have loaded what they need."""
    ready = [box.folder / f"ready-{number}" for number in range(len(searching))]
    wait_until(lambda: all(map(Path.exists, ready)) or any(process.poll() is not None for process in searching))
    (box.folder / "released").touch()


def codes_of(searching: list[Process]) -> list[int]:
    """The exit codes of processes, once all have ended."""
    return [process.wait(PATIENCE) for process in searching]


def printed_by(box: Sandbox) -> list[dict[str, Any]]:
    """What the processes that answered have printed: the policy, and what the study cost."""
    return [json.loads(text) for file in sorted(box.folder.glob("printed-*")) if (text := file.read_text())]
