"""Complete tables of results, as tasks whose runs are looked up: nothing is trained."""

import bisect
import math
import statistics
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

LEAST_MARGIN = 0.005
"""Half a point: differences of single runs below it are noise (DeepOBS: sd of ten seeds 0.13 to 1.64 points)."""


@dataclass(frozen=True, slots=True)
class Table:
    """One task with its runs at constant learning rates, epoch by epoch.

    Args:
        problem: data set and model.
        optimizer: its name.
        lrs: the learning rates, rising.
        losses: for each learning rate, the test loss after 0, 1, ... epochs; inf from the first that is not finite.
        accuracies: for each learning rate, the test accuracy in [0, 1] after 0, 1, ... epochs.
        chance_accuracy: that of always guessing the most frequent class.
        repeats: final accuracies of more seeds at one of the best learning rates.
        epoch: steps of one epoch.

    >>> table = Table("p", "sgd", (0.1, 1.0), ((2.0, 1.0), (2.0, math.inf)), ((0.1, 0.8), (0.1, 0.1)), 0.1, (), 100)
    >>> table.nearest(0.2), table.final(0.2), table.final(0.9), table.horizon
    (0, 0.8, 0.0, 100)
    """

    problem: str
    optimizer: str
    lrs: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    accuracies: tuple[tuple[float, ...], ...]
    chance_accuracy: float
    repeats: tuple[float, ...]
    epoch: int

    def __post_init__(self) -> None:
        rows = {len(self.lrs), len(self.losses), len(self.accuracies)}
        lengths = {len(row) for row in (*self.losses, *self.accuracies)}
        are_shares = all(0 <= accuracy <= 1 for row in self.accuracies for accuracy in row)
        is_rising = list(self.lrs) == sorted(set(self.lrs)) and self.lrs[:1] > (0.0,)
        are_curves = len(rows) == len(lengths) == 1 and max(lengths) > 1
        if not (are_curves and are_shares and is_rising and self.epoch >= 1):
            raise DataError(
                f"the table of {self.name} is not whole: rising rates above 0 are needed, with curves of"
                " one length, before training and after every epoch, and accuracies from 0 to 1"
            )

    @property
    def name(self) -> str:
        """Problem and optimizer."""
        return f"{self.problem} {self.optimizer}"

    @property
    def epochs(self) -> int:
        """Epochs of a full run."""
        return len(self.losses[0]) - 1

    @property
    def horizon(self) -> int:
        """Steps of a full run."""
        return self.epochs * self.epoch

    @property
    def chance_loss(self) -> float:
        """The mean loss before training."""
        return statistics.fmean(row[0] for row in self.losses)

    @property
    def best(self) -> float:
        """The lowest learning rate with the highest final accuracy."""
        finals = self.finals
        return self.lrs[finals.index(max(finals))]

    @property
    def finals(self) -> list[float]:
        """The accuracy of each learning rate after the last epoch; 0 where the run diverged."""
        return [
            accuracies[-1] if math.isfinite(losses[-1]) else 0.0
            for losses, accuracies in zip(self.losses, self.accuracies, strict=True)
        ]

    @property
    def margin(self) -> float:
        """How far below the best a run still is good: twice the seeds' standard deviation, at least half a point."""
        spread = statistics.stdev(self.repeats) if len(self.repeats) > 1 else 0.0
        return max(2 * spread, LEAST_MARGIN)

    @property
    def target(self) -> float:
        """The least accuracy of a good run: the best of the table less the margin."""
        return max(self.finals) - self.margin

    @property
    def good(self) -> list[float]:
        """The learning rates that reach the target."""
        return [lr for lr, final in zip(self.lrs, self.finals, strict=True) if final >= self.target]

    def nearest(self, lr: float) -> int:
        """The place of the learning rate that is nearest on a log axis: its run stands for all beside it."""
        above = bisect.bisect(self.lrs, lr)
        beside = range(max(above - 1, 0), min(above + 1, len(self.lrs)))
        return min(beside, key=lambda place: abs(math.log(self.lrs[place] / lr)))

    def final(self, lr: float) -> float:
        """The accuracy after the last epoch; 0 where the run diverged."""
        return self.finals[self.nearest(lr)]

    def error(self, lr: float, epochs: int) -> float:
        """1 - accuracy after some epochs; inf where the run had diverged."""
        place = self.nearest(lr)
        return 1 - self.accuracies[place][epochs] if math.isfinite(self.losses[place][epochs]) else math.inf

    def ran(self, lr: float) -> float:
        """The share of the full run that was trained before it diverged; 1 for a run that ended well."""
        row = self.losses[self.nearest(lr)]
        if math.isfinite(row[-1]):
            return 1.0
        return next(epoch for epoch, loss in enumerate(row) if not math.isfinite(loss)) / self.epochs

    def in_unit(self, unit: float) -> "Table":
        """The same task with all learning rates times a number, so that a grid of decades falls elsewhere."""
        return replace(self, lrs=tuple(lr * unit for lr in self.lrs))


