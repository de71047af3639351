"""The report of a program's job: JSON lines that are appended to a file and read as they come."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lrsearch.errors import UsageError, given
from lrsearch.runs.series import number_of
from lrsearch.training.job_state import JobState, is_step
from lrsearch.words import counted

LARGEST = 64 * 2**20
"""Rule: bytes of a report; above a shortest line for each of a million updates."""
STEP, JOB, STATE = "step", "job", "state"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a report.

    Args:
        step: updates so far; None where the line has no step.
        values: numbers by name.
        state: the state of `lrs.job()` in a Python program; None in other lines.
    """

    step: int | None
    values: Mapping[str, float] = field(default_factory=dict)
    state: JobState | None = None


class Report:
    """Reads the lines that are appended to a report.

    Args:
        path: the file; it need not exist yet.
        job: the key of its run.
    """

    def __init__(self, path: Path, job: str) -> None:
        self.path, self.job = path, job
        self.foreign_lines = 0
        self._read, self._rest = 0, b""

    def lines(self) -> Iterator[Line]:
        """The whole lines that were appended since the last call.

        Raises:
            UsageError: for a malformed line, and for a report that is too long.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read(LARGEST + 1 - self._read)
        except FileNotFoundError:
            return
        self._read += len(new)
        if self._read > LARGEST:
            raise UsageError(f"its report grew beyond {LARGEST // 2**20} MiB: report every n-th update")
        *whole, self._rest = (self._rest + new).split(b"\n")
        for text in whole:
            if text.strip() and (line := self._line(text)) is not None:
                yield line

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about lines that were left out."""
        cut = (f"the last line of its report is not whole and was left out: {_shown(self._rest)}",)
        others = (f"{counted(self.foreign_lines, 'line')} of its report named another job and counted for nothing",)
        return (cut if self._rest.strip() else ()) + (others if self.foreign_lines else ())

    def _line(self, text: bytes) -> Line | None:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise UsageError(f"a line of its report is no JSON: {_shown(text)}") from None
        if not isinstance(values, dict):
            raise UsageError(
                f'a line of its report is an object, such as {{"step": 20, "val_loss": 2.5}}, got {_shown(text)}'
            )
        if values.pop(JOB, self.job) != self.job:
            self.foreign_lines += 1
            return None
        if isinstance(state := values.get(STATE), dict):
            return Line(None, state=JobState.from_json(state))
        step = values.pop(STEP, None)
        if step is not None and not is_step(step):
            raise UsageError(f"the step of a report is the number of updates so far, got {given(step)}")
        numbers = {name: number_of(name, value) for name, value in values.items()}
        return Line(None if step is None else int(step), numbers)


def _shown(text: bytes) -> str:
    return repr(text[:80].decode(errors="replace"))
