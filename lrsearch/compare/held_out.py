"""Ranking on held-out tasks: the regret of the best of the first k settings, beside simple rules."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lrsearch.compare.figures import DRAWS, PERCENTS, Figure
from lrsearch.compare.settings import Settings
from lrsearch.recommendation import rank

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
TRIES = (1, 3, 10)
"""The numbers of settings that are tried (a rule: one, a few, and as many as a small search)."""
RANK, NEARER, MEAN_RANK, RANDOM = "rank", "rank, base nearer", "best mean rank", "random"
TASK, BASE = "task", "base workload"
FARTHER = float(np.exp(-0.5))
"""The weight of a task of another base, where one of the same has 1: exp(-d^2 / 2h^2), d = 1, h = the median of d."""


@dataclass(frozen=True, slots=True)
class TriedSetting:
    """The regrets of one way to rank on one held-out task.

    Args:
        held_out: the task alone, or its base with all variants.
        task: the task.
        method: the way to rank.
        regrets: of the best of the first 1, 3 and 10 settings: (best - value) / (best - median), 0 to 1, 0 is best.
    """

    held_out: str
    task: str
    method: str
    regrets: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """All held-out tasks of a table, and their figures.

    Args:
        table: its name.
        tried: each way to rank on each task.
        figures: over the tasks, by what was held out.
    """

    table: str
    tried: tuple[TriedSetting, ...]
    figures: dict[str, tuple[Figure, ...]]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "table": self.table,
            "tasks": len({tried.task for tried in self.tried}),
            "tries": list(TRIES),
            "regret": "(best - value) / (best - median) of the held-out task, 0 to 1; of the best of the first k",
            "interval": "95 %, bootstrap over tasks",
            "figures": {
                held_out: {figure.name: figure.to_json() for figure in figures}
                for held_out, figures in self.figures.items()
            },
            "by_task": [asdict(tried) for tried in self.tried],
        }


def hold_out(settings: Settings) -> Ranked:
    """Hold out each task, and each base with all its variants, and try the settings that the other tasks recommend."""
    tasks = settings.tasks
    tried = [setting for task in tasks for setting in _on_task(settings, TASK, task, [task])]
    if settings.has_variants:
        tried += [setting for task in tasks for setting in _on_task(settings, BASE, task, settings.alike(task))]
    figures = {
        held_out: figures_of([setting for setting in tried if setting.held_out == held_out])
        for held_out in dict.fromkeys(setting.held_out for setting in tried)
    }
    return Ranked(settings.name, tuple(tried), figures)


def figures_of(tried: Sequence[TriedSetting]) -> tuple[Figure, ...]:
    """Compare `rank` with the two simple rules, with intervals that resample tasks.

    The bars: over the tries at most the mean regret of the best mean rank; at no number of tries worse than it by
    more than the bootstrap's standard error of the difference; nowhere above random.
    """
    by_method = {
        name: np.array([setting.regrets for setting in tried if setting.method == name])
        for name in dict.fromkeys(setting.method for setting in tried)
    }
    ahead, chance = by_method[RANK] - by_method[MEAN_RANK], by_method[RANK] - by_method[RANDOM]
    figures = [
        figure
        for name, values in by_method.items()
        for figure in (
            *(_figure(f"{name}, {k}", values[:, place]) for place, k in enumerate(TRIES)),
            _figure(f"{name}, mean", values.mean(axis=1)),
        )
    ]
    figures.append(_figure("less best mean rank, mean", ahead.mean(axis=1), lambda _: 0.0))
    for place, k in enumerate(TRIES):
        figures.append(_figure(f"less best mean rank, {k}", ahead[:, place], lambda error: error))
        figures.append(_figure(f"less random, {k}", chance[:, place], lambda _: 0.0))
    return tuple(figures)


def _figure(name: str, values: Array, bar: Callable[[float], float] | None = None) -> Figure:
    """A mean over tasks as a figure; its bar is a bound that may depend on its standard error."""
    drawn = values[np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, PERCENTS)
    bound = f"<= {bar(float(drawn.std())):.3f}" if bar else None
    return Figure(name, float(values.mean()), len(values), float(low), float(high), bound)


def _on_task(settings: Settings, held_out: str, task: str, out: Sequence[str]) -> list[TriedSetting]:
    """The regrets of every way to rank on a task, by the runs of the tasks that are not held out.

    Settings that did not run on the task are skipped.
    """
    regret, runs = regrets_on(settings.values[task].dropna()), settings.runs[~settings.runs["task"].isin(list(out))]
    orders = {
        RANK: rank(runs, k=len(settings.values))["candidate"].tolist(),
        MEAN_RANK: mean_rank(settings.values.drop(columns=list(out))),
    }
    if held_out == TASK and settings.has_variants:
        weights = {
            other: 1.0 if settings.bases[other] == settings.bases[task] else FARTHER
            for other in settings.tasks
            if other not in out
        }
        orders[NEARER] = rank(runs, weights, k=len(settings.values))["candidate"].tolist()
    tried = [TriedSetting(held_out, task, name, first(regret, order)) for name, order in orders.items()]
    return [*tried, TriedSetting(held_out, task, RANDOM, at_random(regret))]


def regrets_on(values: "pd.Series") -> "pd.Series":
    """Each setting's (best - value) / (best - median), at most 1."""
    best = values.max()
    regrets: pd.Series = ((best - values) / ((best - values.median()) or 1)).clip(0, 1)
    return regrets


def first(regret: "pd.Series", order: Sequence[str]) -> tuple[float, ...]:
    """The lowest regret of the first 1, 3 and 10 of an order, of those that have a regret."""
    known = [float(regret[name]) for name in order if name in regret.index] or [1.0]
    return tuple(min(known[:k]) for k in TRIES)


def at_random(regret: "pd.Series") -> tuple[float, ...]:
    """The expected lowest regret of 1, 3 and 10 settings drawn without replacement."""
    ordered = sorted(regret)
    n = len(ordered)
    return tuple(
        sum(value * comb(n - 1 - place, min(k, n) - 1) / comb(n, min(k, n)) for place, value in enumerate(ordered))
        for k in TRIES
    )


def mean_rank(values: "pd.DataFrame") -> list[str]:
    """The settings by their mean rank over tasks; a setting that did not run on a task ranks beside the last there."""
    ranks = values.rank(ascending=False)
    return [str(name) for name in ranks.fillna(ranks.max()).mean(axis=1).sort_values(kind="stable").index]