def read_table(name: str, folder: Path) -> tuple[Table, ...]:
    """Read a known table of results.

    Args:
        name: "deepobs".
        folder: where its files lie, or the folder above.

    Raises:
        UsageError: for an unknown table.
        DataError: for files that are missing or broken.
    """
    if not isinstance(name, str) or name not in READERS:
        raise UsageError(unknown("table", name, READERS))
    return READERS[name](folder)


DEEPOBS = "deepobs_baselines"
CHANCE = {
    "cifar10_3c3d": 0.1,
    "cifar100_allcnnc": 0.01,
    "fmnist_2c2d": 0.1,
    "svhn_wrn164": 0.196,
    "tolstoi_char_rnn": 0.156,
}
"""The classification problems, with the share of the most frequent class: classes of one size; 5,099 ones among
26,032 digits of SVHN; blanks in War and Peace, as six of the runs at the highest learning rates guess them."""
GRID_SEED = 42
RUNS = ("run_id", "problem", "optimizer", "learning_rate", "num_epochs", "steps_per_epoch", "seed")
CURVES = ("run_id", "epoch", "train_loss", "test_loss", "test_accuracy")


def read_deepobs(folder: Path) -> tuple[Table, ...]:
    """Read the classification tasks of the DeepOBS baselines (Schneider, Balles, Hennig 2019).

    Five problems by three optimizers, 36 constant learning rates from 1e-5 to 1e2, one seed; nine more seeds at
    the best one. Losses there are of the test set, with the L2 penalty where a problem has one.

    Raises:
        DataError: for files that are missing or broken.
    """
    inside = folder / DEEPOBS if (folder / DEEPOBS).is_dir() else folder
    runs, curves = read_csv(inside / "runs.csv.gz", RUNS), read_csv(inside / "curves.csv.gz", CURVES)
    runs = runs[runs["problem"].isin(list(CHANCE))]
    curves = curves[curves["run_id"].isin(runs["run_id"])].sort_values(["run_id", "epoch"])
    if runs.empty or not set(runs["run_id"]) <= set(curves["run_id"]):
        raise DataError(f"{inside} holds no classification runs, or not their curves: is it the DeepOBS baselines?")
    by_run = {int(curve["run_id"].iloc[0]): curve for _, curve in curves.groupby("run_id")}
    return tuple(
        _deepobs_table(str(problem), str(optimizer), of_task, by_run)
        for (problem, optimizer), of_task in runs.groupby(["problem", "optimizer"])
    )


READERS = {"deepobs": read_deepobs}


def _deepobs_table(problem: str, optimizer: str, runs: "pd.DataFrame", curves: "dict[int, pd.DataFrame]") -> Table:
    grid = runs[runs["seed"] == GRID_SEED].sort_values("learning_rate")
    same_lr = runs[runs["learning_rate"].isin(runs[runs["seed"] != GRID_SEED]["learning_rate"])]
    read = [curves[run] for run in grid["run_id"]]
    return Table(
        problem,
        optimizer,
        tuple(grid["learning_rate"]),
        tuple(_losses(curve) for curve in read),
        tuple(tuple(curve["test_accuracy"]) for curve in read),
        CHANCE[problem],
        tuple(float(curves[run]["test_accuracy"].iloc[-1]) for run in same_lr["run_id"]),
        int(runs["steps_per_epoch"].iloc[0]),
    )


def _losses(curve: "pd.DataFrame") -> tuple[float, ...]:
    """The test losses; inf from the first epoch on at which they or the training losses are not finite.

    A run whose last losses are finite has recovered: then only its losses that are not finite are inf.
    """
    pairs = list(zip(curve["train_loss"], curve["test_loss"], strict=True))
    ended = math.isfinite(sum(pairs[-1]))
    bad = next((epoch for epoch, pair in enumerate(pairs) if not math.isfinite(sum(pair))), len(pairs))
    last = len(pairs) if ended else bad
    return tuple(test if epoch < last and math.isfinite(test) else math.inf for epoch, (_, test) in enumerate(pairs))


def read_csv(path: Path, columns: Sequence[str]) -> "pd.DataFrame":
    """Read some columns of a file.

    Raises:
        DataError: if it is missing or broken, or lacks one of them.
    """
    import pandas as pd

    try:
        return pd.read_csv(path, usecols=list(columns))
    except FileNotFoundError:
        raise DataError(f"no {path.name} in {path.parent}: give the folder of the table with --data-dir") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
