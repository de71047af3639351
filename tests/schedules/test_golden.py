"""Golden values: oracles that share no code with us."""

import json
from pathlib import Path

import numpy as np
import pytest

from lrsearch.schedules import FRACTAL, FUNCTIONS, parse

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "schedules.json").read_text())["rows"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["policy"])
def test_a_policy_has_the_values_of_its_printed_formula(row):
    steps, lrs = np.array(row["points"]).T
    policy = parse(row["policy"])
    assert policy(steps) == pytest.approx(lrs, rel=1e-9, abs=1e-15)
    assert [policy(int(step)) for step in steps] == policy(steps).tolist()


@pytest.mark.parametrize("row", [row for row in GOLDEN if "momentum" in row], ids=lambda row: row["policy"])
def test_a_momentum_has_the_values_of_its_printed_formula(row):
    steps, momenta = np.array(row["momentum"]).T
    assert parse(row["policy"]).momentum(steps) == pytest.approx(momenta, rel=1e-9)


def test_every_function_that_lrbench_printed_or_shipped_has_golden_values():
    checked = {row["policy"].partition("(")[0] for row in GOLDEN}
    curves = [f for f in FUNCTIONS.values() if f.family != "controller"]
    published = {f.name for f in curves if "LRBench" in f.source or "Wu et al. 2019" in f.source}
    assert len(published) == 34
    assert published <= checked
    assert sum(len(row["points"]) for row in GOLDEN) == 1027


def recursive(count: int) -> list[int]:
    """The fractal order of Agarwal et al. 2021: s_1 = [1]; s_2T puts 2T + 1 - i beside each i of s_T."""
    if count == 1:
        return [1]
    half = recursive(count // 2)
    return [place for i in half for place in (i, count + 1 - i)]


@pytest.mark.parametrize("n", [1, 2, 3, 6, 10, 16])
def test_a_fractal_schedule_takes_every_chebyshev_step_once_in_the_recursive_order(n):
    low, high = 1 / 0.9, 1 / 0.01
    nodes = (high + low) / 2 - (high - low) / 2 * np.cos((np.arange(1, 2**n + 1) - 0.5) * np.pi / 2**n)
    lrs = FRACTAL(k0=0.01, k1=0.9, n=n, l=2**n).curve(2**n)
    assert np.sort(1 / lrs) == pytest.approx(nodes, rel=1e-9)
    assert (np.argsort(np.argsort(-lrs)) + 1).tolist() == recursive(2**n)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_fractal_schedule_takes_each_step_for_as_long_as_any_other(n):
    lrs = FRACTAL(k0=0.01, k1=0.9, n=n, l=7 * 2**n).curve(2 * 7 * 2**n)
    once = FRACTAL(k0=0.01, k1=0.9, n=n, l=2**n).curve(2**n)
    assert lrs == pytest.approx(np.tile(np.repeat(once, 7), 2), rel=1e-12)
