"""What is asked of a whole store: which runs a recommendation reads, and how much there is. Answered from indexes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lrsearch.runs import Objective, RunState
from lrsearch.runs.objective import finite_cost
from lrsearch.store.schema import AttemptRow, DatasetRow, ModelRow, OriginRow, PolicyRow, RunRow, StudyRow, TaskRow

TRUSTED = RunRow.origin.in_(select(OriginRow.name).where(OriginRow.trusted))
"""What a stranger's bundle says neither recommends nor is a result of a search."""
ENDED = (RunState.FINISHED, RunState.DIVERGED)
KIND = (RunRow.origin, RunRow.metric, RunRow.direction, RunRow.unit)
"""Runs that differ in one of these never meet in one number."""
MOST_RAMPS, MOST_SEEDS = 4, 3
TASK = ("task", "key", "framework", "model", "data", "classes", "runs", "policies")


def representative_ids(session: Session, task_key: str, shortest: int, most: int) -> list[int]:
    """Give the runs of a task that tell most of its policies: those of the best, and of an even share of the others.

    Args:
        session: a transaction.
        task_key: the task.
        shortest: least steps of a run; a range test is none of these.
        most: policies of each origin and metric: half of them the best by their longest runs' mean costs, the others
            evenly from the rest, so that the best and the median are about what they are of all. Of each three seeds.
    """
    ramps = _ramps(session)
    means = session.execute(
        select(*KIND, RunRow.horizon, RunRow.policy_key, func.avg(RunRow.score))
        .where(RunRow.task_key == task_key, RunRow.horizon >= shortest, RunRow.state.in_(ENDED), TRUSTED)
        .group_by(*KIND, RunRow.horizon, RunRow.policy_key)
    )
    by_kind: dict[tuple[str, ...], dict[str, tuple[int, float]]] = {}
    for *kind, horizon, policy, mean in means:
        if policy not in ramps:
            own = by_kind.setdefault(tuple(kind), {})
            own[policy] = max(own.get(policy, (0, 0.0)), (horizon, -_cost(kind, mean)))
    ids = list[int]()
    for of, own in by_kind.items():
        chosen = _spread(sorted(own, key=lambda policy: (own[policy], policy), reverse=True), most)
        found = session.execute(
            select(RunRow.id, RunRow.policy_key, RunRow.horizon).where(
                RunRow.task_key == task_key,
                *(column == value for column, value in zip(KIND, of, strict=True)),
                RunRow.horizon >= shortest,
                RunRow.policy_key.in_(chosen),
                RunRow.state.in_(ENDED),
            )
        )
        seen: Counter[tuple[str, int]] = Counter()
        for run, policy, horizon in sorted((run, policy, horizon) for run, policy, horizon in found):
            seen[policy, horizon] += 1
            if seen[policy, horizon] <= MOST_SEEDS:
                ids.append(run)
    return ids


def _cost(kind: Sequence[str], mean: float | None) -> float:
    """The cost of a mean score of a metric; that of policies of which all runs diverged is infinite."""
    _, metric, direction, unit = kind
    return finite_cost(Objective(metric, direction, unit), mean)


def _spread(ordered: list[str], most: int) -> list[str]:
    """Give the first half of so many, and the others evenly from the rest."""
    if len(ordered) <= most:
        return ordered
    best, rest = ordered[: most // 2], ordered[most // 2 :]
    others = most - len(best)
    return best + [rest[round((at + 0.5) * len(rest) / others - 0.5)] for at in range(others)]


def ramp_runs(session: Session, task_key: str) -> list[int]:
    """Give the last range tests of a task."""
    ramps = sorted(_ramps(session))
    found = select(RunRow.id).where(RunRow.task_key == task_key, RunRow.policy_key.in_(ramps), TRUSTED)
    return sorted(session.scalars(found), reverse=True)[:MOST_RAMPS]


def _ramps(session: Session) -> set[str]:
    """Give the policies that are range tests; asked apart, or SQLite walks through all runs to find them."""
    return set(session.scalars(select(PolicyRow.key).where(PolicyRow.form == "RAMP")))


def stats(session: Session) -> dict[str, Any]:
    """Give how much a store holds: in all, and by task, with its framework, model, classes and data set."""
    states = session.execute(
        select(RunRow.state, func.count(), func.sum(RunRow.steps + RunRow.lost_steps), func.sum(RunRow.seconds))
        .group_by(RunRow.state)
        .order_by(RunRow.state)
    ).all()
    origins = (
        select(OriginRow.name, OriginRow.trusted, func.count(RunRow.id))
        .outerjoin(RunRow)
        .group_by(OriginRow.name, OriginRow.trusted)
        .order_by(OriginRow.name)
    )
    tasks = (
        select(
            TaskRow.name,
            TaskRow.key,
            ModelRow.framework,
            ModelRow.name,
            DatasetRow.name,
            DatasetRow.classes,
            func.count(RunRow.id),
            func.count(RunRow.policy_key.distinct()),
        )
        .outerjoin(ModelRow)
        .outerjoin(DatasetRow)
        .outerjoin(RunRow)
        .group_by(TaskRow.key, TaskRow.name, ModelRow.framework, ModelRow.name, DatasetRow.name, DatasetRow.classes)
        .order_by(TaskRow.name, TaskRow.key)
    )
    counts = {
        name: session.scalar(select(func.count()).select_from(table))
        for name, table in (("policies", PolicyRow), ("studies", StudyRow), ("attempts", AttemptRow))
    }
    return {
        "runs": sum(count for _, count, _, _ in states),
        "steps": int(sum(steps for _, _, steps, _ in states)),
        "seconds": float(sum(seconds for _, _, _, seconds in states)),
        **counts,
        "states": {state: count for state, count, _, _ in states},
        "origins": [
            {"origin": name, "trusted": trusted, "runs": count} for name, trusted, count in session.execute(origins)
        ],
        "tasks": [dict(zip(TASK, row, strict=True)) for row in session.execute(tasks)],
    }
