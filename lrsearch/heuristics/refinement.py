"""Refined policies: the LR curve that recorded gradient norms ask for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrsearch.errors import UsageError, given
from lrsearch.schedules import FUNCTIONS, Policy
from lrsearch.schedules.fields import MOST_ITEMS

Floats = npt.NDArray[np.float64]

SMOOTHING = 0.1
"""The width of the median filter as a share of the run. Source: Defazio et al. 2023."""
POINTS = 1000
"""Points of the norms that are smoothed (a rule): 16 for each knot of the policy."""
POWERS = {"l2": 2, "l1": 1}
"""The power of the norm in a step's weight: of the l2 norm for SGD, of the l1 norm for Adam and its relatives."""


def refined(
    norms: Sequence[Any], *, horizon: float, peak: float, norm: str = "l2", smoothing: float = SMOOTHING
) -> Policy:
    """The policy that is optimal for a run with these gradient norms, by the bound of Defazio et al. 2023.

    With the median-filtered norm g_t of step t, its weight is w_t = 1/g_t^2 for the l2 norm (SGD) and 1/g_t for the l1
    norm (Adam, AdamW). Then lr(t) is proportional to w_t times the sum of the weights after t. Norms that stay the same
    give a line to 0; norms that fall first give a warm-up.

    Args:
        norms: recorded at even distances over the whole run; or (step, norm) pairs, as `run.curves["grad_norm"]` has
            them. Values that are not finite are left out.
        horizon: steps of the policy.
        peak: its highest learning rate.
        norm: which norm was recorded, "l2" or "l1".
        smoothing: the width of the median filter as a share of the run, in [0, 0.5].

    Returns:
        A REFINED policy of 64 knots.

    Raises:
        UsageError: for fewer than two norms, norms that are not above 0, or another norm or smoothing.
        PolicyError: for an impossible peak or horizon.

    Source: Defazio, Cutkosky, Mehta, Mishchenko 2023, "When, why and how much? Adaptive learning rate scheduling by
    refinement".

    >>> refined([2.0] * 100, horizon=1000, peak=0.1)(500)
    0.05
    """
    if norm not in POWERS:
        raise UsageError(f'norm is "l2" or "l1", got {given(norm)}')
    if not isinstance(smoothing, int | float) or isinstance(smoothing, bool) or not 0 <= smoothing <= 0.5:
        raise UsageError(f"smoothing is a share of the run, from 0 to 0.5, got {given(smoothing)}")
    weights = _smoothed(_evenly(norms), smoothing) ** -POWERS[norm]
    after = np.append(np.cumsum(weights[::-1])[-2::-1], 0.0)  # the sum of the weights after each step
    places = np.linspace(0, 1, MOST_ITEMS)
    heights = np.interp(places, np.linspace(0, 1, len(weights)), weights * after)
    return FUNCTIONS["REFINED"](k0=peak, l=horizon, h=np.round(heights / heights.max(), 4).tolist())


def _evenly(norms: Sequence[Any]) -> Floats:
    """The norms at even distances, at most `POINTS`, each the median of its part of the run."""
    try:
        points = np.asarray(norms, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim == 1:
        points = np.column_stack((np.arange(len(points)), points))
    if points.ndim != 2 or points.shape[1] != 2:
        raise UsageError(f"norms are numbers, or (step, norm) pairs, got {given(norms)}")
    points = points[np.isfinite(points).all(axis=1)]
    steps, values = points.T
    if len(values) < 2 or not (values > 0).all() or not (np.diff(steps) > 0).all():
        raise UsageError(
            f"a policy is refined from two or more gradient norms above 0, at rising steps, got {given(norms)}"
        )
    count = min(len(values), POINTS)
    medians = np.array([np.median(part) for part in np.array_split(values, count)])
    middles = np.array([part.mean() for part in np.array_split(steps, count)])
    even: Floats = np.interp(np.linspace(steps[0], steps[-1], count), middles, medians)
    return even


def _smoothed(values: Floats, share: float) -> Floats:
    """The running median over a share of the values: mirrored at the end, its first value held before the start."""
    half = int(share * len(values)) // 2
    padded = np.concatenate((np.full(half, values[0]), values, values[-2 : -2 - half : -1]))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    medians: Floats = np.median(windows, axis=1)
    return medians
