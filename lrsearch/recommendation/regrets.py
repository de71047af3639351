"""Regrets from a table of scores: how far each candidate is behind the best on each task, in units of its noise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lrsearch.errors import UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
NAMES, NUMBERS = ("task", "candidate", "seed"), ("score", "horizon")
CELL = ["candidate", "task", "horizon"]
WORST = 20
"""The noise is at least this part of the way from the best to the median, so that no regret is larger (a rule)."""
KEPT = 0.7
"""The factor on a cell's reliability for each quartering of the horizon: a rule, beside a measurement. Rankings of the
better half of 96 stretched policies on MNIST and CIFAR-10 correlate with the final ones by 0.87 and 0.96 at 1/4, by
0.73 and 0.87 at 1/16."""
LARGEST, SMALLEST = 1e100, 1e-12
"""Of scores and weights, so that squares are finite; of differences, relative to the scores, that are not rounding."""


@dataclass(frozen=True, slots=True)
class Regrets:
    """The regret of every candidate on every task, and its evidence.

    Args:
        candidates: in the order of their names.
        tasks: in the order of their names; those of weight 0, and those on which no run ended well, are left out.
        weights: of each task, above 0.
        regret: (candidates, tasks), 0 to 20 in units of the task's noise; 0 where the candidate did not run.
        seeds: (candidates, tasks), runs behind the regret; 0 where the candidate did not run.
        reliability: (candidates, tasks), from 0, where the candidate did not run, to below 1.
    """

    candidates: tuple[Any, ...]
    tasks: tuple[Any, ...]
    weights: Array
    regret: Array
    seeds: Array
    reliability: Array

    @property
    def evidence(self) -> Array:
        """Each cell's evidence in tasks: weight times reliability."""
        return self.reliability * self.weights

    @property
    def usual(self) -> Array:
        """Each cell's share of all evidence; all zero where there is none."""
        total = self.evidence.sum()
        return self.evidence / total if total > 0 else np.zeros_like(self.evidence)


def regrets(table: "pd.DataFrame", weights: Mapping[Any, float] | None = None, *, minimize: bool = False) -> Regrets:
    """Compute the regrets of a table of scores; the formulas are those of `rank`.

    Raises:
        UsageError: as `rank` does.
    """
    runs = checked(table)
    if minimize:
        runs["score"] = -runs["score"]
    tasks = _ordered(runs["task"])
    weight_of = _weights(tasks, weights)
    runs = runs[runs["task"].map(lambda task: weight_of[task] > 1 / LARGEST)]
    if not runs["score"].notna().any():
        raise UsageError("no run ended well on a task of a weight above 0: there is nothing to rank by")
    candidates = _ordered(runs["candidate"])
    ended = set(runs["task"][runs["score"].notna()])
    tasks = [task for task in tasks if task in ended]
    cells = _longest(_cells(_coded(runs, candidates, tasks)))
    shape, places = (len(candidates), len(tasks)), (cells["candidate"].to_numpy(), cells["task"].to_numpy())
    regret, seeds, reliability = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    regret[places] = cells["regret"]
    seeds[places] = cells["n"]
    reliability[places] = cells["reliability"]
    task_weights = np.array([weight_of[task] for task in tasks])
    return Regrets(tuple(candidates), tuple(tasks), task_weights, regret, seeds, reliability)


