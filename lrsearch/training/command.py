"""A command: a program and its arguments, with placeholders for the values of a run."""

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, given, unknown

PLACES = ("policy", "policy_file", "horizon", "seed", "lrs", "report", "stop", "folder")
SETTINGS = "settings."
PLACE = re.compile(r"\{\{(?P<literal>[A-Za-z_][\w.]*)\}\}|\{(?P<name>[A-Za-z_][\w.]*)\}")
OPERATORS = {"&&", "||", "|", "|&", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"}
IN_A_SHELL = re.compile(r"~(/|$)|[\w./=:-]*\$\{?[A-Za-z_]\w*")
SCRIPTS = {".awk", ".bash", ".ipynb", ".jl", ".js", ".lua", ".m", ".pl", ".py", ".r", ".rb", ".sh", ".ts"}
SOURCES = SCRIPTS | {".cfg", ".ini", ".json", ".toml", ".yaml", ".yml"}
"""Suffixes of scripts and settings: the digest covers these files. Files of other kinds are data or output."""
LARGEST_FILE = 2**20
"""Rule: bytes of a file that the digest covers; source files are smaller."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments. No shell reads it.

    Args:
        argv: the program and its arguments. Each may contain placeholders for values of the run: `{policy}`,
            `{horizon}`, `{seed}`, `{settings.NAME}`, and the paths `{policy_file}`, `{lrs}` (one LR a line),
            `{report}`, `{stop}`, `{folder}`. `{{seed}}` is the text `{seed}`.

    Raises:
        UsageError: for an empty command, a missing program, or an unknown placeholder.

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
            raise UsageError(_program_missing(self.argv[0]))

    @classmethod
    def of(cls, command: str | Sequence[str]) -> "Command":
        """Read a command. A text is split into words as by a shell; no other feature of a shell is supported.

        Raises:
            UsageError: for a text with operators or variables of a shell, and as `Command` does.
        """
        if not isinstance(command, str):
            if not isinstance(command, Sequence):
                raise UsageError(f"a command is a text, or a list of a program and its arguments, got {given(command)}")
            return cls(tuple(command))
        try:
            argv = tuple(shlex.split(command))
        except ValueError as error:
            raise UsageError(f"the command {command!r} cannot be split: {error}") from None
        odd = next((part for part in argv if part in OPERATORS or IN_A_SHELL.match(part)), None)
        if odd is not None:
            raise UsageError(f"no shell reads a command, and {odd!r} is for one: write bash -c '...', or leave it out")
        return cls(argv)

    @property
    def places(self) -> tuple[str, ...]:
        """The names of its placeholders."""
        return tuple(match["name"] for part in self.argv for match in PLACE.finditer(part) if match["name"])

    def fill(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The arguments of a run. Each stays one argument, whatever its value contains.

        Raises:
            UsageError: for a placeholder without a value, such as a setting that the task does not have.
        """
        missing = next((name for name in self.places if name not in values), None)
        if missing is not None:
            raise UsageError(unknown("place", f"{{{missing}}}", (f"{{{name}}}" for name in values)))

        def value(match: re.Match[str]) -> str:
            return f"{{{match['literal']}}}" if match["literal"] else str(values[match["name"]])

        return tuple(PLACE.sub(value, part) for part in self.argv)

    @property
    def digest(self) -> str:
        """A digest of the arguments and of the program and settings files that they name: 16 hex digits."""
        digest = hashlib.sha256(json.dumps(self.argv).encode())
        for path in self.files:
            with suppress(OSError):
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def files(self) -> tuple[Path, ...]:
        """The program and settings files that the arguments name, up to 1 MiB each."""
        return tuple(filter(_is_source, map(Path, self.argv[1:])))

    def __str__(self) -> str:
        return shlex.join(self.argv)


def _is_source(path: Path) -> bool:
    try:
        return path.suffix.lower() in SOURCES and path.is_file() and path.stat().st_size <= LARGEST_FILE
    except (OSError, ValueError):  # an argument need not be a path
        return False


def _program_missing(program: str) -> str:
    path = Path(program)
    if path.is_file():
        how = f"run it as 'python {program}'" if path.suffix == ".py" else f"chmod +x {program}"
        return f"{program!r} is not executable: {how}"
    return f"no program {program!r}: it is neither in this folder nor in PATH"
