"""What goes into a store and comes out of it, as frozen values: runs, studies and their trials."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from lrsearch.runs import Objective, Run, RunSpec, RunState, Task
from lrsearch.runs.objective import SCORE, finite_cost
from lrsearch.runs.roles import PROBES, Origin, Role
from lrsearch.schedules import Policy


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it goes into a store and comes out of it.

    Args:
        key: the digest of task, policy, horizon, seed and trainer version.
        task, task_key: the name and the key of its task.
        policy: over the run's own horizon.
        horizon, seed: of the run.
        origin: where the run comes from: "local", "recorded", or a bundle.
        run: the result.
        lost_steps: steps that were trained in attempts that did not end.
        objective: the metric of the run's score.
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

    @classmethod
    def of(cls, spec: RunSpec, run: Run, origin: str) -> Self:
        """The stored run of a training. If it did not end, all its steps are lost: it will be trained again."""
        is_final = run.state.is_final
        return cls(
            key=spec.key,
            task=spec.task.name,
            task_key=spec.task_key,
            policy=spec.policy,
            horizon=spec.horizon,
            seed=spec.seed,
            origin=origin,
            run=run if is_final else replace(run, steps=0),
            lost_steps=run.lost + (0 if is_final else run.trained),
            objective=spec.task.objective,
        )

    @property
    def unit(self) -> str | None:
        """The unit of the score; None where it has none."""
        return self.objective.unit or None

    def to_json(self) -> dict[str, Any]:
        """The run as JSON values, for `store runs`."""
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
    """A suggestion of a study, which is a policy over a horizon with a seed, and its run.

    Args:
        number: position in the study, from 0.
        role: the purpose of the run.
        origin: the source of the policy.
        policy: the policy over the task's horizon; for a probe, over the probe's own.
        horizon: steps to train; the policy is stretched to them, so a short run is a complete run.
        seed: the run's seed.
        stored: the run as it is in the store; None before its first attempt.
        reused: whether the store had the run before this process suggested it.
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
        """Whether it is a candidate that may be promoted to a longer run."""
        return self.role == Role.CANDIDATE and self.horizon < task.horizon

    def spec(self, task: Task) -> RunSpec:
        """The identity of the run."""
        probe = self.role in (*PROBES, Role.CHECK)
        policy = self.policy if probe else self.policy.stretch(self.horizon / task.horizon)
        return RunSpec(task, policy, self.horizon, self.seed)

    @property
    def run(self) -> Run | None:
        """The run, once its state is final or it failed."""
        run = self.stored.run if self.stored else None
        return run if run and (run.state.is_final or run.state is RunState.FAILED) else None

    @property
    def committed(self) -> int:
        """Steps that the budget is charged: the whole horizon while the trial is open.

        Steps shared with another run are charged too. Sharing depends on the executor and its workers, and the next
        suggestion must not.
        """
        lost = self.stored.lost_steps if self.stored else 0
        return lost + (self.run.steps if self.run else self.horizon)

    @property
    def spent(self) -> int:
        """Steps that were trained, including known attempts that did not end."""
        lost = self.stored.lost_steps if self.stored else 0
        return lost + (self.run.trained if self.run else 0)

    def rank(self, objective: Objective) -> tuple[float, float]:
        """Sort key for trials of one horizon, best first: by cost, then by loss; trials without a score come last."""
        if self.run is None or self.run.score is None:
            return math.inf, math.inf
        return finite_cost(objective, self.run.score), self.run.loss or 0.0


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study as it is in the store.

    Args:
        key: the digest of task, space, strategy, budget and seed.
        name: the task's name with the first 8 digits of the key.
        task: the description of its task.
        description: the keys of task and space, the strategy, the budget and the seed.
        frozen: the evidence at its start: `recommended`, and in studies of later versions `functions`, `rules` and
            `peak`.
    """

    key: str
    name: str
    task: Mapping[str, Any]
    description: Mapping[str, Any]
    frozen: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The study as JSON values, for `store studies`."""
        settings = {name: self.description.get(name) for name in ("strategy", "budget", "seed")}
        task = {"task": self.task["name"], "horizon": self.task["horizon"]}
        return {"study": self.name, "key": self.key, **task, **settings}
