"""A study and its ledger: trials and runs survive a restart, and are never trained again."""

from dataclasses import replace

import pytest

from lrsearch.errors import WorkError
from lrsearch.recommendation import Recommendation
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.executor import DONE
from lrsearch.schedules import FIX, parse
from lrsearch.study.result import conclude
from lrsearch.study.strategy import with_role


def train_some(study, world, count):
    for _ in range(count):
        trial = study.ask()
        if not trial:
            return
        study.tell(trial, world.train(trial.spec(study.setup.task)))


@pytest.mark.parametrize("stop_after", [0, 1, 5, 14, 15, 16, 30, 60])
def test_a_study_stopped_anywhere_ends_like_one_that_was_not(open_study, world, stop_after):
    answers = world()
    train_some(open_study(12, seed=2), answers, stop_after)
    again = open_study(12, seed=2)
    if stop_after < 60:
        again.ask()  # killed in the middle of this one
    last = open_study(12, seed=2)
    train_some(last, answers, 1000)
    assert len(answers.trained) == len(set(answers.trained))
    assert [t.role for t in last.history] == [t.role for t in last.history if t.run]
    assert conclude(last).spent.reused_runs >= min(stop_after, 30)


def test_a_stopped_study_repeats_the_choices_of_one_that_was_not_stopped(study_in, world):
    def choices(name, stops):
        for stop in (*stops, 1000):
            study = study_in(name)
            train_some(study, world(), stop)
        return [(t.role, t.policy, t.seed) for t in study.history]

    assert choices("whole.db", ()) == choices("stopped.db", (3, 12, 7, 20))


def test_a_finished_study_is_answered_without_training(open_study, world):
    train_some(open_study(8), world(), 1000)
    again = open_study(8)
    assert again.is_done
    assert again.ask() is DONE
    spent = conclude(again).spent
    assert (spent.trained_runs, spent.trained_steps) == (0, 0)
    assert spent.reused_runs == spent.runs > 20


def test_what_another_study_trained_is_taken_from_the_store(open_study, world):
    answers = world()
    train_some(open_study(8), answers, 1000)
    before = len(answers.trained)
    train_some(open_study(12), answers, 1000)
    result = conclude(open_study(12))
    assert len(answers.trained) == len(set(answers.trained))
    assert len(answers.trained) - before < result.spent.runs  # the probes at least are the same


def test_an_interrupted_run_is_trained_again_and_its_steps_are_counted(open_study, world):
    study = open_study(4)
    trial = study.ask()
    study.tell(trial, Run(state=RunState.INTERRUPTED, steps=7, seconds=0.0))
    again = open_study(4)
    repeated = again.ask()
    assert replace(repeated, stored=None, reused=False) == trial
    again.tell(repeated, world().train(repeated.spec(again.setup.task)))
    assert again.history[0].committed == trial.horizon + 7


def test_the_sampler_gets_searched_trials_only_and_again_after_a_restart(open_study, world):
    train_some(open_study(8), world(), 1000)
    study = open_study(8)
    searched = {t.number for t in study.history if t.role in ("default", "candidate")}
    assert set(study.sampler.heard) == searched
    assert "open" not in study.sampler.heard.values()


def test_a_study_never_learns_from_itself(open_study, world):
    first = open_study(8)
    train_some(first, world(), 1000)
    assert first.setup.recommended == ()
    assert open_study(8).setup.recommended == ()


def test_a_study_of_another_seed_starts_from_what_the_first_found_and_a_cold_one_does_not(open_study, world):
    train_some(open_study(12), world(), 1000)
    warm = open_study(12, seed=1)
    assert warm.setup.recommended
    assert all(r.distance == 0 for r in warm.setup.recommended)
    train_some(warm, world(), 1000)
    stored = [t for t in with_role(warm.history, "candidate") if t.origin == "stored"]
    assert 0 < len({t.policy for t in stored}) <= 2
    assert open_study(12, seed=1, cold=True).setup.recommended == ()


