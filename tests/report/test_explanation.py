"""What is said of a pruned space: full sentences, each with where it comes from."""

import re
from dataclasses import replace

import pytest

from lrsearch.heuristics.pruner import Contradiction
from lrsearch.heuristics.refusals import refusal
from lrsearch.recommendation import Recommendation
from lrsearch.report.explanation import ADVICE, SUBJECTS, how_to_search, sentences, summary, what_it_showed
from lrsearch.runs import Run, RunState
from lrsearch.schedules import FIX
from lrsearch.spaces import Space
from lrsearch.store import open_store
from lrsearch.study.explanation import Exploration, explain, explain_stored
from lrsearch.tasks import find_task


@pytest.fixture
def told(searched):
    """The explanation of one small real search."""
    with open_store(searched.result.store) as store:
        return explain(store, searched.result.study)


def saying(told, words):
    """Give the one sentence that has these words."""
    (found,) = [one for one in sentences(told) if words in one]
    return found


def test_each_sentence_stands_alone_and_the_first_gives_the_range_and_why(told, searched):
    said = sentences(told)
    assert all(one[0].isupper() and one.endswith(".") for one in said)
    peak = searched.result.pruned.space.peak
    assert said[0] == (
        f"The learning rate is searched from {peak.low:g} to {peak.high:g} instead of 1e-06 to 10:"
        f" {searched.result.pruned.bounds[0].reason}."
    )
    rules = [bound for bound in told.pruned.bounds if bound.rule]
    assert len(said) == 6 + len(rules)
    assert all(SUBJECTS[bound.coordinate] in one for bound, one in zip(rules, said[2:], strict=False))
    assert set(summary(told)) < set(said)


def test_the_runs_that_were_read_are_counted_with_their_cost(told):
    ramps = [run for run in told.probes if run.policy.name == "RAMP"]
    rates = [run for run in told.probes if run.policy.name == "FIX"]
    assert len(rates) > 3
    tests = "range test" if len(ramps) == 1 else f"{len(ramps)} range tests"
    assert tests in sentences(told)[1]
    assert f"{len(rates)} constant learning rates of {rates[0].horizon} steps" in sentences(told)[1]
    steps = sum(run.run.trained + run.lost_steps for run in told.probes)
    assert f"cost {steps / 1280:.2f} full runs in all." in sentences(told)[1]
    assert "4 shorter ones showed no difference" in sentences(replace(told, set_aside=4))[1]
    assert sentences(replace(told, is_open=True))[1].endswith("this is what they say so far.")


def test_what_is_left_is_counted_by_volume_and_on_a_grid(told):
    volume = told.pruned.log_volume
    assert f"{100 * 10**volume:.2g} % is left (log-volume {volume:.2f})" in saying(told, "prior mass")
    assert f"has 43 points; {told.grid[1]} of them are left" in saying(told, "A grid")


def test_every_refusal_has_a_sentence_and_its_advice(told):
    codes = set(re.findall(r"`([a-z-]+)`", refusal.__doc__))
    assert len(codes) == 6
    assert codes == set(ADVICE)
    for code in codes:
        refused = replace(told.pruned, refusal=f"{code}: so it is", space=told.pruned.raw, bounds=())
        said = sentences(replace(told, pruned=refused))
        assert said[0] == (
            f"The learning rate is not narrowed and stays at 1e-06 to 10: so it is ({code}). {ADVICE[code]}"
        )
        assert said[0] in summary(replace(told, pruned=refused))
        assert "43 points; all of them are still there" in " ".join(said)


def test_what_the_store_says_is_told_whether_it_agrees_or_not(told, searched):
    assert "knew no similar task" in saying(told, "The store")
    known = searched.result.setup.recommended
    assert known == ()
    informed = replace(told, recommended=(Recommendation(FIX(k0=0.1), "digits-cnn", 0.1, 0.9, 1, 0.0, None, 1280),))
    assert saying(informed, "recommended from digits-cnn contradicts the probes").startswith("Nothing")
    against = Contradiction(1e-5, 0.01, 0.1, 3.0)
    contradicted = replace(informed, pruned=replace(told.pruned, contradiction=against))
    assert saying(contradicted, "does not agree").endswith(f": {against}.")
    assert saying(contradicted, "does not agree") in summary(contradicted)
    refused = replace(informed, pruned=replace(told.pruned, refusal="flat: no difference"))
    assert saying(refused, "digits-cnn was not compared")
    assert saying(replace(told, study=None), "Only this task's own short runs")


@pytest.mark.parametrize(
    ("exploration", "says"),
    [
        (Exploration(), "nothing has tested the cut"),
        (
            Exploration(9, 1),
            "Of 9 short candidates 1 came from outside of the space, and none of them was clearly better",
        ),
        (Exploration(16, 2, won=True, widened=True), "later candidates came from the raw space as well"),
        (Exploration(16, 2, won=True), "too late for others to follow"),
    ],
)
def test_whether_a_policy_from_outside_won_is_told(told, exploration, says):
    assert says in sentences(replace(told, exploration=exploration))[-1]


def test_what_a_run_showed_is_a_loss_or_a_learning_rate(told):
    ramp, lr = told.probes[0], told.probes[-1]
    assert re.fullmatch(r"bottom around [\d.]+(, blew up at [\d.]+)?", what_it_showed(ramp))
    assert what_it_showed(replace(ramp, run=replace(ramp.run, train_losses=(2.3,) * 60))) == "flat"
    assert what_it_showed(replace(lr, run=replace(lr.run, loss=0.25))) == "loss 0.25"
    assert what_it_showed(replace(lr, run=Run(state=RunState.DIVERGED, steps=3, seconds=0.0))) == "diverged"


def test_the_lines_of_python_give_the_same_space(told, searched):
    def made(lines, **names):
        exec("\n".join(lines.splitlines()[:2]), names)  # noqa: S102  what a user copies
        return names["space"]

    assert made(how_to_search(told)) == told.space
    task = find_task("digits-mlp")
    raw = Space.standard("SIN2", "TRI", horizon=task.horizon, epoch=task.epoch)
    with open_store(searched.result.store) as store:
        alone = explain_stored(store, task, raw)
    assert made(how_to_search(alone), task=task) == alone.space == told.space
