"""The metrics of predictions in the LRBench paper (Wu et al. 2019, formulas 3 to 5)."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrsearch.errors import UsageError
from lrsearch.runs import Metrics, Run

TOP = 5
NAMES = ("step", "loss", "top1", "top5", "ac", "cd", "cdac", "ld")


def score_predictions(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    r"""Score class probabilities against the true classes.

    With C the correct predictions, p_i the probability that sample i's prediction got, and C_k those of class k:

        top1  the part of samples whose most probable class is the true one
        top5  the part whose true class is among the five most probable; of fewer classes, among all
        ac    average confidence: mean of p_i over C
        cd    confidence deviation: the population's standard deviation (ddof 0) of p_i over C
        cdac  confidence deviation across classes: the same of the means over C_k; classes without one are left out

    Where nothing is predicted correctly, ac, cd and cdac are nan. Of equal probabilities the lower class comes first.

    Args:
        probabilities: shape (n, classes), n >= 1, classes >= 2; finite numbers in [0, 1].
        labels: true classes, whole numbers from 0 to classes - 1, shape (n,).

    Returns:
        `top1 top5 ac cd cdac`, as fractions, not percent.

    Raises:
        UsageError: for other shapes, probabilities outside [0, 1], or unknown classes.

    >>> score_predictions([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], [0, 1, 1])
    {'top1': 0.6666666666666666, 'top5': 1.0, 'ac': 0.75, 'cd': 0.0, 'cdac': 0.0}
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    _require(p, y)
    classes = p.shape[1]
    ranked = np.argsort(-p, axis=1, kind="stable")[:, : min(TOP, classes)]
    matches = ranked == y[:, None]
    correct = matches[:, 0]
    confidence = p[correct, y[correct]]
    by_class = [float(confidence[y[correct] == k].mean()) for k in np.unique(y[correct])]
    return {
        "top1": float(correct.mean()),
        "top5": float(matches.any(axis=1).mean()),
        "ac": _or_nan(np.mean, confidence),
        "cd": _or_nan(np.std, confidence),
        "cdac": _or_nan(np.std, by_class),
    }


def mean_metrics(runs: Iterable[Run], evaluation: str = "end") -> Metrics:
    """The mean of each metric over runs at their last evaluation ("end") or their "best"; None where no run has it."""
    return means([run.metrics[evaluation] for run in runs if evaluation in run.metrics], NAMES)


def means(metrics: Sequence[Metrics], names: Iterable[str]) -> Metrics:
    """The mean of each metric by name; None where none of them has it."""
    by_name = {name: [value for each in metrics if (value := each.get(name)) is not None] for name in names}
    return {name: statistics.fmean(values) if values else None for name, values in by_name.items()}


def _require(p: npt.NDArray[np.float64], y: npt.NDArray[Any]) -> None:
    if p.ndim != 2 or p.shape[0] < 1 or p.shape[1] < 2 or y.shape != p.shape[:1]:
        raise UsageError(
            "score_predictions takes probabilities of shape (n, classes) and labels of shape (n,), n >= 1"
            f" and classes >= 2, got {p.shape} and {y.shape}"
        )
    if not np.all((p >= 0) & (p <= 1)):
        row = int(np.argmin(np.all((p >= 0) & (p <= 1), axis=1)))
        raise UsageError(f"probabilities are finite numbers in [0, 1], got {p[row].tolist()} in row {row}")
    if y.dtype.kind not in "iu" or not np.all((y >= 0) & (y < p.shape[1])):
        raise UsageError(f"labels are whole numbers from 0 to {p.shape[1] - 1}, got {np.unique(y)[:5].tolist()} ...")


def _or_nan(statistic: Any, values: Any) -> float:
    return float(statistic(values)) if len(values) else float("nan")
