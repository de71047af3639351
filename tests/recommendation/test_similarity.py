"""Similarity: a distance by group, gates, what is missing, and the response of range tests."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.heuristics import Ramp
from lrsearch.recommendation.similarity import OFFSETS, WEIGHTS, compare, compare_many, fingerprint
from lrsearch.tasks import TASKS

KNOWN = {name: task.description for name, task in TASKS.items()}
MNIST = KNOWN["mnist-lenet"]
LRS = tuple(10 ** (-5 + n / 40) for n in range(241))


def ramp(middle=0.03, width=0.5, run="r"):
    """A loss that falls to a bottom `width` decades wide around `middle` and blows up past it."""
    low, high = math.log10(middle) - width / 2, math.log10(middle) + width / 2
    return Ramp(
        run, LRS, tuple(0.5 if low <= math.log10(r) <= high else 2.0 if math.log10(r) < low else 9.0 for r in LRS)
    )


def test_every_task_is_nearest_to_itself_and_distances_are_symmetric_and_by_group():
    for a in KNOWN.values():
        own = compare(a, a)
        assert own.distance == 0
        assert set(own.parts) == {"data", "model", "training"}
        assert set(own.parts.values()) == {0.0}
        for b in KNOWN.values():
            assert compare(a, b).distance == pytest.approx(compare(b, a).distance)
            assert a is b or compare(a, b).distance > 0


def test_only_the_group_that_differs_has_a_distance_and_the_whole_is_their_root_mean_square():
    longer = compare(MNIST, MNIST | {"horizon": 100_000})
    assert {group for group, part in longer.parts.items() if part} == {"training"}
    other = compare(MNIST, KNOWN["digits-cnn"])
    assert other.distance == pytest.approx(math.sqrt(sum(part**2 for part in other.parts.values()) / 3))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 3), st.floats(0.01, 3))
def test_farther_is_farther(near, more):
    one, two = (compare(MNIST, MNIST | {"horizon": 10_000 * 10**decades}).distance for decades in (near, near + more))
    assert one < two


def test_another_kind_of_optimizer_or_learning_task_is_never_alike():
    adam = MNIST | {"optimizer": {"family": "adam"}}
    assert compare(MNIST, adam).distance == math.inf
    assert "adam, not sgd" in compare(MNIST, adam).gate
    assert compare(adam, MNIST | {"optimizer": {"family": "rmsprop"}}).gate is None
    text = compare(MNIST, MNIST | {"learning": "regression"})
    assert (text.distance, text.gate) == (math.inf, "another learning task: regression, not classification")


def test_what_is_missing_on_either_side_is_neutral():
    bare = {"name": "printed", "data": {"name": "MNIST", "classes": 10}, "horizon": 10_000}
    result = compare(MNIST, bare)
    assert (result.distance, set(result.parts)) == (0.0, {"data", "training"})
    assert compare(bare, MNIST).distance == 0
    assert compare(MNIST, bare | {"model": {"name": "other"}}).distance > 0
    assert compare({"name": "a", "batch_size": 3}, {"name": "b", "horizon": 3}).distance == math.inf


def test_a_task_known_by_name_alone_is_alike_to_that_name_only():
    assert compare({"name": "x"}, {"name": "x"}).distance == 0
    assert compare({"name": "x"}, {"name": "y"}).distance == math.inf
    assert compare(MNIST, {"name": "mnist-lenet"}).distance == 0
    assert compare(MNIST, {"name": "mnist-lenot"}).distance == math.inf
    assert compare({"name": "digits-cnn"}, MNIST).distance == math.inf


def test_a_fingerprint_is_the_middle_and_the_form_around_it():
    result = fingerprint([ramp()])
    assert result.optimum == pytest.approx(0.03, rel=0.1)
    assert len(result.drops) == len(OFFSETS)
    assert max(result.drops) == pytest.approx(1)
    assert (result.drops[0], result.drops[-1]) == (0, -1)
    assert fingerprint([]) is None
    assert fingerprint([Ramp("flat", LRS, (2.0,) * len(LRS))]) is None
    again = fingerprint([ramp(), Ramp("flat", LRS, (2.0,) * len(LRS))])
    assert again == result
    losses = tuple(math.inf if lr > 0.1 else loss for lr, loss in zip(LRS, ramp().losses, strict=True))
    inf = fingerprint([Ramp("r", LRS, losses)])
    assert all(map(math.isfinite, inf.drops))


def test_the_response_counts_as_much_as_all_of_the_description():
    own, same, other = fingerprint([ramp()]), fingerprint([ramp(run="s")]), fingerprint([ramp(0.003, 1.0)])
    assert WEIGHTS["response"] == sum(weight for group, weight in WEIGHTS.items() if group != "response")
    assert compare(MNIST, MNIST, own, same).distance == 0
    result = compare(MNIST, MNIST, own, other)
    assert result.parts["response"] > 0.7
    assert result.distance == pytest.approx(result.parts["response"] / math.sqrt(2))
    assert "response" not in compare(MNIST, MNIST, own, None).parts
    far, near = KNOWN["fashion-lenet"], KNOWN["cifar10-cnn3"]
    assert compare(MNIST, near, own, same).distance < compare(MNIST, far, own, other).distance


def test_many_are_compared_as_one_by_one():
    known = [(description, None) for description in KNOWN.values()] + [({"name": "x"}, None)]
    assert compare_many(MNIST, known) == [compare(MNIST, description) for description, _ in known]
    assert compare_many(MNIST, []) == []
