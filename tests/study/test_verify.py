"""Verifying a policy: the answers of the store, the trained runs, their ends, and their keys."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import lrsearch as lrs
from lrsearch import api
from lrsearch.errors import BudgetError, PolicyError, TaskError, UsageError, WorkError
from lrsearch.runs import Point, Run, RunSpec, RunState, Task, maximize, minimize
from lrsearch.schedules import FIX, LINEAR, PLATEAU, TRI
from lrsearch.store import open_store
from lrsearch.study.table import PolicyTable, Row
from lrsearch.study.verdict import Question, SeedAnswer, Verdict
from lrsearch.study.verify import ask, from_store, read_target
from lrsearch.tasks import find_task
from lrsearch.training import Trainer
from lrsearch.training.loop import Training

MLP = find_task("digits-mlp")
GOOD = TRI(k0=0.01, k1=0.2, l=128)
POOR = FIX(k0=1e-6)
LM = Task(name="my-lm", horizon=320, epoch=32, objectives=(minimize("val_loss", unit="nats"),))


class Broken(nn.Module):
    """It cannot be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of luck")


@pytest.fixture
def verify(store, tmp_path):
    def call(policy=GOOD, target=0.95, budget=1280, task=MLP, **given):
        return lrs.verify(policy, task, target, budget, store=store, out=tmp_path, **given)

    return call


@pytest.fixture
def no_training(monkeypatch):
    """Whoever trains now fails."""

    def refuse(self, *given, **more):
        raise AssertionError("it was trained")

    monkeypatch.setattr(Training, "__init__", refuse)
    monkeypatch.setattr(Trainer, "__init__", refuse)


def made_up(scores, state=RunState.FINISHED, steps=None):
    """A run with these looks, as step: score."""
    points = tuple(Point(step, 1.0, score) for step, score in scores.items())
    return Run(state=state, steps=steps or max(scores), seconds=0.0, points=points)


def reads(store, question, run, horizon=None, task=None, policy=None, origin="local"):
    """What the store answers once it holds such a run."""
    spec = RunSpec(task or question.task, policy or question.policy, horizon or question.budget, 0)
    store.record(spec, run, origin)
    return from_store(question, store).get(0)


def test_training_ends_at_the_first_evaluation_that_reaches_it_and_a_second_call_costs_nothing(verify, store, no_more):
    told = []
    found = verify(watch=lambda spec, run: told.append((spec.key, run.state)))
    [stored] = store.runs()
    points = stored.run.points
    assert stored.run.state is RunState.STOPPED
    assert found.reached is True
    assert (found.step, found.score) == (points[-1].step, points[-1].score) == (stored.run.steps, stored.run.score)
    assert found.score >= 0.95 > max(point.score for point in points[:-1])
    assert stored.run.metrics["end"]["top1"] == found.score
    assert (found.by, found.trained, found.saved) == ("trained", found.step, 1280 - found.step)
    assert found.runs == (stored.key,)
    assert told == [(stored.key, RunState.STOPPED)]
    assert 0 < found.step < 1280
    no_more()
    again = verify()
    assert (again.by, again.trained, again.saved) == ("store", 0, 1280)
    assert (again.reached, again.step, again.score, again.runs) == (True, found.step, found.score, found.runs)
    assert verify(target=0.9).reached is True
    assert verify(target="90%").step <= found.step


@pytest.fixture
def no_more(request):
    """From its call on, whoever trains fails."""
    return lambda: request.getfixturevalue("no_training")


def test_a_stopped_run_says_nothing_about_a_higher_target(verify, store):
    low = verify(target=0.5, budget=320)
    high = verify(target=0.999, budget=320)
    assert low.step < 320
    assert (high.reached, high.by, high.trained, high.step) == (False, "trained", 320, None)
    assert {stored.run.state for stored in store.runs()} == {RunState.STOPPED, RunState.FINISHED}


def test_a_run_that_is_not_stopped_is_the_ordinary_run_for_everybody(verify, store, tmp_path):
    found = verify(target=0.999)
    spec = RunSpec(MLP, GOOD, 1280, 0)
    kept = store.find(spec.key)
    assert found.runs == (spec.key,)
    alone = Trainer(MLP).train(spec)
    assert (kept.run.state, kept.run.score, kept.run.points) == (RunState.FINISHED, alone.score, alone.points)
    assert kept.run.metrics == alone.metrics
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [f"{spec.key}.pt"]


