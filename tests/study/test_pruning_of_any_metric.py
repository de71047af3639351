"""Probing of a user's own training: any metric, with or without a train_loss, explained from the store alone."""

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest

from lrsearch.heuristics import prune
from lrsearch.heuristics.advice import NO_TRAIN_LOSS, advise
from lrsearch.heuristics.probes import guessing
from lrsearch.recommendation.recommend import ramp_of
from lrsearch.report.explanation import sentences, what_it_showed
from lrsearch.runs import Objective, Point, Run, RunState, Task, maximize, minimize
from lrsearch.spaces import Space
from lrsearch.store import open_store
from lrsearch.study.explanation import explain, explain_stored
from lrsearch.study.probing import chance_of, gather, level_of
from lrsearch.study.pruning import Probing
from lrsearch.study.strategy import Setup, with_role
from lrsearch.study.study import Study
from lrsearch.tasks import find_task


class Own:
    """A user's training that answers at once: `metric` of the fall from guessing (0) to the best (1)."""

    def __init__(self, metric, logs_train_loss=True, best=0.05, edge=1.0, fails=()):
        self.metric, self.logs_train_loss, self.best, self.edge, self.fails = metric, logs_train_loss, best, edge, fails
        self.trained = []

    def train(self, spec):
        self.trained.append(spec)
        peak = float(spec.policy.curve(spec.horizon).max())
        if spec.policy.name == "RAMP":
            return self._ramp(spec)
        if any(math.isclose(peak, failing, rel_tol=1e-3) for failing in self.fails):
            return Run(state=RunState.FAILED, steps=3, seconds=0.0, error="OSError: no space left", cause="error")
        if peak > self.edge:
            return Run(state=RunState.DIVERGED, steps=spec.horizon // 2, seconds=0.0)
        seed = zlib.crc32(f"{spec.policy}|{spec.horizon}|{spec.seed}".encode())
        away = math.log10(peak / self.best)
        score = self.metric(math.exp(-(away**2)) + float(np.random.default_rng(seed).normal(0, 0.004)))
        return Run(
            state=RunState.FINISHED,
            steps=spec.horizon,
            seconds=0.0,
            score=score,
            points=(Point(spec.horizon, None, score),),
            applied="yes",
        )

    def _ramp(self, spec):
        rates = spec.policy.curve(spec.horizon)
        losses = np.where(rates > self.edge, 1e6, 4000 - 3000 / (1 + np.exp(-4 * np.log10(rates / self.best))))
        return Run(
            state=RunState.FINISHED,
            steps=spec.horizon,
            seconds=0.0,
            applied="yes",
            train_losses=tuple(losses.tolist()) if self.logs_train_loss else (),
        )


LOSS, BLEU, LIKELIHOOD = minimize("val_loss"), maximize("bleu"), minimize("nll", unit="nats")
METRICS = {  # each from guessing to the best
    "loss": (LOSS, lambda share: 2.3 - 2.0 * share),
    "thousands": (LOSS, lambda share: 9e6 - 8e6 * share),
    "negative": (LIKELIHOOD, lambda share: 1.5 - 4 * share),
    "bleu": (BLEU, lambda share: 30 * share),
    "r2": (maximize("r2"), lambda share: -1.5 + 2.4 * share),
    "accuracy": (maximize("accuracy", samples=500), lambda share: 0.1 + 0.8 * share),
}


def task_of(objective: Objective, **given) -> Task:
    return Task(name="mine", horizon=2000, epoch=100, objectives=(objective,), lr_range=(1e-6, 10.0), **given)


def probe(store, task, training, budget=12):
    raw = Space.standard(horizon=task.horizon, epoch=task.epoch, peak=task.lr_range)
    study = Study(Setup(task, raw, budget, 0), Probing(), store, lambda name, known: None, cold=True)
    while trial := study.ask():
        tell(study, trial, training.train(trial.spec(task)))
    return study


def tell(study, trial, run):
    """What a study does with a probe that failed, where it goes on: the failed run stands in its history."""
    spec = trial.spec(study.setup.task)
    study.store.record(spec, run)
    study.history[trial.number] = replace(trial, stored=study.store.find(spec.key))


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store.db"))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("logs_train_loss", [True, False])
def test_any_metric_narrows_the_learning_rate_to_where_it_is_best(store, name, logs_train_loss):
    objective, metric = METRICS[name]
    study = probe(store, task_of(objective), Own(metric, logs_train_loss))
    evidence = gather(study.setup, study.history)
    pruned = prune(study.setup.raw, evidence)
    assert evidence.chance_loss is None
    assert guessing(evidence).loss == pytest.approx(objective.cost(metric(0)), abs=0.05 * abs(metric(1) - metric(0)))
    assert pruned.refusal is None
    assert pruned.space.peak.low < 0.05 < pruned.space.peak.high < 3
    assert pruned.space.peak.low > 1e-3
    assert (pruned.optimum is not None) is logs_train_loss


def test_every_metric_asks_for_the_same_probes_and_leaves_the_same_space(tmp_path):
    studies = [
        probe(open_store(str(tmp_path / f"{name}.db")), task_of(objective), Own(metric))
        for name, (objective, metric) in METRICS.items()
    ]
    plans = [[(trial.role, str(trial.policy), trial.seed) for trial in study.history] for study in studies]
    assert all(plan == plans[0] for plan in plans)
    spaces = [prune(study.setup.raw, gather(study.setup, study.history)).space for study in studies]
    assert all(space == spaces[0] for space in spaces)


@pytest.mark.parametrize("logs_train_loss", [True, False])
def test_the_store_alone_explains_it(store, logs_train_loss):
    task = task_of(BLEU)
    study = probe(store, task, Own(METRICS["bleu"][1], logs_train_loss))
    told = explain(store, study.name)
    pruned = prune(study.setup.raw, gather(study.setup, study.history))
    assert told.pruned == pruned
    assert told.objective == BLEU
    assert explain_stored(store, task, study.setup.raw).pruned == pruned
    silent = "The training logs no train_loss, so its range test shows nothing"
    assert any(silent in line for line in sentences(told)) is not logs_train_loss
    showed = [what_it_showed(run, told.rules, told.objective) for run in told.probes]
    assert showed[0].startswith("bottom around" if logs_train_loss else "no train_loss")
    assert any(one.startswith("bleu ") for one in showed)
    assert "diverged" in showed
    assert not any("%" in one or "loss " in one for one in showed)


def test_a_space_over_a_users_range_is_rebuilt_from_the_record(store):
    task = replace(task_of(LOSS), lr_range=(1e-4, 0.3))
    study = probe(store, task, Own(METRICS["loss"][1]))
    assert explain(store, study.name).pruned.raw == study.setup.raw
    assert store.studies()[0].frozen["peak"] == [1e-4, 0.3]


def test_without_a_train_loss_one_range_test_is_enough_and_constant_lrs_are_tried(store):
    study = probe(store, task_of(LOSS), Own(METRICS["loss"][1], logs_train_loss=False))
    ramps, decades = with_role(study.history, "range-test"), with_role(study.history, "decade")
    assert len(ramps) == 1
    assert len(decades) > 8
    assert decades[0].policy.params["k0"] == 0.01
    both = probe(store, task_of(LOSS, version="2"), Own(METRICS["loss"][1]))
    assert len(with_role(both.history, "range-test")) == 2
    advice = advise([ramp_of(ramps[0].stored)])
    assert (advice.suggestions, advice.notes) == ((), (NO_TRAIN_LOSS,))


def test_failed_probes_are_left_out_and_not_asked_again(store):
    training = Own(METRICS["loss"][1], fails=(0.1, 0.001))
    study = probe(store, task_of(LOSS), training)
    assert len({spec.key for spec in training.trained}) == len(training.trained)
    evidence = gather(study.setup, study.history)
    assert {lr for lr, _ in evidence.failed} == {0.1, 0.001}
    assert not {0.1, 0.001} & {one.lr for one in evidence.probes}
    told = explain(store, study.name)
    assert told.failed == 2
    assert told.pruned.refusal is None
    assert told.space.peak.low < 0.05 < told.space.peak.high
    assert "2 probes failed and were left out." in " ".join(sentences(told))


def test_a_range_test_that_failed_is_left_out(store):
    class Crashing(Own):
        def _ramp(self, spec):
            return Run(state=RunState.FAILED, steps=9, seconds=0.0, error="OSError", train_losses=(1.0, 2.0))

    study = probe(store, task_of(LOSS), Crashing(METRICS["loss"][1]))
    assert len(with_role(study.history, "range-test")) == 1
    evidence = gather(study.setup, study.history)
    assert evidence.ramps == ()
    assert prune(study.setup.raw, evidence).refusal is None


@pytest.mark.parametrize(
    "run",
    [
        Run(state=RunState.FINISHED, steps=50, seconds=0.0, score=0.5, loss=1.25),
        Run(state=RunState.DIVERGED, steps=9, seconds=0.0),
    ],
)
def test_a_description_compares_runs_as_its_task_does(run):
    for task in (find_task("digits-mlp"), find_task("mnist-lenet").in_paper_protocol(), task_of(LOSS), task_of(BLEU)):
        assert level_of(task.description)(run) == task.level(run)
        assert chance_of(task.description) == task.chance_loss
