"""What does it cost not to be told what guessing is worth?

All tasks of the DeepOBS baselines, constant rates, probed after one epoch by the decade walk: by their test loss (whose
level before training is the one that is told) and, where they have it, by their test error. Once the walk is told the
level of guessing, once it must find it. Printed are, over tasks and 5 places of the grid, the mean cost of the probes
in full runs, how often the rate that is best in the end lies in the pruned range, how wide that is in decades, and how
far the lowest probe is from the level before training, as a share of the fall: the median, and the worst. The tables
begin at 1e-5 and an epoch is long, so that on some tasks the lowest rate learns as well.

    python studies/deepobs/guessing.py DIR
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lrsearch.heuristics import Evidence, Probe, prune
from lrsearch.heuristics.probes import guessing, next_probe
from lrsearch.spaces import Space

GRID_SEED, PLACES = 42, 5


@dataclass(frozen=True)
class Task:
    """A metric, lower is better, after 0, 1 and all epochs at each rate; inf where a run diverged."""

    name: str
    lrs: np.ndarray
    begun: float
    short: np.ndarray
    final: np.ndarray
    epochs: int
    epoch: int


def tasks_of(folder: Path, metric: str) -> list[Task]:
    """Read all tasks that have a metric: "test_loss", or "test_error"."""
    runs, curves = pd.read_csv(folder / "runs.csv.gz"), pd.read_csv(folder / "curves.csv.gz")
    curves["test_error"] = 1 - curves["test_accuracy"]
    found = []
    for (problem, optimizer), some in runs[runs["seed"] == GRID_SEED].groupby(["problem", "optimizer"]):
        some = some.sort_values("learning_rate")
        table = curves[curves["run_id"].isin(some["run_id"])].pivot(index="run_id", columns="epoch", values=metric)
        loss = curves[curves["run_id"].isin(some["run_id"])].pivot(index="run_id", columns="epoch", values="test_loss")
        if table.isna().all(axis=None):
            continue
        table, loss = table.loc[some["run_id"]], loss.loc[some["run_id"]]
        values = table.where(np.isfinite(loss)).fillna(math.inf).to_numpy()
        found.append(
            Task(
                f"{problem} {optimizer}",
                some["learning_rate"].to_numpy(),
                float(np.mean(values[:, 0])),
                values[:, 1],
                values[:, -1],
                values.shape[1] - 1,
                int(some["steps_per_epoch"].iloc[0]),
            )
        )
    return found


def probed(task: Task, chance: float | None) -> Evidence:
    """Walk the decades until a second seed is asked for: the table has one."""
    evidence = Evidence(chance, task.epoch)
    while (wanted := next_probe(evidence, None, (task.lrs[0], task.lrs[-1]))) and wanted[1] == 0:
        at = int(np.argmin(np.abs(np.log(task.lrs / wanted[0]))))
        probe = Probe(f"{wanted[0]:.3g}", wanted[0], 0, float(task.short[at]))
        evidence = replace(evidence, probes=(*evidence.probes, probe))
    return evidence


def measured(task: Task, is_noted: bool) -> dict[str, float]:
    """Probe a task, and compare the range with the truth."""
    evidence = probed(task, task.begun if is_noted else None)
    ends = task.lrs[0], task.lrs[-1]
    raw = Space.standard("FIX", horizon=task.epochs * task.epoch, epoch=task.epoch, peak=ends)
    pruned = prune(raw, evidence)
    peak, best = pruned.space.peak, float(task.lrs[int(np.argmin(task.final))])
    found, fall = guessing(evidence), task.begun - min(probe.loss for probe in evidence.probes)
    return {
        "cost": len(evidence.probes) / task.epochs,
        "holds": peak.low <= best <= peak.high,
        "width": math.log10(peak.high / peak.low),
        "refused": pruned.refusal is not None,
        "off": abs(found.loss - task.begun) / fall if found and fall > 0 else math.nan,
    }


def main(folder: Path) -> None:
    """Measure both metrics, told and not."""
    for metric in ("test_loss", "test_error"):
        tasks = tasks_of(folder, metric)
        for is_noted in (True, False):
            rows = pd.DataFrame(
                [
                    measured(replace(task, lrs=task.lrs * 10 ** (place / PLACES)), is_noted)
                    for task in tasks
                    for place in range(PLACES)
                ]
            )
            mean, off = rows.mean(), rows["off"]
            told = "told" if is_noted else "not told"
            below = "" if is_noted else f"; lowest probe off by {off.median():.3f}, at worst {off.max():.2f}"
            print(
                f"{metric}, {told}, {len(rows)} walks: cost {mean['cost']:.3f} FRE, holds the best"
                f" {mean['holds']:.2f}, width {mean['width']:.2f} decades, refused {mean['refused']:.2f}{below}"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
