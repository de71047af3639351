"""Tables of settings x tasks: the runs of every setting on every task, for rankings of held-out tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.compare.tables import CHANCE, DEEPOBS, GRID_SEED, read_csv
from lrsearch.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

ALGOPERF = "algoperf_logs"
ROUND, RULES, FEWEST = "v05", "external", 45
"""The round with the same settings on many workloads, and the fewest settings that a workload needs to be a task."""
DEEPOBS_RUNS = (
    "problem",
    "optimizer",
    "learning_rate",
    "num_epochs",
    "steps_per_epoch",
    "seed",
    "final_test_loss",
    "final_test_accuracy",
    "diverged",
)
TRIALS = ("version", "ruleset", "submission", "workload", "study", "trial", "best_valid")
WORKLOADS = ("workload", "base_workload", "better", "step_hint")


@dataclass(frozen=True, slots=True)
class Settings:
    """The runs of settings on tasks.

    Args:
        name: the table's name.
        runs: one row for each run, with the columns of `lrs.rank`.
        values: one number for each setting (rows) on each task (columns), higher is better; NaN where it did not run.
        bases: for each task, the task that it is a variant of; itself where it is no variant.
    """

    name: str
    runs: "pd.DataFrame"
    values: "pd.DataFrame"
    bases: Mapping[str, str]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, by name."""
        return tuple(str(task) for task in self.values.columns)

    @property
    def has_variants(self) -> bool:
        """Whether tasks are variants of one another."""
        return len(set(self.bases.values())) < len(self.bases)

    def alike(self, task: str) -> list[str]:
        """The variants of a task, itself among them."""
        return [other for other in self.tasks if self.bases[other] == self.bases[task]]


def read_settings(name: str, folder: Path) -> Settings:
    """Read a known table of settings x tasks.

    Args:
        name: "deepobs" or "algoperf".
        folder: where its files lie, or the folder above.

    Raises:
        UsageError: for an unknown table.
        DataError: for files that are missing or broken.
    """
    if not isinstance(name, str) or name not in SETTINGS:
        raise UsageError(unknown("table", name, SETTINGS))
    return SETTINGS[name](folder)


def read_deepobs_settings(folder: Path) -> Settings:
    """Read 3 optimizers x 36 constant learning rates on the 8 problems of the DeepOBS baselines.

    The score is the accuracy on the test set after the last epoch, or less the loss where a problem has none. A
    setting's value is that of the grid's one seed; where it diverged, the worst of the problem.

    Raises:
        DataError: for files that are missing or broken.
    """
    inside = _inside(folder, DEEPOBS)
    read = read_csv(inside / "runs.csv.gz", DEEPOBS_RUNS)
    score = read["final_test_accuracy"].where(read["problem"].isin(list(CHANCE)), -read["final_test_loss"])
    runs = _runs(
        read.assign(score=score.where(read["diverged"] == 0), horizon=read["num_epochs"] * read["steps_per_epoch"]),
        task=read["problem"],
        candidate=read["optimizer"] + read["learning_rate"].map(" {:.4g}".format),
        seed=read["seed"],
    )
    grid = runs[runs["seed"] == GRID_SEED].set_index(["candidate", "task"])["score"]
    if grid.empty or not grid.index.is_unique:
        raise DataError(f"{inside} holds no grid of one run each: is it the DeepOBS baselines?")
    values = grid.unstack()
    return Settings("deepobs", runs, values.fillna(values.min()), {str(task): str(task) for task in values})


def read_algoperf_settings(folder: Path) -> Settings:
    """Read 55 settings of 11 submissions on 12 workloads of the AlgoPerf benchmark's round 0.5.

    The score is the best of the workload's metric on the validation split, with its sign so that higher is better. A
    setting's value is the median of its repeats. Workloads with fewer than 45 settings are left out.

    Raises:
        DataError: for files that are missing or broken.
    """
    inside = _inside(folder, ALGOPERF)
    trials, workloads = read_csv(inside / "trials.csv.gz", TRIALS), read_csv(inside / "workloads.csv", WORKLOADS)
    read = trials[(trials["version"] == ROUND) & (trials["ruleset"] == RULES)].merge(workloads, on="workload")
    sign = read["better"].map({"higher": 1.0, "lower": -1.0})
    runs = _runs(
        read.assign(score=sign * read["best_valid"], horizon=read["step_hint"]),
        task=read["workload"],
        candidate=read["submission"] + " " + read["trial"].astype(str),
        seed=read["study"],
    )
    runs = runs[runs.groupby("task")["candidate"].transform("nunique") >= FEWEST]
    if runs.empty:
        raise DataError(f"{inside} holds no workload with {FEWEST} settings: is it the AlgoPerf logs?")
    values = runs.groupby(["candidate", "task"])["score"].median().unstack()
    bases = dict(zip(workloads["workload"], workloads["base_workload"], strict=True))
    return Settings("algoperf", runs, values, {str(task): str(bases[task]) for task in values})


SETTINGS = {"deepobs": read_deepobs_settings, "algoperf": read_algoperf_settings}


def _runs(read: "pd.DataFrame", **names: "pd.Series") -> "pd.DataFrame":
    return read.assign(**names)[["task", "candidate", "seed", "score", "horizon"]]


def _inside(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder
