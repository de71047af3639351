"""The metrics of the LRBench paper, against loops written from its formulas."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.errors import UsageError
from lrsearch.training.metrics import score_predictions


def by_hand(probabilities, labels):
    """Plain Python, sample by sample."""
    top1 = top5 = 0
    sure, of_class = [], {}
    for row, label in zip(probabilities, labels, strict=True):
        order = sorted(range(len(row)), key=lambda k, row=row: (-row[k], k))
        top5 += label in order[:5]
        if order[0] == label:
            top1 += 1
            sure.append(row[label])
            of_class.setdefault(label, []).append(row[label])
    n = len(labels)
    if not sure:
        return top1 / n, top5 / n, math.nan, math.nan, math.nan
    means = [statistics.fmean(values) for values in of_class.values()]
    return top1 / n, top5 / n, statistics.fmean(sure), statistics.pstdev(sure), statistics.pstdev(means)


@given(st.integers(1, 40), st.integers(2, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_the_metrics_are_those_of_a_loop_over_the_samples(n, classes, seed, coarse):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.3), n)
    if coarse:
        p = np.round(p, 1).clip(0, 1)
    labels = rng.integers(0, classes, n)
    found = score_predictions(p, labels)
    assert list(found) == ["top1", "top5", "ac", "cd", "cdac"]
    assert list(found.values()) == pytest.approx(by_hand(p.tolist(), labels.tolist()), abs=1e-12, nan_ok=True)


def test_a_class_without_a_correct_prediction_is_left_out():
    p = [[0.9, 0.1, 0], [0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.3, 0.6]]
    found = score_predictions(p, [0, 0, 1, 2])
    assert found["ac"] == pytest.approx((0.9 + 0.7 + 0.6) / 3)
    assert found["cdac"] == pytest.approx(abs(0.8 - 0.6) / 2)


def test_without_any_correct_prediction_confidence_is_not_a_number():
    found = score_predictions([[0.9, 0.1]], [1])
    assert (found["top1"], found["top5"]) == (0, 1)
    assert all(math.isnan(found[name]) for name in ("ac", "cd", "cdac"))


@pytest.mark.parametrize(
    ("probabilities", "labels", "reason"),
    [
        ([[0.5, 0.5]], [0, 1], "shape"),
        ([0.5, 0.5], [0, 1], "shape"),
        (np.zeros((0, 3)), np.zeros(0, int), "shape"),
        ([[1.0]], [0], "shape"),
        ([[0.5, math.nan]], [0], "in row 0"),
        ([[0.5, 0.5], [1.5, 0]], [0, 0], "in row 1"),
        ([[0.5, 0.5]], [2], "whole numbers from 0 to 1"),
        ([[0.5, 0.5]], [-1], "whole numbers"),
        ([[0.5, 0.5]], [0.0], "whole numbers"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(probabilities, labels, reason):
    with pytest.raises(UsageError, match=reason):
        score_predictions(probabilities, labels)
