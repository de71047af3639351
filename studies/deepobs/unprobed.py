"""How much lower should a learning rate be that comes from another task, where no range test moves it?

The best constant rate of each problem is tried on every other one, times 10^shift: by optimizer, the mean over pairs of
the regret there, (best - value) / (best - median) held between 0 and 1, over the final test accuracy, or the loss where
there is none; a run that diverged counts as the worst. Then the difference to no shift, with a 90 % interval from a
bootstrap over the problems that are tried on.

    python studies/deepobs/unprobed.py DIR
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

SHIFTS = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4)
STEP = 0.2
DRAWS = 2000


def regrets(runs: pd.DataFrame) -> np.ndarray:
    """Give the regret at each rate of the grid, lowest rate first."""
    runs = runs.sort_values("learning_rate")
    told = runs["final_test_accuracy"]
    values = (told if told.notna().any() else -runs["final_test_loss"]).where(runs["diverged"] == 0)
    held = values.fillna(values.min()).to_numpy()
    best = held.max()
    return np.clip((best - held) / (best - np.median(held)), 0, 1)


def main(folder: Path) -> None:
    runs = pd.read_csv(folder / "runs.csv.gz")
    grid = runs[runs["seed"] == 42]
    tables = {key: regrets(some) for key, some in grid.groupby(["optimizer", "problem"])}
    problems = sorted({problem for _, problem in tables})
    rng = np.random.default_rng(0)
    draws = rng.integers(len(problems), size=(DRAWS, len(problems)))
    found = {}
    for optimizer in sorted({optimizer for optimizer, _ in tables}):
        found[optimizer] = np.array(
            [
                [
                    np.mean([tables[optimizer, on][at(tables[optimizer, one], shift)] for one in problems if one != on])
                    for on in problems
                ]
                for shift in SHIFTS
            ]
        )
    found["all"] = np.mean(list(found.values()), axis=0)
    print("decades  ", *(f"{shift:+.1f}" for shift in SHIFTS), sep="   ")
    for name, by_shift in found.items():
        print(f"{name:9}", *(f"{row.mean():.2f}" for row in by_shift), sep="   ")
    for shift, row in zip(SHIFTS, found["all"], strict=True):
        gained = row - found["all"][SHIFTS.index(0.0)]
        low, high = np.quantile(gained[draws].mean(axis=1), (0.05, 0.95))
        print(f"all, {shift:+.1f} less 0: {gained.mean():+.3f} ({low:+.3f} .. {high:+.3f})")


def at(table: np.ndarray, shift: float) -> int:
    """Give the place of the best rate, so many decades off, within the grid."""
    return int(np.clip(table.argmin() + round(shift / STEP), 0, len(table) - 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
