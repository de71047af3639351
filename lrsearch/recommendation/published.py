"""Published results of the seed papers, as frozen values: the warm start of a store that is still empty.

They were chosen on test sets, by the best of all iterations, so they count half, under an origin of their own: a
printed and a measured score never meet in one number.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lrsearch.recommendation.known import PUBLISHED, SHARE, KnownRun, KnownTask
from lrsearch.runs import Metrics
from lrsearch.schedules import Policy, parse


@dataclass(frozen=True, slots=True)
class Published:
    """A row of a paper's table.

    Args:
        task: its task's name in the data file.
        table: the table, or the section.
        policy: the policy as the paper states it.
        score: the accuracy that was printed, in [0, 1].
        spread: its standard deviation over the repeats; None where the paper does not say.
        repeats: runs behind it; None where the paper does not say.
        protocol: how it was measured.
        best_step: the step of the best evaluation, chosen on the test set.
        metrics: `ld`, `ac`, `cd`, `cdac`, `top5` as printed, as far as they are plausible.
        paper: the paper, with its arXiv number where it has one.
        description: the task, in the form of `Task.description`, as far as the paper states it.
        label: its table for people, such as "LRBench Table VII".
    """

    task: str
    table: str
    policy: Policy
    score: float
    spread: float | None
    repeats: int | None
    protocol: str
    best_step: int | None
    metrics: Metrics
    paper: str
    description: Mapping[str, Any]
    label: str


@cache
def published() -> tuple[Published, ...]:
    """All published results that ship with lrsearch.

    >>> best = max((row for row in published() if row.table == "VII"), key=lambda row: row.score)
    >>> print(best.policy, best.score, best.spread, best.repeats, best.paper)
    SIN2(k0=0.01, k1=0.06, l=2000) 0.9933 0.0002 5 Wu et al. 2019, arXiv 1908.06477
    """
    text = files("lrsearch.recommendation").joinpath("published.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return tuple(_row(row, content["tasks"][row["task"]]) for row in content["results"])


@cache
def published_tasks() -> tuple[KnownTask, ...]:
    """The published results by task; results without a stated horizon are left out."""
    by_task: dict[str, list[Published]] = defaultdict(list)
    for row in published():
        if row.description.get("horizon"):
            by_task[row.task].append(row)
    return tuple(_task(rows) for rows in by_task.values())


def label_of(task: str, policy: Policy) -> str:
    """The tables in which a policy is printed for a task; "" where it is in none.

    Args:
        task: the task's name among the published results, as in `Recommendation.task`.
        policy: the policy as it is printed.

    >>> from lrsearch.schedules import SIN2
    >>> label_of("MNIST LeNet, 10000 steps (Wu et al. 2019)", SIN2(k0=0.01, k1=0.06, l=2000))
    'LRBench Table VII'
    """
    labels = (row.label for row in published() if row.task == task and row.policy == policy)
    return ", ".join(dict.fromkeys(labels))


def _row(row: Mapping[str, Any], task: Mapping[str, Any]) -> Published:
    source = task["source"]
    paper = f"{source['paper']}, arXiv {source['arxiv']}" if "arxiv" in source else source["paper"]
    table = row["table"] if " " in row["table"] else f"Table {row['table']}"  # a row of the text names its section
    return Published(
        row["task"],
        row["table"],
        parse(row["policy"]),
        row["score"],
        row.get("spread"),
        row.get("repeats"),
        row["protocol"],
        row.get("best_step"),
        row.get("metrics", {}),
        paper,
        task["description"],
        f"{source.get('label', source['paper'])} {table}",
    )


def _task(rows: list[Published]) -> KnownTask:
    """A task's rows as runs; a policy in two tables has other seeds in each."""
    first, seeds = rows[0], Counter[Policy]()
    runs = []
    for row in rows:
        runs.append(
            KnownRun(
                row.policy,
                row.description["horizon"],
                seeds[row.policy],
                row.score,
                row.metrics,
                repeats=row.repeats or 1,
                spread=row.spread,
            )
        )
        seeds[row.policy] += row.repeats or 1
    tables = ", ".join(dict.fromkeys(row.table for row in rows))
    return KnownTask(
        f"{PUBLISHED}: {first.task}",
        first.description,
        tuple(runs),
        (),
        PUBLISHED,
        f"{first.paper}, table {tables}",
        SHARE,
    )