def test_a_recommendation_is_transferred_by_horizon_and_by_range_test():
    known = Recommendation(parse("HALFCOS(k0=0.2, l=1000)"), "a", 0.3, 0.9, 1, 0.0, optimum=0.4, horizon=1000)
    assert known.transferred(5000, own_optimum=0.1) == parse("HALFCOS(k0=0.05, l=5000)")
    assert known.transferred(1000, own_optimum=None) == known.policy
    assert Recommendation.from_json(known.to_json()) == known


def test_a_run_key_depends_on_task_policy_horizon_and_seed(task):
    base = RunSpec(task, FIX(k0=0.1), 100, 0)
    others = [
        RunSpec(task.with_horizon(640), FIX(k0=0.1), 100, 0),
        RunSpec(task, FIX(k0=0.2), 100, 0),
        RunSpec(task, FIX(k0=0.1), 101, 0),
        RunSpec(task, FIX(k0=0.1), 100, 1),
    ]
    assert len({base.key, *(other.key for other in others)}) == 5
    assert base.key == RunSpec(task, FIX(k0=0.1), 100, 0).key


@pytest.mark.parametrize("budget", [3, 3.5, 4, 8])
def test_the_cap_holds_when_a_run_is_interrupted_again_and_again(open_study, world, budget):
    answers = world()
    for _ in range(200):
        study = open_study(budget)
        trial = study.ask()
        if not trial:
            break
        full = trial.horizon == study.setup.task.horizon and trial.role != "default"
        lost = Run(state=RunState.INTERRUPTED, steps=trial.horizon - 1, seconds=0.0)
        study.tell(trial, lost if full else answers.train(trial.spec(study.setup.task)))
    assert study.is_done
    assert conclude(study).cost <= budget


def test_a_failed_default_is_tried_again_by_the_next_start_and_never_an_answer(open_study, world):
    answers, broken = world(), Run(state=RunState.FAILED, steps=0, seconds=0.0, error="RuntimeError: out of memory")

    def train(study, fails):
        while trial := study.ask():
            bad = fails and trial.role == "default"
            study.tell(trial, broken if bad else answers.train(trial.spec(study.setup.task)))

    with pytest.raises(WorkError, match="out of memory"):
        train(open_study(4), fails=True)
    with pytest.raises(WorkError, match="out of memory"):
        conclude(open_study(4))
    again = open_study(4)
    assert not again.is_done
    train(again, fails=False)
    assert conclude(again).default.score > 0.5


def test_the_default_is_never_a_candidate_against_itself(open_study, world):
    train_some(open_study(4, functions=["WARMUP"]), world(), 1000)
    study = open_study(12, functions=["WARMUP"])
    train_some(study, world(), 1000)
    default = with_role(study.history, "default")[0].policy
    assert any(r.transferred(study.setup.task.horizon, None).form == default.form for r in study.setup.recommended)
    assert default not in {t.policy for t in with_role(study.history, "candidate")}
    steps = {t.stored.key: t.stored.run.steps for t in study.history}
    assert sum(steps.values()) == conclude(study).spent.steps


def test_a_store_that_contradicts_the_probes_is_reported_and_its_policies_are_not_tried(open_study, world):
    train_some(open_study(8, functions=["FIX"]), world(best=0.05), 1000)
    agreed = open_study(8, seed=1, functions=["FIX"])
    train_some(agreed, world(best=0.05), 1000)
    assert conclude(agreed).pruned.contradiction is None
    assert any(t.origin == "stored" for t in agreed.history)
    study = open_study(8, seed=2, functions=["FIX"])
    off = tuple(replace(known, policy=known.policy.scale(1e-3)) for known in study.setup.recommended)
    study.setup = replace(study.setup, recommended=off)
    train_some(study, world(best=0.05), 1000)
    found = conclude(study).pruned.contradiction
    assert found.gap > 1
    assert not any(t.origin == "stored" for t in study.history)
    assert conclude(study).to_json()["pruned"]["contradiction"] == found.to_json()
