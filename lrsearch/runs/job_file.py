"""A job as a JSON file, for a program in any language that trains it. LRSEARCH_JOB is its path."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, WorkError, given, unknown
from lrsearch.runs.objective import Objective
from lrsearch.runs.run import RunSpec

VARIABLE = "LRSEARCH_JOB"
"""The environment variable with the path of a job's file."""
VERSION = 1
"""The version of the file's format; a program reads its own only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """A job as plain values.

    Args:
        job: the run's key; a line of the report may contain it.
        task: the task's name.
        policy: the policy's text, over this run's horizon.
        horizon: updates of this run.
        epoch: updates of one pass over the training samples.
        seed: the seed of all random numbers.
        device: a torch device, such as "cuda:0"; None where the program chooses.
        folder: for checkpoints, the same when the run is started again.
        resumed: whether an attempt before this one made updates.
        evaluate_every: updates from one evaluation to the next; one more is at the end. None for a range test, which
            has no evaluations.
        report: the file to which the program appends JSON lines.
        stop: a file that appears when the run must end early, with the step.
        next: a file that appears with the path of the next job's file, for a program that trains several jobs; None
            where there is no other job.
        lrs: a file with one learning rate a line; None where the command has no `{lrs}`.
        objectives: (name, direction) of the metrics; the first decides.
        stop_when: the rules of early stopping, as in `Stop.description`.
        settings: plain values of the task.
        number, purpose: the trial's number and role in a study by ask and tell.
    """

    job: str
    task: str
    policy: str
    horizon: int
    epoch: float
    seed: int
    device: str | None
    folder: str
    resumed: bool
    evaluate_every: int | None
    report: str
    stop: str
    next: str | None
    lrs: str | None
    objectives: tuple[tuple[str, str], ...]
    stop_when: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    number: int | None = None
    purpose: str | None = None

    def to_text(self) -> str:
        """The job as JSON text."""
        return json.dumps({"version": VERSION} | asdict(self), indent=1)

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_whole(path, self.to_text())

    @classmethod
    def of(cls, spec: RunSpec, folder: Path, *, is_range_test: bool, attempt: int | str = "", **more: Any) -> "JobFile":
        """The file of a run with its other files in a folder, separate ones for each attempt."""
        every = spec.task.evaluate_every(spec.horizon, is_controller=spec.policy.is_controller)
        suffix = f"-{attempt}" if attempt else ""
        values = {"device": None, "resumed": False, "next": None, "lrs": None} | more
        return cls(
            job=spec.key,
            task=spec.task.name,
            policy=str(spec.policy),
            horizon=spec.horizon,
            epoch=spec.task.epoch,
            seed=spec.seed,
            folder=str(folder),
            evaluate_every=None if is_range_test else every,
            report=str(folder / f"report{suffix}.jsonl"),
            stop=str(folder / f"stop{suffix}.json"),
            objectives=tuple((objective.name, objective.direction) for objective in spec.task.objectives),
            stop_when=spec.stop.description if spec.stop else {},
            settings=spec.task.settings,
            **values,
        )

    @classmethod
    def read(cls, path: str | Path) -> "JobFile":
        """Read a job's file.

        Raises:
            WorkError: if it cannot be read, or was written by another version of lrsearch.
            UsageError: if it is not a job's file.
        """
        try:
            values = json.loads(Path(path).read_text())
        except OSError as error:
            raise WorkError(
                f"the job's file {str(path)!r} cannot be read: {error.strerror}; {VARIABLE} is set by"
                " lrsearch where it starts a program, and by nobody else"
            ) from None
        except ValueError as error:
            raise UsageError(f"{str(path)!r} is no job's file: {error}") from None
        if not isinstance(values, dict) or "version" not in values:
            raise UsageError(f"{str(path)!r} is no job's file: it has no version")
        version = values.pop("version")
        if version != VERSION:
            raise WorkError(
                f"the job's file {str(path)!r} has version {given(version)}, and this lrsearch reads"
                f" {VERSION}: install the same version where the program runs"
            )
        known = cls.__dataclass_fields__
        odd = next((name for name in values if name not in known), None)
        missing = next((name for name in known if name not in values), None)
        if odd is not None or missing is not None:
            why = unknown("key", odd, known) if odd is not None else f"it has no {missing!r}"
            raise UsageError(f"{str(path)!r} is no job's file: {why}")
        return cls(**values | {"objectives": tuple((name, direction) for name, direction in values["objectives"])})

    def metrics(self) -> tuple[Objective, ...]:
        """The objectives, without units and sample counts."""
        return tuple(Objective(name, direction) for name, direction in self.objectives)


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically: another process reads all of it, or finds none."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)
