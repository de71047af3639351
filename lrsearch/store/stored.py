"""What a store gives back: runs, studies and what they asked for, as frozen values."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lrsearch.runs import Objective, Run, RunSpec, RunState, Task
from lrsearch.runs.objective import SCORE, finite_cost
from lrsearch.runs.roles import PROBES, Origin, Role
from lrsearch.schedules import Policy
from lrsearch.store.record import Record


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
class Trial:
    """One thing that a study asks for, a policy over a horizon with a seed, and the run that came of it.

    Args:
        number: its place in the study, from 0.
        role: what it is for.
        origin: where the policy comes from.
        policy: the policy over the task's horizon; for a probe, over its own.
        horizon: steps to train; the policy is stretched to them, so that a short run is a whole one.
        seed: the run's seed.
        stored: the run as far as the store knows it; None before its first attempt.
        reused: whether it was known before this process asked for it.
    """

    number: int
    role: Role
    origin: Origin
    policy: Policy
    horizon: int
    seed: int
    stored: StoredRun | None = None
    reused: bool = field(default=False, compare=False)

    def is_short(self, task: Task) -> bool:
        """Tell whether it is a candidate that may earn a longer run."""
        return self.role == Role.CANDIDATE and self.horizon < task.horizon

    def spec(self, task: Task) -> RunSpec:
        """Give what identifies the run."""
        probe = self.role in (*PROBES, Role.CHECK)
        policy = self.policy if probe else self.policy.stretch(self.horizon / task.horizon)
        return RunSpec(task, policy, self.horizon, self.seed)

    @property
    def run(self) -> Run | None:
        """The run, once it has ended for good or failed."""
        run = self.stored.run if self.stored else None
        return run if run and (run.state.is_final or run.state is RunState.FAILED) else None

    @property
    def committed(self) -> int:
        """Steps that the budget is charged for it: all of its horizon while it is open.

        A beginning that it shares with another run is charged as well, for what trains together depends on the engine
        and its workers, and what comes next must not.
        """
        lost = self.stored.lost_steps if self.stored else 0
        return lost + (self.run.steps if self.run else self.horizon)

    @property
    def spent(self) -> int:
        """Steps that were trained for it, attempts that did not end included as far as they are known."""
        lost = self.stored.lost_steps if self.stored else 0
        return lost + (self.run.trained if self.run else 0)

    def rank(self, objective: Objective) -> tuple[float, float]:
        """Orders trials of one horizon, best first: by cost, then by loss where a run has one; without a score last."""
        if self.run is None or self.run.score is None:
            return math.inf, math.inf
        return finite_cost(objective, self.run.score), self.run.loss or 0.0


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
