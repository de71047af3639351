"""What a store gives back: runs, studies and what they asked for, as frozen values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrsearch.runs import Objective, Run, RunSpec, Task
from lrsearch.runs.objective import SCORE
from lrsearch.schedules import Policy
from lrsearch.store.record import Record

RANGE_TEST = "range-test"
PROBES = (RANGE_TEST, "decade")
CHECK = "check"
"""Two updates and one evaluation of a training of one's own, before anything else of it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One thing a study asks for: train this policy over this horizon with this seed.

    Args:
        number: its place in the study, from 0.
        role: `check`, `range-test`, `decade`, `default`, `candidate` or `confirm`.
        origin: where the policy comes from: `rule`, `default`, `known`, `stored`, `published`, `suggested` or `escape`,
            an exploration trial.
        policy: the policy over the task's horizon; for a probe, over its own.
        horizon: steps to train; the policy is stretched to them, so that a short run is a whole one.
        seed: the run's seed.
    """

    number: int
    role: str
    origin: str
    policy: Policy
    horizon: int
    seed: int

    def is_short(self, task: Task) -> bool:
        """Tell whether it is a candidate that may earn a longer run."""
        return self.role == "candidate" and self.horizon < task.horizon

    def spec(self, task: Task) -> RunSpec:
        """Give what identifies the run."""
        probe = self.role in (*PROBES, CHECK)
        policy = self.policy if probe else self.policy.stretch(self.horizon / task.horizon)
        return RunSpec(task, policy, self.horizon, self.seed)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the store knows it.

    `task` is the task's name; `lost_steps` were trained in attempts that did not end; `objective` is the metric that
    the run's score is of.
    """

    key: str
    task: str
    task_key: str
    policy: Policy
    horizon: int
    seed: int
    origin: str
    run: Run
    lost_steps: int
    objective: Objective = SCORE

    @property
    def unit(self) -> str | None:
        """The unit of the score; None where it has none."""
        return self.objective.unit or None

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values for `store runs`."""
        run = self.run
        return {
            "key": self.key,
            "task": self.task,
            "policy": str(self.policy),
            "seed": self.seed,
            "horizon": self.horizon,
            "state": str(run.state),
            "score": run.score,
            "cost": {"steps": run.trained + self.lost_steps, "seconds": run.seconds},
            "origin": self.origin,
            "metric": self.objective.name,
            "direction": self.objective.direction,
            **({"unit": self.unit} if self.unit else {}),
        }


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study as the store knows it.

    Args:
        key, name: what it is called; the name is the task's with the key's first 8 digits.
        task: the description of its task.
        description: the task's and the space's key, the strategy, the budget and the seed.
        frozen: what it started from: `recommended`, and `functions`, `rules` and `peak` where it was begun since they
            are kept.
    """

    key: str
    name: str
    task: Mapping[str, Any]
    description: Mapping[str, Any]
    frozen: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values for `store studies`."""
        told = {name: self.description.get(name) for name in ("strategy", "budget", "seed")}
        return {"study": self.name, "key": self.key, "task": self.task["name"], "horizon": self.task["horizon"], **told}


@dataclass(frozen=True, slots=True)
class ShownRun:
    """All that a store knows of a run.

    Args:
        run, record: the run, and as it is stored.
        task: the description of its task.
        attempts: other results, which came later and differ.
        studies: the names of the studies that asked for it.
    """

    run: StoredRun
    record: Record
    task: Mapping[str, Any]
    attempts: tuple[Record, ...]
    studies: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values for `store show`."""
        return {
            **self.run.to_json(),
            "record": self.record.to_json(),
            "task_description": dict(self.task),
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "studies": list(self.studies),
        }


def stored(record: Record, task: str, policy: Policy, objectives: Iterable[Objective]) -> StoredRun:
    """Give the run of a record, with the name of its task, its policy, and the objectives that its task describes."""
    own = record.objective
    told = next((one for one in objectives if replace(one, samples=None) == own), own)
    return StoredRun(
        record.key,
        task,
        record.task,
        policy,
        record.horizon,
        record.seed,
        record.origin,
        record.run(),
        record.lost_steps,
        told,
    )