def checked(table: "pd.DataFrame") -> "pd.DataFrame":
    """The columns that count, each row once, scores and horizons as floats.

    Raises:
        UsageError: as `rank` does.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"the table must be a pandas DataFrame, got {type(table).__name__}")
    odd = [name for name in (*NAMES, *NUMBERS) if list(table.columns).count(name) != 1]
    if odd:
        raise UsageError(
            f"the table must have these columns, each once: task, candidate, seed, score, horizon;"
            f" look at {', '.join(odd)}"
        )
    if table.empty:
        raise UsageError("the table is empty: there is nothing to rank by")
    names = {name: _names(table[name]) for name in NAMES}
    runs = pd.DataFrame(names | {name: _floats(table[name]) for name in NUMBERS})
    if not (np.isfinite(runs["horizon"]) & (runs["horizon"] > 0)).all():
        raise UsageError("a horizon is missing, infinite or not above 0")
    if (runs["score"].abs() > LARGEST).any():
        raise UsageError(f"a score is infinite, or beyond {LARGEST:g}; a run that diverged has NaN")
    runs = runs.drop_duplicates(ignore_index=True)
    twice = runs[runs.duplicated(["task", "candidate", "seed", "horizon"])]
    if not twice.empty:
        task, candidate, seed = twice.iloc[0][list(NAMES)]
        raise UsageError(f"two scores of one run: {candidate} on {task} with seed {seed}, {len(twice)} such in all")
    return runs


def _names(column: "pd.Series") -> list[Any]:
    names: list[Any] = column.tolist()
    if column.isna().any():
        raise UsageError(f"the column {column.name!r} has rows without a value")
    try:
        hash(tuple(names))
    except TypeError:
        raise UsageError(f"the column {column.name!r} must hold names or other hashable values") from None
    return names


def _floats(column: "pd.Series") -> Array:
    import pandas as pd

    kind, types = column.dtype, pd.api.types
    if not types.is_numeric_dtype(kind) or types.is_bool_dtype(kind) or types.is_complex_dtype(kind):
        raise UsageError(f"the column {column.name!r} must hold numbers, it holds {kind}")
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _ordered(names: Iterable[Any]) -> list[Any]:
    return sorted(set(names), key=lambda name: (str(name), type(name).__name__))


def _weights(tasks: list[Any], weights: Mapping[Any, float] | None) -> dict[Any, float]:
    by_task = dict(weights or {})
    for task, weight in by_task.items():
        if task not in tasks:
            raise UsageError(unknown("task", str(task), map(str, tasks)))
        if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)) or not 0 <= weight <= LARGEST:
            raise UsageError(f"the weight of {task} must be a number, 0 or more, got {weight!r}")
    return {task: float(by_task.get(task, 1.0)) for task in tasks}


def _coded(runs: "pd.DataFrame", candidates: list[Any], tasks: list[Any]) -> "pd.DataFrame":
    """Candidates and tasks as their places, sorted by value, so that the order of the rows does not matter."""
    places = {
        "candidate": {name: place for place, name in enumerate(candidates)},
        "task": {name: place for place, name in enumerate(tasks)},
    }
    weighted = runs[runs["task"].isin(tasks)]
    coded = weighted.assign(**{name: [of[value] for value in weighted[name]] for name, of in places.items()})
    return coded.sort_values([*CELL, "score"], ignore_index=True)


def _cells(runs: "pd.DataFrame") -> "pd.DataFrame":
    """One row for each candidate, task and horizon: its regret in units of the task's noise, and its reliability."""
    group = ["task", "horizon"]
    worst = runs.groupby(group)["score"].transform("min")
    runs = runs.assign(filled=runs["score"].fillna(worst))[worst.notna()]
    cells = runs.groupby(CELL, as_index=False).agg(
        mean=("filled", "mean"), n=("filled", "size"), ended=("score", "count"), variance=("score", "var")
    )
    by_group = cells.groupby(group, as_index=False)
    noise = by_group[["mean", "ended", "variance"]].apply(_noise)
    noise["noise"] = noise["noise"].where(noise["repeated"], noise.groupby("task")["noise"].transform("max"))
    cells = cells.merge(noise, on=group)
    best, mean, spread, unit = cells[["best", "mean", "spread", "noise"]].to_numpy(dtype=np.float64).T
    behind = np.minimum(best - mean, spread)
    cells["regret"] = np.divide(behind, unit, out=np.zeros(len(cells)), where=unit > 0).clip(0, WORST)
    shorter = cells["horizon"] / cells.groupby("task")["horizon"].transform("max")
    cells["reliability"] = cells["n"] / (cells["n"] + 1) * KEPT ** (-np.log(shorter) / np.log(4))
    return cells


def _noise(cells: "pd.DataFrame") -> "pd.Series":
    """The best mean, the largest regret, the noise, and whether repeated seeds measure it, of a task's horizon."""
    import pandas as pd

    mean = cells["mean"]
    best, median, worst = mean.max(), mean.median(), mean.min()
    rounding = SMALLEST * mean.abs().max()
    spread = best - median if best - median > rounding else best - worst
    spread = spread if spread > rounding else 0.0
    repeated = cells[(mean >= median) & (cells["ended"] > 1)]
    freedom = (repeated["ended"] - 1).sum()
    of_seeds = float(np.sqrt((repeated["variance"] * (repeated["ended"] - 1)).sum() / freedom)) if freedom else 0.0
    noise = max(of_seeds if of_seeds > rounding else 0.0, spread / WORST)
    return pd.Series({"best": best, "spread": spread, "noise": noise, "repeated": bool(freedom)}, dtype=object)


def _longest(cells: "pd.DataFrame") -> "pd.DataFrame":
    """Each candidate's cell at the longest horizon at which it ran on a task."""
    return cells.sort_values("horizon").drop_duplicates(["candidate", "task"], keep="last")
