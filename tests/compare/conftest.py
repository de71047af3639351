"""Tables whose truth is known, and the same as files of the DeepOBS baselines."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrsearch.compare.tables import Table

LRS = tuple((10 ** np.linspace(-5, 2, 36)).tolist())


def made(
    problem: str = "p", optimizer: str = "sgd", best: float = -2.0, shift: float = 0.5, epochs: int = 100
) -> Table:
    """A task whose best constant learning rate is 10^best in the end, and `shift` decades higher after one epoch.

    Accuracy falls like a bell on the log axis; over 1.5 decades above the best, runs diverge after two epochs.
    """
    losses, accuracies = [], []
    for lr in LRS:
        x = math.log10(lr) - best
        ends = 0.1 + 0.8 * np.exp(-(((x - shift * (1 - np.arange(epochs + 1) / epochs)) / 0.8) ** 2))
        ends[0] = 0.1
        lost = np.where((x > 1.5) & (np.arange(epochs + 1) > 2), math.inf, 2.5 * (1 - ends))
        losses.append(tuple(lost.tolist()))
        accuracies.append(tuple(ends.tolist()))
    return Table(problem, optimizer, LRS, tuple(losses), tuple(accuracies), 0.1, (0.90, 0.902, 0.898), 10)


@pytest.fixture
def make_table() -> Callable[..., Table]:
    return made


@pytest.fixture
def make_tables() -> Callable[..., list[Table]]:
    """Three problems by two optimizers, best rates apart by up to two decades."""

    def make(shift: float = 0.5) -> list[Table]:
        return [
            made(f"p{n}", optimizer, best=-3.0 + n * 0.7 + 0.5 * (optimizer == "sgd"), shift=shift)
            for n in range(3)
            for optimizer in ("adam", "sgd")
        ]

    return make


@pytest.fixture
def deepobs_files(tmp_path: Path) -> Callable[..., Path]:
    """Write small files in the form of the DeepOBS baselines: one task, four rates, two more seeds, three epochs."""

    def write(drop: Sequence[str] = (), problem: str = "fmnist_2c2d") -> Path:
        folder = tmp_path / "deepobs_baselines"
        folder.mkdir(exist_ok=True)
        runs, curves = [], []
        grid = [(0.001, 42, 0.5), (0.01, 42, 0.8), (0.01, 43, 0.82), (0.01, 44, 0.84), (0.1, 42, 0.7), (1.0, 42, 0.1)]
        for run, (lr, seed, final) in enumerate(grid[::-1]):
            runs.append(
                {
                    "run_id": run,
                    "problem": problem,
                    "optimizer": "sgd",
                    "learning_rate": lr,
                    "num_epochs": 3,
                    "steps_per_epoch": 7,
                    "seed": seed,
                }
            )
            for epoch in (3, 0, 1, 2):
                nan = (lr, epoch) in {(1.0, 2), (1.0, 3), (0.1, 1)}
                loss = math.nan if nan else 2.3 - epoch * final / 2
                curves.append(
                    {
                        "run_id": run,
                        "epoch": epoch,
                        "train_loss": loss,
                        "test_loss": 2.3 if nan else loss,
                        "test_accuracy": 0.1 + (final - 0.1) * epoch / 3,
                    }
                )
        pd.DataFrame(runs).drop(columns=list(drop)).to_csv(folder / "runs.csv.gz", index=False)
        pd.DataFrame(curves).to_csv(folder / "curves.csv.gz", index=False)
        return folder

    return write
