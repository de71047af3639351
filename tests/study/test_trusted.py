"""Policies of long runs on a near task are tried over the whole horizon, after probes and default."""

import random
from dataclasses import replace

import pytest

from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.known import LOCAL
from lrsearch.recommendation.rescaling import Correction
from lrsearch.samplers.optuna import OptunaSampler
from lrsearch.schedules import FIX, TRI
from lrsearch.spaces import Space
from lrsearch.store import open_store
from lrsearch.study.funnel import Funnel
from lrsearch.study.result import conclude
from lrsearch.study.strategy import Setup, committed, with_role
from lrsearch.study.study import Study


def finish(study, world, workers=1, rng=None):
    """Keep so many runs in flight, and end them in order, or in random order."""
    flying = []
    while True:
        while len(flying) < workers and (trial := study.ask()):
            flying.append(trial)
        if not flying:
            return study
        done = flying.pop(rng.randrange(len(flying)) if rng else 0)
        study.tell(done, world.train(done.spec(study.setup.task)))


@pytest.fixture
def warm(open_study, world):
    """Open a study of another seed after a first one."""
    finish(open_study(12), world())

    def open_(budget=12, seed=1, change=None, **options):
        study = open_study(budget, seed=seed, **options)
        if change:
            told = tuple(change(one) for one in study.setup.recommended)
            study.setup = replace(study.setup, recommended=told)
        return study

    return open_


def in_full(study):
    """Give the stored policies that were tried over the whole horizon."""
    return [
        t
        for t in with_role(study.history, "candidate")
        if t.origin == "stored" and t.horizon == study.setup.task.horizon
    ]


def candidates(study):
    return with_role(study.history, "candidate")


def test_what_the_caller_brings_comes_before_what_is_stored_in_the_shortest_rung(warm, world):
    own = (FIX(k0=0.01), TRI(k0=0.001, k1=0.5, l=64), FIX(k0=9.0))
    study = warm(change=lambda one: replace(one, share=0.2))
    study.setup = replace(study.setup, known=own)
    finish(study, world())
    shortest = [one for one in candidates(study) if one.horizon == study.setup.task.horizon // 16]
    assert tuple(one.policy for one in shortest[:3]) == own
    assert [one.origin for one in shortest[:5]] == ["known"] * 3 + ["stored"] * 2


def test_the_first_candidates_are_the_stored_policies_over_the_whole_horizon_and_are_tried_once(warm, world):
    study = finish(warm(), world())
    first, *_ = stored = in_full(study)
    others = candidates(study)[len(stored) :]
    assert candidates(study)[: len(stored)] == stored
    assert {t.role for t in study.history[: first.number]} == {"range-test", "decade", "default"}
    assert not {one.policy for one in stored} & {one.policy for one in others}
    known = {one.transferred(study.setup.task.horizon, None).rounded() for one in study.setup.recommended}
    assert {one.policy for one in stored} <= known
    assert {one.horizon for one in others} == {study.setup.task.horizon // part for part in (16, 4, 1)}


def test_what_is_nearly_the_default_is_not_tried_again(warm, world):
    n = warm().setup.task.horizon
    default = with_role(finish(warm(2, seed=3, cold=True), world()).history, "default")[0].policy

    def changed(seed, by):
        return warm(seed=seed, change=lambda one: replace(one, policy=default.stretch(one.horizon / n).scale(by)))

    near, far = changed(4, 1.3), changed(5, 0.4)
    assert in_full(finish(near, world())) == []
    assert in_full(finish(far, world())) != []


@pytest.mark.parametrize("budget", [1.5, 2, 2.5, 3, 4, 6.7, 12])
def test_it_is_paid_from_the_same_budget(warm, world, budget):
    study = finish(warm(budget), world())
    assert committed(study.history) <= budget * study.setup.task.horizon
    assert study.is_done


def test_a_budget_that_buys_a_cold_search_only_its_default_buys_a_warm_one_the_stored_policy(warm, world):
    cold, second = (finish(warm(2.5, cold=is_cold), world()) for is_cold in (True, False))
    assert candidates(cold) == []
    assert {one.origin for one in candidates(second)} == {"stored"}


@pytest.mark.parametrize("budget", [3, 3.5, 4, 5, 8])
def test_it_takes_no_search_its_last_candidates(warm, world, budget):
    cold, second = (finish(warm(budget, cold=is_cold), world()) for is_cold in (True, False))
    shortest = second.setup.task.horizon // 16
    searched = [[one for one in candidates(study) if one.horizon == shortest] for study in (cold, second)]
    assert bool(searched[0]) is bool(searched[1])


def test_it_can_be_the_answer(warm, world):
    study = warm(2.5)
    known = study.setup.recommended[0].policy
    best = conclude(finish(study, world(best=known.bounds[1], noise=0))).best
    assert best.policy == known


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, share=0.2),
        lambda one: replace(one, origin="published"),
        lambda one: replace(one, origin="a friend"),
        lambda one: replace(
            one,
            same_settings=False,
            corrections=(Correction("another task", 0.0, 0.3, True), Correction("momentum", 0.0, 0.4, True)),
        ),
        lambda one: replace(one, policy=one.policy.scale(1e-4)),
    ],
    ids=["short runs", "papers", "strangers", "in doubt", "outside the probed peaks"],
)
def test_nothing_else_skips_the_short_runs(warm, world, change):
    study = finish(warm(change=change), world())
    assert candidates(study)[0].horizon == study.setup.task.horizon // 16
    shorter = {one.policy for one in candidates(study) if one.horizon < study.setup.task.horizon}
    assert {one.policy for one in in_full(study)} <= shorter


def test_a_record_of_before_has_none(warm):
    (one, *_) = warm().setup.recommended
    assert (one.origin, one.share) == (LOCAL, 1)
    held = one.to_json()
    del held["share"]
    assert Recommendation.from_json(held).share == 0


def test_no_candidate_is_suggested_before_its_run_has_ended(warm, world):
    study, answers, asked = warm(), world(), []
    while trial := study.ask():
        if trial.role == "candidate":
            asked.append(trial)
        else:
            study.tell(trial, answers.train(trial.spec(study.setup.task)))
    assert [(one.origin, one.horizon) for one in asked] == [("stored", study.setup.task.horizon)] * len(asked)
    assert asked


@pytest.mark.parametrize("workers", [2, 8])
def test_the_order_in_which_runs_end_changes_nothing(tmp_path, task, world, workers):
    """Suggestions that learn from the stored policy's run included."""
    raw = Space.standard(horizon=task.horizon, epoch=task.epoch)

    def study(seed, store):
        return Study(
            Setup(task, raw, 12, seed),
            Funnel(),
            store,
            lambda name, known: OptunaSampler(name, None, 0, task.horizon, "tpe"),
        )

    def second(crew, rng):
        with open_store(str(tmp_path / f"{crew}.db")) as store:
            finish(study(0, store), world())
            return finish(study(1, store), world(), crew, rng)

    alone, together = second(1, None), second(workers, random.Random(workers))
    assert in_full(alone)
    assert {(one.policy, one.horizon, one.seed) for one in candidates(alone)} == {
        (one.policy, one.horizon, one.seed) for one in candidates(together)
    }