def test_a_full_run_in_the_store_answers_both_ways(verify, no_more, store):
    run = Trainer(MLP).train(RunSpec(MLP, GOOD, 1280, 0))
    store.record(RunSpec(MLP, GOOD, 1280, 0), run)
    no_more()
    yes, no = verify(target=0.9), verify(target=0.999)
    assert (yes.reached, yes.by, yes.trained) == (True, "store", 0)
    assert yes.step == next(point.step for point in run.points if point.score >= 0.9)
    assert (no.reached, no.by, no.trained, no.saved) == (False, "store", 0, 1280)
    assert no.score == max(point.score for point in run.points)
    assert no.step is None
    within = verify(target=0.9, budget=yes.step)  # a longer run of the policy as written has the same beginning
    assert (within.reached, within.step, within.by) == (True, yes.step, "store")


def test_one_that_diverges_is_a_no_of_any_budget(verify, no_more):
    found = verify(FIX(k0=500))
    [answer] = found.answers
    assert (found.reached, found.step, found.score) == (False, None, None)
    assert 0 < answer.diverged == found.trained < 100
    assert f"it diverged by update {answer.diverged}" in found.sentence
    no_more()
    assert verify(FIX(k0=500), budget=5000).by == "store"
    assert verify(FIX(k0=500), target=0.1, budget=200).reached is False


@pytest.mark.slow
def test_search_and_tables_are_not_served_the_stopped_run(verify, store, tmp_path):
    constant = FIX(k0=0.1)  # stretched, it is itself: searches ask for it over 80 and 320 steps
    for policy, target, budget in ((constant, 0.3, 80), (constant, 0.94, 320), (GOOD, 0.3, 1280)):
        assert verify(policy, target, budget).step < budget
    stopped = {stored.key for stored in store.runs(state=RunState.STOPPED)}
    assert len(stopped) == 3
    assert lrs.recommend(MLP, store) == []
    result = lrs.search(MLP, budget=4, functions=[str(constant)], store=store, out=tmp_path)
    asked = [trial for trial in result.history if trial.policy == constant]
    assert {80, 320} & {trial.horizon for trial in asked}
    for trial in asked:
        assert trial.stored.key not in stopped
        assert trial.run.steps == trial.horizon
    table = PolicyTable("one", MLP, (Row(GOOD),), 1, "nowhere", 1280)
    trained = []
    api.run_table(table, store=store, out=tmp_path, watch=lambda spec, run: trained.append(run.steps))
    assert trained == [1280]


def test_several_seeds_share_and_interval(verify):
    first = verify(seed=1)
    found = verify(seeds=3)
    assert [answer.seed for answer in found.answers] == [0, 1, 2]
    assert [answer.by for answer in found.answers] == ["trained", "store", "trained"]
    assert found.answers[1].run == first.runs[0]
    assert found.trained == sum(answer.step for answer in found.answers if answer.by == "trained")
    assert found.step == max(answer.step for answer in found.answers)
    assert found.saved == 3 * 1280 - found.trained
    assert (found.share, found.by) == (1, "trained")


@pytest.mark.slow
def test_workers_give_the_same_answers(verify, tmp_path):
    with open_store(f"sqlite:///{tmp_path / 'other.db'}") as other:
        apart = lrs.verify(GOOD, MLP, 0.9, 200, seeds=2, workers=2, store=other, out=tmp_path)
    assert apart.answers == verify(target=0.9, budget=200, seeds=2).answers


@pytest.mark.parametrize(
    ("hits", "n", "reached", "interval", "says"),
    [
        (0, 1, False, (0.0, 0.7935), "No: TRI(k0=0.01, k1=0.2, l=128) does not reach 90 % on digits-mlp within 100"),
        (
            1,
            1,
            True,
            (0.2065, 1.0),
            "Yes: TRI(k0=0.01, k1=0.2, l=128) reaches 90 % on digits-mlp within 100 updates; it",
        ),
        (0, 4, False, (0.0, 0.4899), "100 updates with any of 4 seeds, a share of 0 % (95 % interval 0 to 49 %)."),
        (4, 4, True, (0.5101, 1.0), "100 updates with each of 4 seeds, a share of 100 % (95 % interval 51 to 100 %)."),
        (7, 10, None, (0.3968, 0.8922), "100 updates with 7 of 10 seeds, a share of 70 % (95 % interval 40 to 89 %)."),
    ],
)
def test_the_interval_is_wilsons_and_a_split_is_neither_yes_nor_no(hits, n, reached, interval, says):
    answers = tuple(
        SeedAnswer(seed, seed < hits, 40 + seed, 0.5 + seed / 100, None, "store", "r", "local", 0) for seed in range(n)
    )
    found = Verdict(Question(MLP, GOOD, 0.9, 100, tuple(range(n))), answers)
    assert found.reached is reached
    assert found.interval == pytest.approx(interval, abs=1e-4)
    assert found.step == (40 + n - 1 if reached else None)
    assert found.score == 0.5
    assert says in found.sentence
    assert found.sentence.startswith({True: "Yes: ", False: "No: ", None: "It depends on the seed: "}[reached])


