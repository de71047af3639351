"""Queries over a whole store, answered from indexes: the runs that a recommendation reads, and statistics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from lrsearch.runs import Objective, RunState
from lrsearch.runs.objective import finite_cost
from lrsearch.store.schema import (
    AssignmentRow,
    AttemptRow,
    DatasetRow,
    ModelRow,
    OriginRow,
    PolicyRow,
    RunRow,
    StudyRow,
    TaskRow,
)

TRUSTED = RunRow.origin.in_(select(OriginRow.name).where(OriginRow.trusted))
"""Runs of trusted origins: those of an untrusted bundle are no evidence, and no results of a search."""
ENDED = (RunState.FINISHED, RunState.DIVERGED)
KIND = (RunRow.origin, RunRow.metric, RunRow.direction, RunRow.unit)
"""Scores of runs that differ in one of these are never averaged or compared."""
MOST_RAMPS, MOST_SEEDS = 4, 3
"""Range tests of a task, and seeds of a policy, that a recommendation reads: a rule that bounds its time."""
TASK = ("task", "key", "framework", "model", "data", "classes", "runs", "policies")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a study is.

    Args:
        trials: the number of its trials.
        ended: the number of its runs that have ended; a run of two trials counts once.
        steps: the steps of all its runs, those of lost attempts included.
    """

    trials: int
    ended: int
    steps: int


def progress(session: Session, study_key: str) -> Progress:
    """How far a study is, in one query."""
    of_study = AssignmentRow.study_key == study_key
    keys = select(AssignmentRow.run_key).where(of_study)
    is_final = RunRow.state.in_([state for state in RunState if state.is_final])
    steps = func.coalesce(func.sum(RunRow.steps + RunRow.lost_steps), 0)
    trials = select(func.count()).select_from(AssignmentRow).where(of_study).scalar_subquery()
    ended = func.coalesce(func.sum(case((is_final, 1), else_=0)), 0)
    row = session.execute(select(trials, ended, steps).where(RunRow.key.in_(keys), TRUSTED)).one()
    return Progress(*map(int, row))


def representative_ids(session: Session, task_key: str, shortest: int, most: int) -> list[int]:
    """The ids of runs that represent a task's policies: of the best ones, and of a sample of the others.

    Args:
        session: a transaction.
        task_key: the task.
        shortest: least steps of a run; range tests are left out.
        most: policies of each origin and metric. Half of them are the best by the mean cost of their longest runs; the
            others are spread evenly over the rest, so that best and median stay close to those of all. Three seeds of
            each policy are read.
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
            ranks = by_kind.setdefault(tuple(kind), {})
            ranks[policy] = max(ranks.get(policy, (0, 0.0)), (horizon, -_cost(kind, mean)))
    ids = list[int]()
    for kind_values, ranks in by_kind.items():
        chosen = _spread(sorted(ranks, key=lambda policy: (ranks[policy], policy), reverse=True), most)
        runs = session.execute(
            select(RunRow.id, RunRow.policy_key, RunRow.horizon).where(
                RunRow.task_key == task_key,
                *(column == value for column, value in zip(KIND, kind_values, strict=True)),
                RunRow.horizon >= shortest,
                RunRow.policy_key.in_(chosen),
                RunRow.state.in_(ENDED),
            )
        )
        seen: Counter[tuple[str, int]] = Counter()
        for run, policy, horizon in sorted((run, policy, horizon) for run, policy, horizon in runs):
            seen[policy, horizon] += 1
            if seen[policy, horizon] <= MOST_SEEDS:
                ids.append(run)
    return ids


def _cost(kind: Sequence[str], mean: float | None) -> float:
    """The cost of a mean score of a metric; infinite where all runs of a policy diverged."""
    _, metric, direction, unit = kind
    return finite_cost(Objective(metric, direction, unit), mean)


def _spread(ordered: list[str], most: int) -> list[str]:
    """So many of the policies: the first half from the top, the others evenly from the rest."""
    if len(ordered) <= most:
        return ordered
    best, rest = ordered[: most // 2], ordered[most // 2 :]
    others = most - len(best)
    return best + [rest[round((at + 0.5) * len(rest) / others - 0.5)] for at in range(others)]


def ramp_ids(session: Session, task_key: str) -> list[int]:
    """The ids of the last range tests of a task."""
    ramps = sorted(_ramps(session))
    query = select(RunRow.id).where(RunRow.task_key == task_key, RunRow.policy_key.in_(ramps), TRUSTED)
    return sorted(session.scalars(query), reverse=True)[:MOST_RAMPS]


def _ramps(session: Session) -> set[str]:
    """The keys of policies that are range tests. As a subquery of another query, SQLite would scan all runs."""
    return set(session.scalars(select(PolicyRow.key).where(PolicyRow.form == "RAMP")))


def stats(session: Session) -> dict[str, Any]:
    """How much a store holds: in all, and by task, with its framework, model, classes and data set."""
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
