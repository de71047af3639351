"""What a training gave, or what ended it, becomes the one state of its run."""

import math

import pytest
import torch

import lrsearch as lrs
from lrsearch.errors import UsageError
from lrsearch.runs import RunSpec, RunState, maximize, minimize
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.job import Job

N = 40
TASK = lrs.Task(name="toy", horizon=N, epoch=8, objectives=(minimize("val_loss"), maximize("bleu")))


def job(policy="FIX(k0=0.1)"):
    return Job(RunSpec(TASK, lrs.parse(policy), N, 0))


def ended(outcome, losses=(), logged=(), made=None):
    made = made or job()
    for step, loss in enumerate(losses, 1):
        made.log(step, train_loss=loss)
    for step, values in logged:
        made.log(step, **values)
    return conclude(made, outcome, seconds=1.0)


def test_what_is_returned_wins_over_what_was_logged():
    run = ended({"val_loss": 2.0, "bleu": 7}, logged=[(40, {"val_loss": 3.0, "bleu": 1.0, "ppl": 9.0})])
    assert (run.state, run.score, run.scores) == (RunState.FINISHED, 2.0, {"bleu": 7.0, "ppl": 9.0})


def test_the_last_evaluation_is_read_where_nothing_is_returned():
    run = ended(None, logged=[(32, {"val_loss": 4.0}), (40, {"val_loss": 3.0, "bleu": 1.0})])
    assert (run.state, run.score, run.scores) == (RunState.FINISHED, 3.0, {"bleu": 1.0})


@pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2.0), torch.tensor([2]), {"val_loss": torch.tensor(2.0)}])
def test_a_number_of_any_kind_is_a_metric(value):
    assert ended(value).score == 2.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "NaN", "Infinity", torch.tensor(math.nan)])
def test_a_metric_that_is_not_finite_is_a_divergence(value):
    assert ended({"val_loss": value}).state is RunState.DIVERGED
    assert ended(None, logged=[(40, {"val_loss": value})]).state is RunState.DIVERGED


@pytest.mark.parametrize(
    ("outcome", "logged", "cause", "match"),
    [
        (None, [], "missing", "neither returned nor logged; logged: nothing"),
        ({"bleu": 3.0}, [(40, {"ppl": 1.0})], "missing", "logged: ppl"),
        (None, [(32, {"val_loss": 1.0})], "stale", "logged last at step 32, and the last evaluation is at step 40"),
        ({"val_loss": "good"}, [], "metric", "val_loss is a number"),
        ([1.0, 2.0], [], "metric", "val_loss is a number"),
        (True, [], "metric", "val_loss is a number"),
    ],
)
def test_a_run_without_its_metric_fails_and_says_why(outcome, logged, cause, match):
    run = ended(outcome, logged=logged)
    assert (run.state, run.score, run.cause) == (RunState.FAILED, None, cause)
    assert match in run.error


@pytest.mark.parametrize("values", [{"val_loss": "good"}, {"train_loss": "low"}, {"extra": (1, 2)}])
def test_what_was_logged_as_no_number_fails_the_run_and_is_named(values):
    made = job()
    (name,) = values
    try:
        made.log(40, **values)
        outcome = 1.0
    except UsageError as error:
        outcome = error
    run = conclude(made, outcome, seconds=1.0)
    assert (run.state, run.cause) == (RunState.FAILED, "error")
    assert f"{name} is a number" in run.error


BLOWN_UP = (4.0, 3.0, 2.0, 1.9, 50.0)
FINE = (4.0, 3.0, 2.0, 1.9, 2.1)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), RuntimeError("CUDA error")])
@pytest.mark.parametrize("shift", [0.0, -100.0, 1e6])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_an_exception_is_a_divergence_only_after_a_loss_that_blew_up_in_any_unit(error, shift, scale):
    def state(losses):
        return ended(error, [scale * (loss + shift) for loss in losses]).state

    assert state(BLOWN_UP) is RunState.DIVERGED
    assert state((*FINE, math.nan)) is RunState.DIVERGED
    assert state(FINE) is RunState.FAILED
    assert state(()) is RunState.FAILED


def test_an_error_keeps_the_last_lines_of_its_own_traceback():
    try:
        raise ValueError("no such column")
    except ValueError as error:
        run = ended(error)
    assert run.cause == "error"
    assert "test_conclusion.py" in run.error
    assert run.error.endswith("ValueError: no such column")


def test_an_interruption_is_no_failure():
    run = ended(KeyboardInterrupt(), [1.0, 0.5])
    assert (run.state, run.steps) == (RunState.INTERRUPTED, 2)


def test_losses_that_stay_not_finite_end_the_run_and_one_alone_does_not():
    made = job()
    for step in range(1, 26):
        made.log(step, train_loss=math.nan if step == 7 else 1.0)
    assert not made.should_stop
    for step in range(26, 51):
        made.log(step, train_loss=math.nan)
    assert made.should_stop
    assert ended(1.0, made=made).state is RunState.DIVERGED


def loop(made, updates=N, per_update=1, tamper=None, skip=()):
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = made.scheduler(optimizer)
    for step in range(1, 1 + updates):
        if tamper == step:
            optimizer.param_groups[0]["lr"] = 0.7
        for _ in range(0 if step in skip else per_update):
            parameter.grad = torch.zeros(1)
            optimizer.step()
        scheduler.step()
    return conclude(made, 1.0, seconds=1.0)


@pytest.mark.filterwarnings("ignore::lrsearch.SchedulerWarning")
@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"tamper": 12}, "at update 12 a param group had LR 0.7 where the policy has 0.1"),
        ({"updates": 30}, "the training made 30 updates, and this run has 40"),
        ({"updates": 50}, "the training made 50 updates, and this run has 40"),
        ({"per_update": 3}, "by update 1 the optimizer made 3 updates at one LR"),
        ({"skip": range(5, 10)}, "5 of 40 steps of the scheduler had no optimizer update"),
    ],
)
def test_a_policy_that_was_not_applied_gives_no_score_and_says_from_where_on(given, match):
    run = loop(job(), **given)
    assert (run.state, run.score, run.cause) == (RunState.FAILED, None, "policy")
    assert match in run.error
    assert match in run.applied


def test_a_run_that_never_asked_for_its_scheduler_has_its_score_and_says_that_nothing_was_checked():
    run = ended(1.5)
    assert (run.state, run.score, run.applied) == (RunState.FINISHED, 1.5, "not checked")


def test_a_fraction_of_updates_may_be_skipped_by_a_gradient_scaler():
    task = lrs.Task(name="long", horizon=400, epoch=40, objectives=(minimize("val_loss"),))
    run = loop(Job(RunSpec(task, lrs.parse("FIX(k0=0.1)"), 400, 0)), updates=400, skip=(50, 90, 300))
    assert (run.state, run.applied) == (RunState.FINISHED, "yes")
