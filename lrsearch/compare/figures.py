"""The figures of a replay, with intervals, and the bars that they should reach."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lrsearch.compare.replay import RIGHT, WRONG, Replayed

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, npt.NDArray[np.float64]]
DRAWS, PERCENTS = 2000, (2.5, 97.5)
"""Draws of the bootstrap, and the ends of its 95 % interval (a rule: with 2,000 draws 50 lie beyond each end)."""
STOPPED = "stopped "
"""Before a strategy's name: its cost where a diverged run costs only the steps that it trained."""


def _mean(name: str) -> Callable[[Columns], float]:
    return lambda columns: float(columns[name].mean())


def _ratio(name: str, other: str) -> Callable[[Columns], float]:
    return lambda columns: float(columns[name].mean() / columns[other].mean())


FIGURES: dict[str, tuple[Callable[[Columns], float], str | None]] = {
    "coverage": (_mean("covers"), ">= 0.95"),
    "log_volume_cut": (_mean("cut"), ">= 0.65"),
    "fre_mean": (_mean("pruned"), "<= 2"),
    "fre_p90": (lambda columns: float(np.percentile(columns["pruned"], 90)), "<= 4"),
    "ratio_tpe": (_ratio("pruned", "TPE"), "<= 0.3333"),
    "ratio_grid": (_ratio("pruned", "grid"), "<= 0.1"),
    "wrong_store_ratio": (_ratio(f"pruned, {WRONG}", "pruned"), "<= 1.2"),
    "wrong_store_flagged": (_mean(WRONG), ">= 0.95"),
    "right_store_ratio": (_ratio(f"pruned, {RIGHT}", "pruned"), None),
    "right_store_flagged": (_mean(RIGHT), None),
    "covers_a_good_rate": (_mean("covers_target"), None),
    "ratio_tpe_if_stopped": (_ratio(f"{STOPPED}pruned", f"{STOPPED}TPE"), None),
    "ratio_grid_if_stopped": (_ratio(f"{STOPPED}pruned", f"{STOPPED}grid"), None),
}
"""Each figure with its bar, where it has one. `if_stopped`: a diverged run costs the steps that it trained, not a full
run."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a replay.

    Args:
        name: the figure's name.
        value: over all studies.
        n: studies.
        low, high: the 95 % interval over problems, by the bootstrap.
        bar: the bound on the value, such as "<= 2"; None where nothing was promised.
    """

    name: str
    value: float
    n: int
    low: float
    high: float
    bar: str | None

    @property
    def is_met(self) -> bool | None:
        """Whether the value reaches its bar; None where nothing was promised."""
        if self.bar is None:
            return None
        sign, bound = self.bar.split()
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        interval = [self.low, self.high]
        return {"value": self.value, "n": self.n, "interval": interval, "bar": self.bar, "met": self.is_met}


@dataclass(frozen=True, slots=True)
class Replay:
    """All studies of a table, and their figures.

    Args:
        table: its name.
        studies: each task by each seed.
        figures: over all studies.
    """

    table: str
    studies: tuple[Replayed, ...]
    figures: tuple[Figure, ...]

    def strategies(self) -> "pd.DataFrame":
        """One row for each strategy: FRE to a good run, how often the first run was good, how often any was."""
        import pandas as pd

        costs = pd.DataFrame([asdict(paid) for study in self.studies for paid in study.paid])
        rows = costs.groupby("strategy", sort=False).agg(
            mean=("cost", "mean"),
            median=("cost", "median"),
            p90=("cost", lambda cost: np.percentile(cost, 90)),
            mean_if_stopped=("stopped", "mean"),
            first=("runs", lambda runs: (runs == 1).mean()),
            reached=("reached", "mean"),
        )
        return rows.reset_index()

    def tasks(self) -> "pd.DataFrame":
        """One row for each task: how often its best learning rate was covered, and each strategy's mean FRE."""
        import pandas as pd

        rows = [
            {
                "problem": study.problem,
                "optimizer": study.optimizer,
                "coverage": float(study.covers),
                "cut": study.cut,
                **{paid.strategy: paid.cost for paid in study.paid},
            }
            for study in self.studies
        ]
        return pd.DataFrame(rows).groupby(["problem", "optimizer"]).mean().reset_index()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "table": self.table,
            "tasks": len({(study.problem, study.optimizer) for study in self.studies}),
            "problems": len({study.problem for study in self.studies}),
            "seeds": len({study.seed for study in self.studies}),
            "diverged": "a full run each; where a figure says if_stopped, as far as they ran",
            "interval": "95 %, bootstrap over problems",
            "figures": {figure.name: figure.to_json() for figure in self.figures},
            "strategies": self.strategies().to_dict("records"),
            "by_task": self.tasks().to_dict("records"),
        }


def conclude(table: str, studies: Sequence[Replayed]) -> Replay:
    """Compute the figures of a replay, each with an interval from resampling problems.

    Tasks of one problem are alike, so whole problems are drawn, with replacement.
    """
    columns = _columns(studies)
    problems = np.array([study.problem for study in studies])
    groups = [np.flatnonzero(problems == name) for name in dict.fromkeys(problems.tolist())]
    rng = np.random.default_rng(0)
    draws: list[list[float]] = []
    for _ in range(DRAWS):
        rows = np.concatenate([groups[group] for group in rng.integers(len(groups), size=len(groups))])
        drawn = {name: values[rows] for name, values in columns.items()}
        draws.append([measure(drawn) for measure, _ in FIGURES.values()])
    low, high = np.percentile(draws, PERCENTS, axis=0)
    figures = tuple(
        Figure(name, measure(columns), len(studies), float(low[place]), float(high[place]), bar)
        for place, (name, (measure, bar)) in enumerate(FIGURES.items())
    )
    return Replay(table, tuple(studies), figures)


def _columns(studies: Sequence[Replayed]) -> dict[str, npt.NDArray[np.float64]]:
    """The inputs of the figures: an array over studies for each quantity."""
    rows = [
        {
            "covers": study.covers,
            "covers_target": study.covers_target,
            "cut": study.cut,
            RIGHT: RIGHT in study.flagged,
            WRONG: WRONG in study.flagged,
            **{paid.strategy: paid.cost for paid in study.paid},
            **{STOPPED + paid.strategy: paid.stopped for paid in study.paid},
        }
        for study in studies
    ]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}
