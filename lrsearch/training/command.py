"""A command: a program and its arguments, with places for what a run has."""

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, given, unknown

PLACES = ("policy", "policy_file", "horizon", "seed", "lrs", "report", "stop", "folder")
SETTINGS = "settings."
PLACE = re.compile(r"\{\{(?P<plain>[A-Za-z_][\w.]*)\}\}|\{(?P<name>[A-Za-z_][\w.]*)\}")
OPERATORS = {"&&", "||", "|", "|&", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"}
IN_A_SHELL = re.compile(r"~(/|$)|[\w./=:-]*\$\{?[A-Za-z_]\w*")
SOURCES = {
    ".awk",
    ".bash",
    ".cfg",
    ".ini",
    ".ipynb",
    ".jl",
    ".js",
    ".json",
    ".lua",
    ".m",
    ".pl",
    ".py",
    ".r",
    ".rb",
    ".sh",
    ".toml",
    ".ts",
    ".yaml",
    ".yml",
}
"""Files that say how something trains; an argument that names another is data, or what is written."""
LARGEST_FILE = 2**20


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments. No shell reads it.

    Args:
        argv: the program and its arguments. In each may stand `{policy}`, `{horizon}`, `{seed}`, `{settings.NAME}`, and
            for paths `{policy_file}`, `{lrs}` (one LR a line), `{report}`, `{stop}`, `{folder}`: a run's own values.
            `{{seed}}` is the text `{seed}`.

    Raises:
        UsageError: for no program, one that is not there, or a place that there is none of.

    >>> Command.of("awk -f train.awk -v seed={seed} {policy_file}").fill({"seed": 3, "policy_file": "p.txt"})
    ('awk', '-f', 'train.awk', '-v', 'seed=3', 'p.txt')
    """

    argv: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.argv or not all(isinstance(part, str) for part in self.argv):
            raise UsageError(f"a command is a program with its arguments, all texts, got {list(self.argv)!r}")
        odd = next((name for name in self.places if name not in PLACES and not name.startswith(SETTINGS)), None)
        if odd is not None:
            places = [*(f"{{{name}}}" for name in PLACES), "{settings.NAME}"]
            raise UsageError(f"{unknown('place', f'{{{odd}}}', places)}; braces themselves are written {{{{{odd}}}}}")
        if PLACE.search(self.argv[0]) is None and shutil.which(self.argv[0]) is None:
            raise UsageError(_not_there(self.argv[0]))

    @classmethod
    def of(cls, asked: str | Sequence[str]) -> "Command":
        """Read a command: a text is split as a shell would, but nothing else of a shell is in it.

        Raises:
            UsageError: for a text that only a shell could read, and as `Command` does.
        """
        if not isinstance(asked, str):
            if not isinstance(asked, Sequence):
                raise UsageError(f"a command is a text, or a list of a program and its arguments, got {given(asked)}")
            return cls(tuple(asked))
        try:
            argv = tuple(shlex.split(asked))
        except ValueError as error:
            raise UsageError(f"the command {asked!r} cannot be split: {error}") from None
        odd = next((part for part in argv if part in OPERATORS or IN_A_SHELL.match(part)), None)
        if odd is not None:
            raise UsageError(f"no shell reads a command, and {odd!r} is for one: write bash -c '...', or leave it out")
        return cls(argv)

    @property
    def places(self) -> tuple[str, ...]:
        """The names in it for what a run has."""
        return tuple(found["name"] for part in self.argv for found in PLACE.finditer(part) if found["name"])

    def fill(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The arguments of a run. Each stays one argument, whatever a value has in it.

        Raises:
            UsageError: for a setting that the task has none of.
        """
        missing = next((name for name in self.places if name not in values), None)
        if missing is not None:
            raise UsageError(unknown("place", f"{{{missing}}}", (f"{{{name}}}" for name in values)))
        return tuple(
            PLACE.sub(lambda found: f"{{{found['plain']}}}" if found["plain"] else str(values[found["name"]]), part)
            for part in self.argv
        )

    @property
    def digest(self) -> str:
        """A digest of the arguments, and of the programs and settings in files that they name: 16 hex digits."""
        found = hashlib.sha256(json.dumps(self.argv).encode())
        for path in map(Path, self.argv[1:]):
            try:
                if path.suffix.lower() in SOURCES and path.is_file() and path.stat().st_size <= LARGEST_FILE:
                    found.update(path.read_bytes())
            except (OSError, ValueError):  # an argument need not be a path
                continue
        return found.hexdigest()[:16]

    def __str__(self) -> str:
        return shlex.join(self.argv)


def _not_there(program: str) -> str:
    path = Path(program)
    if path.is_file():
        how = f"run it as 'python {program}'" if path.suffix == ".py" else f"chmod +x {program}"
        return f"{program!r} is not executable: {how}"
    return f"no program {program!r}: it is neither in this folder nor in PATH"
