"""A user's report of a job becomes its run, or is refused in a sentence that names the job."""

import math

import numpy as np
import pytest

import lrsearch as lrs
from lrsearch.errors import UsageError
from lrsearch.runs import RunState
from lrsearch.store import Trial
from lrsearch.study.reported import reported_run

TASK = lrs.Task("toy", horizon=100, epoch=10, minimize="val_loss")
FULL = Trial(3, "candidate", "suggested", lrs.FIX(k0=0.1), 100, 0)
RAMP = Trial(0, "range-test", "rule", lrs.parse("RAMP(k0=1e-4, k1=1, l=24)"), 25, 0)
FALLING = [5 - 0.1 * step for step in range(25)]


@pytest.mark.parametrize("value", [2.5, np.float32(2.5), {"val_loss": 2.5, "accuracy": 0.5}])
def test_a_metric_is_a_finished_run(value):
    run = reported_run(FULL, TASK, value)
    assert (run.state, run.score, run.steps) == (RunState.FINISHED, 2.5, 100)
    assert run.scores == ({"accuracy": 0.5} if isinstance(value, dict) else {})


@pytest.mark.parametrize("value", [math.nan, "nan", math.inf, {"val_loss": math.nan}])
@pytest.mark.parametrize(("steps", "made"), [(None, 100), (40, 40), (0, 0)])
def test_a_metric_that_is_not_finite_is_a_divergence(value, steps, made):
    run = reported_run(FULL, TASK, value, steps=steps)
    assert (run.state, run.score, run.steps) == (RunState.DIVERGED, None, made)


def test_a_failure_is_charged_in_full_unless_its_steps_are_reported():
    assert reported_run(FULL, TASK, failed="out of memory").steps == 100
    run = reported_run(FULL, TASK, failed=" out of memory ", steps=3)
    assert (run.state, run.steps, run.error) == (RunState.FAILED, 3, "out of memory")


@pytest.mark.parametrize(
    "curve",
    [
        FALLING,
        tuple(FALLING),
        np.array(FALLING),
        list(enumerate(FALLING, 1)),
        [[step, loss] for step, loss in enumerate(FALLING, 1)],
    ],
)
def test_a_range_test_is_reported_by_its_losses_one_a_step_or_with_their_steps(curve):
    run = reported_run(RAMP, TASK, curves={"train_loss": curve})
    assert (run.state, run.steps) == (RunState.FINISHED, 25)
    assert run.train_losses == pytest.approx(FALLING)


def test_a_range_test_may_end_where_its_loss_is_not_finite():
    run = reported_run(RAMP, TASK, curves={"train_loss": [3.0, 2.0, math.nan]})
    assert (run.state, run.steps, run.train_losses) == (RunState.FINISHED, 3, (3.0, 2.0, None))


@pytest.mark.parametrize(
    ("asked", "value", "more", "match"),
    [
        (FULL, None, {}, "tell one of four"),
        (FULL, 2.0, {"failed": "no"}, "tell one of four"),
        (FULL, "good", {}, "val_loss is a number.*'good'"),
        (FULL, True, {}, "val_loss is a number"),
        (FULL, {"val_loss": "2.1"}, {}, "val_loss is a number"),
        (FULL, {"accuracy": 0.5}, {}, "'val_loss' is missing.*told: accuracy"),
        (FULL, {}, {}, "'val_loss' is missing.*told: nothing"),
        (FULL, {1: 2.0}, {}, "metrics have names"),
        (FULL, 2.0, {"steps": 50}, "has made all of its 100 updates"),
        (FULL, math.nan, {"steps": 101}, "0 to 100, got 101"),
        (FULL, math.nan, {"steps": True}, "0 to 100"),
        (FULL, None, {"failed": ""}, "failed says why"),
        (FULL, None, {"failed": True}, "failed says why"),
        (FULL, None, {"curves": {"train_loss": FALLING}}, "it is no range test"),
        (RAMP, 2.0, {}, "it is a range test: tell its training losses.*range_test=False"),
        (RAMP, None, {"curves": FALLING}, "tell its training losses"),
        (RAMP, None, {"curves": {"val_loss": FALLING}}, "tell its training losses"),
        (RAMP, None, {"curves": {"train_loss": []}}, "a list of values"),
        (RAMP, None, {"curves": {"train_loss": "1 2 3"}}, "a list of values"),
        (RAMP, None, {"curves": {"train_loss": 3.0}}, "a list of values"),
        (RAMP, None, {"curves": {"train_loss": FALLING[:7]}}, "7 values for 25 updates"),
        (RAMP, None, {"curves": {"train_loss": [*FALLING, 1.0]}}, "26 values for 25 updates"),
        (RAMP, None, {"curves": {"train_loss": [1.0] * 24 + ["x"]}}, "train_loss is a number"),
        (RAMP, None, {"curves": {"train_loss": [[1, 2.0], [1, 2.0]]}}, r"\[1, 2.0\] after step 1"),
        (RAMP, None, {"curves": {"train_loss": [[26, 2.0]]}}, "rising from 1 to 25"),
        (RAMP, None, {"curves": {"train_loss": [[0, 2.0]]}}, "rising from 1 to 25"),
        (RAMP, None, {"curves": {"train_loss": [[1, 2.0], 3.0]}}, "pairs of a step and its value"),
        (RAMP, None, {"curves": {"train_loss": FALLING}, "steps": 25}, "leave steps out"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(asked, value, more, match):
    with pytest.raises(UsageError, match=rf"^job {asked.number}: .*{match}"):
        reported_run(asked, TASK, value, **more)
