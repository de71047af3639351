"""An objective: a metric, its direction and its unit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.errors import TaskError
from lrsearch.runs import Objective, maximize, minimize, objectives_of
from lrsearch.runs.objective import finite_cost
from lrsearch.tasks.catalogue import CLASSIFICATIONS

OBJECTIVES = [
    minimize("val_loss", unit="nats"),
    maximize("bleu"),
    maximize("accuracy", samples=384),
    minimize("error", samples=100),
]
NUMBERS = st.floats(-1e6, 1e6)


@given(st.sampled_from(OBJECTIVES), NUMBERS, NUMBERS)
def test_cost_is_its_own_inverse_and_lower_where_it_is_better(objective, a, b):
    assert objective.cost(objective.cost(a)) == a
    better = a < b if objective.is_minimized else a > b
    assert better == (objective.cost(a) < objective.cost(b))
    assert objective.is_reached(a, b) == (better or a == b)


@given(st.sampled_from(OBJECTIVES))
def test_json_gives_it_back(objective):
    assert Objective.from_json(objective.to_json()) == objective


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_only_a_share_is_told_in_percent(objective):
    told = objective.text(0.5) + objective.difference(0.5) + objective.spread(0.5)
    assert ("%" in told) == ("points" in told) == objective.is_share


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_costs_most(value):
    assert all(finite_cost(objective, value) == math.inf for objective in OBJECTIVES)


def test_every_shipped_classification_is_decided_by_top_1_as_its_description_says_to_older_stores():
    for task in CLASSIFICATIONS.values():
        assert objectives_of(task.description) == task.objectives
        assert task.objective == maximize("top1", samples=task.validation_size)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: minimize(""), "named by its metric"),
        (lambda: minimize(5), "got 5"),
        (lambda: minimize("test_loss"), "nothing is chosen by it"),
        (lambda: Objective("a", "minimise"), "did you mean"),
        (lambda: maximize("a", samples=0), "1 or more"),
        (lambda: maximize("a", unit="\n"), "short text"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(TaskError, match=match):
        make()
