"""Probing as a study: the same runs as those of a search, and the same evidence read from the store alone."""

import random
from dataclasses import replace

import numpy as np
import pytest

from lrsearch.errors import BudgetError, WorkError
from lrsearch.heuristics import prune
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.executor import DONE
from lrsearch.schedules import FIX, RAMP
from lrsearch.spaces import Space
from lrsearch.store import open_store
from lrsearch.study.explanation import explain, explain_stored
from lrsearch.study.probing import gather
from lrsearch.study.pruning import Probing, stored_probes
from lrsearch.study.result import conclude
from lrsearch.study.strategy import Setup, committed, with_role
from lrsearch.study.study import Study
from lrsearch.tasks import find_task

TASK = find_task("digits-mlp")
RAW = Space.standard(horizon=TASK.horizon, epoch=TASK.epoch, peak=TASK.optimizer.lr_range)


def finish(study, world):
    while trial := study.ask():
        study.tell(trial, world.train(trial.spec(study.setup.task)))
    return study


def probing(store, budget=12, seed=0, task=TASK):
    raw = Space.standard(horizon=task.horizon, epoch=task.epoch, peak=task.optimizer.lr_range)
    return Study(Setup(task, raw, budget, seed), Probing(), store, lambda name, known: None)


def probes_of(study):
    return [t.stored.key for role in ("range-test", "decade") for t in with_role(study.history, role)]


@pytest.mark.parametrize(("budget", "seed"), [(3.3, 0), (4, 1), (12, 2), (50, 3)])
def test_a_search_afterwards_trains_no_probe_again_and_asks_for_no_other(store, open_study, world, budget, seed):
    answers = world()
    alone = finish(probing(store, budget, seed), answers)
    assert len(answers.trained) == len(alone.history) >= 4
    assert committed(alone.history) <= max(0.2 * budget * TASK.horizon, 600)
    later = finish(open_study(budget, seed), answers)
    assert sorted(probes_of(later)) == sorted(probes_of(alone)) == sorted(answers.trained[: len(alone.history)])
    assert len(answers.trained) == len(set(answers.trained))
    assert conclude(later).pruned == explain(store, alone.key).pruned


@pytest.mark.parametrize("stop_after", [0, 1, 2, 5, 9])
def test_probing_that_was_killed_goes_on_where_it_was(store, world, stop_after):
    answers = world()
    study = probing(store)
    for _ in range(stop_after):
        trial = study.ask()
        study.tell(trial, answers.train(trial.spec(TASK)))
    study.ask()  # killed in the middle of this one
    last = finish(probing(store), answers)
    assert last.is_done
    assert len(answers.trained) == len(set(answers.trained)) == len(last.history)
    assert finish(probing(store), answers).ask() is DONE


def test_stored_runs_give_the_same_space_bit_for_bit_before_and_after_a_search(store, open_study, world):
    answers = world()
    alone = finish(probing(store), answers)
    pruned = explain(store, alone.key).pruned
    assert pruned.refusal is None
    before = len(answers.trained)
    assert explain_stored(store, TASK, RAW).pruned == pruned
    finish(open_study(12, functions=["FIX", "TRI"]), answers)  # whose candidates are constant rates, short ones too
    assert any(run.policy.name == "FIX" and run.horizon == 80 for run in store.runs())
    assert explain_stored(store, TASK, RAW).pruned == pruned
    assert len(answers.trained) > before


def test_stored_runs_are_read_in_whatever_order_they_were_trained(tmp_path, world):
    study = finish(probing(open_store(str(tmp_path / "a.db"))), world())
    asked = [(trial.spec(TASK), trial.run) for trial in study.history]
    random.Random(0).shuffle(asked)
    with open_store(str(tmp_path / "b.db")) as other:
        for spec, run in asked:
            other.record(spec, run, origin="elsewhere")
        assert explain_stored(other, TASK, RAW).pruned == prune(RAW, gather(study.setup, study.history))


@pytest.mark.parametrize(
    ("policy", "horizon", "role"),
    [
        (RAMP(k0=1e-6, k1=10, l=299), 300, "range-test"),
        (RAMP(k0=1e-5, k1=0.01, l=299), 300, None),  # over another range it is no range test of a search
        (RAMP(k0=1e-6, k1=10, l=1279), 1280, None),  # over the whole horizon it is a policy like others
        (RAMP(k0=1e-6, k1=10, l=79), 80, None),  # a ramp that is too fast reads too high
        (FIX(k0=0.1), 50, "decade"),
        (FIX(k0=0.03162), 200, "decade"),
        (FIX(k0=0.1), 150, None),
        (FIX(k0=0.1), 1280, None),
        (FIX(k0=0.07876), 50, None),  # a candidate of a search
    ],
)
def test_a_stored_run_is_a_probe_by_its_function_and_its_horizon(store, policy, horizon, role):
    store.record(RunSpec(TASK, policy, horizon, 0), Run(state=RunState.DIVERGED, steps=9, seconds=0.0))
    assert [trial.role for trial in stored_probes(store, TASK)] == ([role] if role else [])


def test_runs_that_did_not_end_of_other_tasks_and_of_other_trainers_are_no_evidence(store, monkeypatch):
    ended = Run(state=RunState.FINISHED, steps=50, seconds=0.0, score=0.5, loss=1.0)
    for task, state in (
        (TASK, RunState.INTERRUPTED),
        (TASK, RunState.FAILED),
        (TASK.with_horizon(640), None),
        (find_task("digits-cnn"), None),
        (replace(TASK, precision="bf16"), None),
    ):
        run = replace(ended, state=state) if state else ended
        store.record(RunSpec(task, FIX(k0=0.1), 50, 7 if state else 0), run)
    with monkeypatch.context() as other:
        other.setattr("lrsearch.tasks.classification.Classification.trainer", "an older one")
        store.record(RunSpec(TASK, FIX(k0=0.1), 50, 0), ended)
    assert stored_probes(store, TASK) == []
    with pytest.raises(WorkError, match=r"no range tests and no short runs .* leave out --stored"):
        explain_stored(store, TASK, RAW)
    store.record(RunSpec(TASK, FIX(k0=0.1), 50, 0), ended)
    (found,) = stored_probes(store, TASK)
    assert explain_stored(store, TASK, RAW).probes == (found.stored,)


def test_range_tests_alone_narrow_nothing_and_the_refusal_says_why(store, world):
    spec = RunSpec(TASK, RAMP(k0=1e-6, k1=10, l=299), 300, 0)
    store.record(spec, world().train(spec))
    told = explain_stored(store, TASK, RAW)
    assert told.pruned.refusal.startswith("too-few")
    assert told.space.peak == RAW.peak
    assert [run.key for run in told.probes] == [spec.key]


@pytest.mark.parametrize("budget", [0, 1, 1.2])
def test_a_budget_that_a_search_would_refuse_is_refused(store, budget):
    with pytest.raises(BudgetError, match="too small"):
        probing(store, budget)
    assert store.studies() == []


def test_the_space_that_is_left_draws_policies_that_are_in_it(store, world):
    space = explain(store, finish(probing(store), world()).key).space
    rng = np.random.default_rng(0)
    assert all(space.sample(rng) in space for _ in range(50))