def test_a_no_needs_every_evaluation_of_the_questioned_run(store):
    asked = ask(MLP, GOOD, 0.9, 320)  # looked at every 32 updates
    looks = dict.fromkeys(range(32, 321, 32), 0.5)
    assert reads(store, asked, made_up(dict.fromkeys(range(128, 1281, 128), 0.5)), horizon=1280) is None
    assert reads(store, asked, made_up(dict(list(looks.items())[:-1]), steps=288), horizon=288) is None
    answer = reads(store, asked, made_up(looks | {352: 0.95}), horizon=352)
    assert (answer.reached, answer.step, answer.score) == (False, 32, 0.5)


def test_a_yes_needs_one_evaluation_within_the_budget_and_the_earliest_counts(store):
    asked = ask(MLP, GOOD, 0.9, 320)
    assert reads(store, asked, made_up({128: 0.5, 256: 0.89, 384: 0.95}), horizon=1280) is None
    assert reads(store, asked, made_up({300: 0.91, 320: 0.2}), horizon=640).step == 300
    assert reads(store, asked, made_up({64: 0.9}), horizon=64).step == 64


def test_only_the_same_training_answers(store):
    asked, run = ask(MLP, GOOD, 0.9, 320), made_up({320: 0.99})
    assert reads(store, asked, run, task=replace(MLP, batch_size=16)) is None
    assert reads(store, asked, run, task=replace(MLP, precision="bf16")) is None
    assert reads(store, asked, run, task=replace(MLP, patience=9)) is None
    assert reads(store, asked, run, policy=GOOD.stretch(2)) is None
    assert reads(store, asked, replace(run, state=RunState.INTERRUPTED)) is None
    store.record(RunSpec(MLP, GOOD, 320, 5), run)
    assert from_store(asked, store) == {}
    assert reads(store, asked, run, task=MLP.with_horizon(640), horizon=640).reached


def test_runs_of_another_version_of_the_trainer_answer_nothing(store, monkeypatch):
    asked = ask(MLP, GOOD, 0.9, 320)
    monkeypatch.setattr("lrsearch.tasks.classification.Classification.trainer", 0)
    store.record(asked.spec(0), made_up({320: 0.99}))
    assert from_store(asked, store)
    monkeypatch.undo()
    assert from_store(asked, store) == {}


def test_an_external_run_answers_after_local_ones_and_is_named(store):
    asked = ask(MLP, GOOD, 0.9, 320)
    assert reads(store, asked, made_up({32: 0.99}), horizon=64, origin="a bundle").origin == "a bundle"
    told = Verdict(asked, (from_store(asked, store)[0],))
    assert "runs from a bundle" in told.cost
    local = reads(store, asked, made_up(dict.fromkeys(range(32, 321, 32), 0.5)))
    assert (local.origin, local.reached) == ("local", False)


def test_a_controller_is_evaluated_every_epoch_and_only_such_runs_answer_for_it(store):
    policy, run = PLATEAU(k0=0.1, gamma=0.5, patience=1), made_up({32: 0.99, 64: 0.99})
    asked = ask(MLP, policy, 0.9, 64)
    assert asked.task.horizon == 64
    assert reads(store, asked, run, task=MLP, horizon=640) is None  # looked at every 16 updates
    assert reads(store, asked, run, task=MLP, horizon=1280).step == 32


def test_a_task_with_patience_is_over_when_it_runs_out(verify, no_more):
    task = replace(MLP, patience=1)
    found = verify(POOR, target=0.9, task=task)
    assert (found.reached, found.trained) == (False, 256)
    no_more()
    again = verify(POOR, target=0.9, task=task)
    assert (again.reached, again.by, again.score) == (False, "store", found.score)


def test_durations_are_of_the_budget_and_lengths_are_as_written():
    assert ask(MLP, "LINEAR(k0=0.1, l=1dur)", 0.9, 400).policy == LINEAR(k0=0.1, l=400)
    assert ask(MLP, "LINEAR(k0=0.1, l=2ep)", 0.9, 400).policy == LINEAR(k0=0.1, l=64)
    assert ask(MLP, GOOD, 0.9, 400).policy == GOOD
    assert ask(replace(MLP, target=0.5), GOOD, 0.9, 400).task.key == MLP.key


def test_what_fails_is_recorded_and_said(store, tmp_path):
    task = replace(MLP, build=Broken)
    with pytest.raises(WorkError, match="RuntimeError: out of luck"):
        lrs.verify(POOR, task, 0.9, 20, store=store, out=tmp_path)
    assert [stored.run.state for stored in store.runs()] == [RunState.FAILED]


