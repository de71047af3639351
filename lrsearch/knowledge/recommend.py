"""What the store knows for a task: the best policies of similar tasks, carried over by horizon and by range test."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.errors import PolicyError
from lrsearch.heuristics.evidence import Ramp
from lrsearch.heuristics.range_test import centre, read_ramp
from lrsearch.knowledge.store import Store, StoredRun
from lrsearch.schedules import Policy, parse
from lrsearch.tasks import Task
from lrsearch.training.run import RunState

TOO_FAR = 1.5
WORST_REGRET = 3.0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A policy that did well on a similar task.

    Args:
        policy: the policy over that task's horizon.
        task: that task's name.
        distance: how far that task is from the one asked for; 0 for the same.
        score: its validation top-1 there, mean over seeds.
        seeds: runs behind the score.
        regret: how far it was behind that task's best, in standard errors of the validation split.
        centre: the middle of the bottom of that task's range test; None if it had none.
        horizon: that task's horizon in steps.
    """

    policy: Policy
    task: str
    distance: float
    score: float
    seeds: int
    regret: float
    centre: float | None
    horizon: int

    def carried(self, horizon: int, own_centre: float | None) -> Policy:
        """Give the policy over another horizon, its learning rate moved by the ratio of the two range tests."""
        policy = self.policy.stretch(horizon / self.horizon)
        return policy.scale(own_centre / self.centre) if own_centre and self.centre else policy

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"policy": str(self.policy), "task": self.task, "distance": self.distance, "score": self.score,
                "seeds": self.seeds, "regret": self.regret, "centre": self.centre, "horizon": self.horizon}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recommendation":
        """Read it back."""
        return cls(**{**values, "policy": parse(values["policy"])})


def recommend(store: Store, task: Task, k: int = 2) -> list[Recommendation]:
    """Give at most k policies of different forms, best first by closeness and regret; none without relevant evidence.

    Only finished full-length runs on the validation split count, of tasks with the same family of optimizer and the
    same metric: what was chosen on a test set recommends nothing.
    """
    described, runs = store.tasks(), defaultdict(list)
    for stored in store.runs(state=RunState.FINISHED):
        runs[stored.task_key].append(stored)
    found = [
        recommendation
        for key, at in runs.items()
        if described[key]["metric"] == task.description["metric"]
        and (far := distance(task.description, described[key])) <= TOO_FAR
        for recommendation in _of_task(at, described[key], far)
    ]
    chosen: dict[str, Recommendation] = {}
    for one in sorted(found, key=lambda r: (r.distance + r.regret / WORST_REGRET, -r.seeds, str(r.policy))):
        chosen.setdefault(one.policy.form, one)
    return list(chosen.values())[:k]


def distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """Give how far two tasks are by their descriptions: 0 for the same, inf across families of optimizers.

    The root mean square over three groups (data set, model, training) of each group's mean difference, where
    sizes differ in decades and names by 0 or 1.
    """
    if a["optimizer"]["family"] != b["optimizer"]["family"]:
        return math.inf

    def decades(x: float, y: float) -> float:
        return abs(math.log10(x / y))

    def differ(group: str) -> float:
        return float(a[group]["name"] != b[group]["name"])

    data = [decades(a["data"]["train"], b["data"]["train"]), decades(a["data"]["classes"], b["data"]["classes"]),
            decades(math.prod(a["data"]["shape"]), math.prod(b["data"]["shape"])), differ("data")]
    model = [decades(a["model"]["parameters"], b["model"]["parameters"]), differ("model")]
    training = [decades(a["batch_size"], b["batch_size"]), decades(a["horizon"], b["horizon"]),
                abs(a["optimizer"].get("momentum", 0) - b["optimizer"].get("momentum", 0))]
    return math.sqrt(float(np.mean([np.mean(group) ** 2 for group in (data, model, training)])))


def _of_task(runs: list[StoredRun], description: Mapping[str, Any], far: float) -> list[Recommendation]:
    """Give the policies of one task that are not clearly behind its best."""
    horizon = description["horizon"]
    by_policy: dict[Policy, list[float]] = defaultdict(list)
    for stored in runs:
        if stored.horizon == horizon and stored.run.score is not None and _is_transferable(stored.policy, horizon):
            by_policy[stored.policy].append(stored.run.score)
    if not by_policy:
        return []
    means = {policy: float(np.mean(scores)) for policy, scores in by_policy.items()}
    best = max(means.values())
    error = max(math.sqrt(best * (1 - best) / description["data"]["validation"]), 1 / description["data"]["validation"])
    middle = centre([read_ramp(ramp_of(stored)) for stored in runs if stored.policy.name == "RAMP"])
    name = description["name"]
    return [
        Recommendation(policy, name, far, mean, len(by_policy[policy]), (best - mean) / error, middle, horizon)
        for policy, mean in means.items()
        if (best - mean) / error <= WORST_REGRET
    ]


def _is_transferable(policy: Policy, horizon: int) -> bool:
    try:
        policy.coordinates(horizon)
    except PolicyError:
        return False
    return True


def ramp_of(stored: StoredRun) -> Ramp:
    """Read a stored range test as evidence: the learning rate in the middle of each stride, and its loss."""
    run = stored.run
    steps = np.minimum((np.arange(len(run.train_losses)) + 0.5) * run.stride, stored.horizon)
    losses = tuple(math.inf if loss is None else loss for loss in run.train_losses)
    return Ramp(stored.key, tuple(stored.policy(steps).tolist()), losses)
