"""The picture of range tests: on any metric, with evaluations or without."""

import numpy as np
import pytest

from lrsearch.heuristics import Ramp
from lrsearch.heuristics.advice import advise
from lrsearch.heuristics.evidence import Evaluation
from lrsearch.report.range_test import draw_range_tests, figure_of
from lrsearch.runs import Task, maximize, minimize
from lrsearch.schedules import RAMP
from lrsearch.study.range_tests import RangeTested
from lrsearch.tasks import find_task

RATES = tuple(np.geomspace(1e-6, 10, 300).tolist())
FALL = np.array([1 - 1 / (1 + np.exp(-4 * (np.log10(lr) + 2))) + max(0.0, (lr / 0.5) ** 3 - 1) for lr in RATES])
OWN = Task(name="mine", horizon=1200, epoch=60, objectives=(maximize("bleu"),))


def shown(task, losses, looks=()):
    ramp = Ramp("a", RATES[: len(losses)], tuple(losses), looks)
    return RangeTested(task, RAMP(k0=1e-6, k1=10, l=299), 300, (ramp,), advise([ramp]))


def drawn(*tests):
    """The axes of the picture by their label."""
    return {axes.get_ylabel(): axes for axes in figure_of(tests).axes}


@pytest.mark.parametrize(("scale", "zero"), [(2.0, 0.0), (9e6, 1000.0), (5.0, -4.0), (1e-3, 0.0)])
def test_all_of_the_fall_is_in_the_picture_whatever_the_unit_and_zero_of_the_loss(scale, zero):
    losses = scale * FALL + zero
    low, high = drawn(shown(OWN, losses))["loss"].get_ylim()
    assert low <= losses.min()
    assert losses[0] < high < 3 * scale + abs(zero)


def test_the_metric_is_named_and_a_share_alone_lies_between_0_and_1():
    looks = tuple(Evaluation(lr, 5.0, 31.0) for lr in RATES[::10])
    axes = drawn(shown(OWN, 2 * FALL, looks))
    assert axes["validation\nbleu"].get_ylim()[1] > 30
    share = tuple(Evaluation(lr, 2.0, 0.5) for lr in RATES[::10])
    assert drawn(shown(find_task("digits-mlp"), 2 * FALL, share))["validation\ntop1"].get_ylim() == (0, 1.02)


def test_without_evaluations_no_curve_of_them_is_named():
    axes = drawn(shown(OWN, 2 * FALL))
    labels = [text.get_text() for text in axes["loss"].get_legend().get_texts()]
    assert list(axes) == ["loss"]
    assert "validation loss" not in labels
    assert any(label.startswith("bottom") for label in labels)


def test_a_training_without_a_train_loss_is_drawn_and_has_no_weight_decay_that_is_known():
    silent = shown(minimized(), ())
    assert silent.weight_decay is None
    assert "weight_decay" not in silent.to_json()
    assert silent.to_json()["notes"] == ["the training logs no train_loss, so a range test shows nothing"]
    assert shown(find_task("digits-mlp"), ()).to_json()["weight_decay"] == pytest.approx(
        find_task("digits-mlp").optimizer.weight_decay
    )


def minimized() -> Task:
    return Task(name="mine", horizon=1200, epoch=60, objectives=(minimize("val_loss"),))


def test_nothing_to_read_is_drawn(tmp_path):
    assert draw_range_tests([shown(OWN, ())], tmp_path / "a.png").stat().st_size > 1000