def test_an_interruption_keeps_what_ended_and_the_same_call_goes_on(verify, store):
    def interrupt(spec, run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(seeds=2, watch=interrupt)
    assert len(store.runs()) == 1
    assert [answer.by for answer in verify(seeds=2).answers] == ["store", "trained"]


@pytest.mark.parametrize("target", [0, -0.1, 1.5, 97, "97", "0%", "101%", "a", "", True, float("nan"), None])
def test_a_target_that_cannot_be_is_refused(target):
    with pytest.raises(UsageError, match="the target is a validation top-1 above 0, at most 1, got"):
        read_target(target, MLP.objective)
    assert read_target(1, MLP.objective) == read_target("100%", MLP.objective) == 1


def test_percent_taken_for_a_fraction_is_guessed():
    with pytest.raises(UsageError, match=r"got '97'; did you mean 0\.97\?"):
        read_target(97, MLP.objective)


@pytest.mark.parametrize(("target", "value"), [(2.3, 2.3), ("2.3", 2.3), (0, 0.0), ("-1e3", -1000.0), (97, 97.0)])
def test_a_target_of_a_loss_is_any_finite_number(target, value):
    assert read_target(target, LM.objective) == value


@pytest.mark.parametrize("target", ["97%", "1 %", "nan", float("inf"), "a", "", True, None])
def test_percent_of_a_loss_and_what_is_no_number_are_refused(target):
    with pytest.raises(UsageError, match="a value of 'val_loss', in nats, a finite number without %, got"):
        read_target(target, LM.objective)


def test_an_error_rate_may_be_asked_to_be_zero():
    error = minimize("error", samples=384)
    assert read_target("3%", error) == 0.03
    assert read_target(0, error) == 0
    with pytest.raises(UsageError, match=r"a validation error from 0, at most 1, got '-0\.1'"):
        read_target(-0.1, error)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_loss_reaches_a_target_from_above_and_its_negative_from_below(store, sign):
    task = replace(LM, objectives=(minimize("x") if sign == 1 else maximize("x"),))
    asked = ask(task, GOOD, sign * 2.3, 320)
    looks = {32: 4.0, 64: 2.4, 96: 2.3, 128: 2.1, 320: 2.6}
    answer = reads(store, asked, made_up({step: sign * loss for step, loss in looks.items()}))
    assert (answer.reached, answer.step, answer.score) == (True, 96, sign * 2.3)
    never = replace(asked, target=sign * 2.0)
    assert reads(store, never, made_up({step: sign * loss for step, loss in looks.items()})).score == sign * 2.1
    answers = tuple(
        SeedAnswer(seed, False, 64, sign * loss, None, "store", "r", "local", 0)
        for seed, loss in enumerate((2.4, 2.9, 2.5))
    )
    assert Verdict(replace(never, seeds=(0, 1, 2)), answers).score == sign * 2.9


def test_a_verdict_of_a_loss_is_printed_in_its_unit(store):
    asked = ask(LM, GOOD, "2.3", 320)
    told = Verdict(asked, (reads(store, asked, made_up({64: 2.25})),))
    assert told.sentence == (
        "Yes: TRI(k0=0.01, k1=0.2, l=128) reaches val_loss 2.3 nats on my-lm within 320 updates;"
        " it has 2.25 nats at update 64."
    )
    assert told.to_json()["objective"] == LM.objective.to_json()


def test_a_users_own_training_answers_no_by_its_own_evaluations(store):
    """Over another horizon by those that were asked for."""
    asked = ask(LM, GOOD, 2.0, 320)
    assert reads(store, asked, made_up({50: 2.5, 640: 2.4}), horizon=640) is None
    assert reads(store, asked, made_up({50: 2.5, 320: 2.4})).score == 2.4


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"budget": 0}, BudgetError, "16 or more, got 0"),
        ({"budget": 20.0}, BudgetError, "whole number"),
        ({"budget": True}, BudgetError, "whole number"),
        ({"seeds": 0}, UsageError, "seeds is a whole number from 1"),
        ({"seed": -1}, UsageError, "the seed is a whole number from 0"),
        ({"task": "digit"}, TaskError, "no task"),
        ({"policy": "TRI(k0=1)"}, PolicyError, "k1"),
        ({"workers": 0}, UsageError, "workers must be a whole number"),
    ],
)
def test_wrong_input_is_refused(verify, given, error, says):
    with pytest.raises(error, match=says):
        verify(**given)


def test_without_a_target_keys_stay_and_a_wrong_one_is_refused():
    assert replace(MLP, target=None).key == MLP.key
    assert len({MLP.key, replace(MLP, target=0.9).key, replace(MLP, target=0.95).key}) == 3
    for wrong in (0, 1.1, "0.9", True):
        with pytest.raises(TaskError, match="target must be a number above 0"):
            replace(MLP, target=wrong)
