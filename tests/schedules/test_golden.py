"""Golden values: an oracle that shares no code with us."""

import json
from pathlib import Path

import numpy as np
import pytest

from lrsearch.schedules import FUNCTIONS, parse

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "schedules.json").read_text())["rows"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["policy"])
def test_a_policy_has_the_values_of_its_printed_formula(row):
    steps, rates = np.array(row["points"]).T
    policy = parse(row["policy"])
    assert policy(steps) == pytest.approx(rates, rel=1e-9, abs=1e-15)
    assert [policy(int(step)) for step in steps] == policy(steps).tolist()


def test_every_function_of_the_paper_has_golden_values():
    checked = {row["policy"].partition("(")[0] for row in GOLDEN}
    assert checked >= {name for name, f in FUNCTIONS.items() if "Table I" in f.source} - {"EXP"}
    assert sum(len(row["points"]) for row in GOLDEN) == 140


def test_exp_is_the_decay_of_triexp_alone():
    for step, rate in [(0, 0.9), (2000, 0.9 * 0.99994**2000), (64_000, 0.9 * 0.99994**64_000)]:
        assert parse("EXP(k0=0.9, gamma=0.99994)")(step) == pytest.approx(rate, rel=1e-9)
