"""What the store recommends: relevance, pooling, origins, goals, and what a study's record holds."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsearch as lrs
from lrsearch.errors import TaskError, UsageError
from lrsearch.heuristics import Ramp
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.candidates import NEIGHBOURS, gather
from lrsearch.recommendation.known import GOALS, KnownRun, KnownTask
from lrsearch.recommendation.published import published_tasks
from lrsearch.recommendation.recommend import FAR, NEAR, advise
from lrsearch.recommendation.rescaling import Correction
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX, HALFCOS, INV, RAMP, SIN2, TRI, TRI2
from lrsearch.store import open_store
from lrsearch.tasks import TASKS

MNIST, FASHION, DIGITS = (TASKS[name] for name in ("mnist-lenet", "fashion-lenet", "digits-cnn"))
GOOD, FAIR, BAD = TRI(k0=0.001, k1=0.02, l=2000), HALFCOS(k0=0.05, l=10_000), FIX(k0=0.9)


def known(task=FASHION, scores=None, key=None, ramps=(), origin="local", horizon=10_000):
    """A task with a run for each policy and seed: {policy: score or [scores by seed]}."""
    scores = {GOOD: [0.90, 0.91], FAIR: [0.88, 0.89], BAD: [0.5, None]} if scores is None else scores
    runs = tuple(
        KnownRun(policy, horizon, seed, score)
        for policy, result in scores.items()
        for seed, score in enumerate(result if isinstance(result, list) else [result])
    )
    return KnownTask(key or task.key, task.description, runs, ramps, origin)


def named(name, **changes):
    return replace(FASHION, name=name, **changes)


def ramp(middle):
    rates = tuple(10 ** (-5 + n / 40) for n in range(241))
    return Ramp("r", rates, tuple(0.5 if middle / 2 <= r <= 2 * middle else 2.0 if r < middle else 9.0 for r in rates))


def policies(result):
    return [one.policy for one in result.ranked]


def test_the_best_of_a_near_task_comes_first_with_all_that_is_to_be_shown():
    result = advise([known()], MNIST.description)
    assert result.relevant
    assert policies(result)[0] == GOOD
    one = result.ranked[0]
    assert (one.task, one.origin, one.score) == ("fashion-lenet", "local", 0.905)
    assert (one.seeds, one.tasks, one.runs) == (2, 1, 2)
    assert one.low <= -one.regret <= one.high
    assert one.tie_group == 1
    assert sum(one.p_best for one in result.ranked) == pytest.approx(1, abs=0.2)
    assert dict(one.parts).keys() == {"data", "model", "training"}
    assert result.first(2) == [one, result.ranked[1]]
    assert BAD not in [one.policy for one in result.first(9)]


def test_nothing_known_is_said_plainly_and_ranks_nothing():
    empty = advise([], MNIST.description)
    assert (empty.relevant, empty.ranked, empty.first()) == (False, (), [])
    assert empty.reason.startswith("no relevant evidence")
    adam = replace(FASHION, optimizer=lrs.tasks.AdamW())
    other = advise([known(adam)], MNIST.description)
    assert (other.relevant, other.ranked) == (False, ())
    assert "another kind of optimizer" in other.neighbours[0].similarity.gate


def test_a_task_far_away_is_no_evidence_and_one_near_task_is_enough():
    far = advise([known(DIGITS, horizon=1280)], MNIST.description)
    assert far.neighbours[0].similarity.distance > FAR
    assert (far.relevant, far.neighbours[0].weight) == (False, 0)
    assert "no relevant evidence: the nearest task, digits-cnn" in far.reason
    assert advise([known()], MNIST.description).neighbours[0].similarity.distance < NEAR


def test_tasks_between_count_where_there_are_three():
    def between(n):
        task = TASKS["cifar10-cnn3"].with_horizon(70_000 + n)
        return known(task, {GOOD.stretch(7): 0.8, BAD: 0.7}, horizon=task.horizon)

    assert NEAR < advise([between(0)], MNIST.description).neighbours[0].similarity.distance < FAR
    assert [advise([between(n) for n in range(count)], MNIST.description).relevant for count in (1, 2, 3)] == [
        False,
        False,
        True,
    ]


def test_a_study_on_mnist_with_lenet_starts_from_table_seven_and_one_on_digits_from_nothing():
    with open_store("sqlite:///:memory:") as store:
        result = lrs.recommend(MNIST, store)
        assert [one.policy.form for one in result] == ["SIN2", "COS"]
        assert {one.origin for one in result} == {"published"}
        assert all("table VII" in one.source for one in result)
        assert result[0].transferred(10_000, own_optimum=0.2) == SIN2(k0=0.01, k1=0.06, l=2000)
        assert result[0].uncertainty(None) == 0
        assert lrs.recommend(DIGITS, store) == lrs.recommend(TASKS["digits-mlp"], store) == []


def test_printed_and_measured_scores_of_one_task_never_meet_and_the_printed_count_less():
    sin2 = SIN2(k0=0.01, k1=0.06, l=2000)
    mine = known(MNIST, {sin2: 0.90, INV(k0=0.01, gamma=0.0001, p=0.75): 0.99})
    result = advise([mine, *published_tasks()], MNIST.description)
    by_origin = {one.origin: one.weight for one in result.neighbours if one.name.lower().startswith("mnist")}
    assert by_origin["published"] < 0.51 * by_origin["local"]
    (one,) = [one for one in result.ranked if one.policy == sin2]
    assert (one.origin, one.score, one.tasks) == ("local", 0.9, 2)
    assert result.ranked[0].policy.form == "INV"


def test_an_import_never_silently_outranks_the_users_own_runs():
    own, stranger = known(), known(scores={GOOD: 0.5, FAIR: 0.99}, key="s", origin="stranger")
    result = advise([stranger, own], MNIST.description)
    weight = {one.origin: one.weight for one in result.neighbours}
    assert weight["stranger"] == weight["local"] / 2
    assert {one.origin for one in advise([stranger], MNIST.description).ranked} == {"stranger"}


@pytest.mark.parametrize(("factor", "together"), [(10**0.14, True), (10**0.17, False)])
def test_neighbours_within_015_decades_of_equal_form_are_one_candidate(factor, together):
    near = KnownTask("b", named("b").description, (KnownRun(GOOD.scale(factor), 10_000, 0, 0.9),))
    result = gather([known(scores={GOOD: 0.9}), near], FASHION.description, [0.1, 0.1], 0.1, "accuracy")
    assert NEIGHBOURS == 0.15
    assert (len(result.members) == 1) is together
    other = known(named("c"), {TRI2(k0=0.001, k1=0.02, l=2000): 0.9})
    two = gather([known(scores={GOOD: 0.9}), other], FASHION.description, [0.1, 0.1], 0.1, "accuracy")
    assert len(two.members) == 2


def test_policies_meet_by_the_range_tests_where_both_tasks_have_one():
    low, high = (
        known(named("low"), {GOOD: 0.9}, ramps=(ramp(0.01),)),
        known(named("high"), {GOOD.scale(10): 0.9}, ramps=(ramp(0.1),)),
    )
    assert len(gather([low, high], MNIST.description, [0.01, 0.1], 0.1, "accuracy").members) == 1
    assert len(gather([low, high], MNIST.description, [0.01, 0.1], None, "accuracy").members) == 2
    result = advise([low], MNIST.description, ramps=[ramp(0.1)]).ranked[0]
    assert result.transferred(10_000, 0.1).coordinates(10_000)["peak"] == pytest.approx(0.2 * 10**-0.15, rel=0.15)
    lower = result.transferred(10_000, None).params["k1"] / GOOD.params["k1"]
    assert lower == pytest.approx(10 ** (-0.5 * math.hypot(0.3, 0.5)))  # by half of the doubt
    assert result.uncertainty(None) ** 2 == pytest.approx(result.uncertainty(0.1) ** 2 + 0.5**2)


def test_where_neighbours_ran_with_one_seed_their_mean_counts_and_what_diverged_is_lost():
    near = GOOD.scale(1.1)
    table = gather([known(scores={GOOD: 0.9, near: 0.8})], FASHION.description, [None], None, "accuracy").table
    assert table["score"].tolist() == [pytest.approx(0.85)]
    table = gather([known(scores={GOOD: 0.9, near: None})], FASHION.description, [None], None, "accuracy").table
    assert math.isnan(table["score"].iloc[0])
    assert advise([known(scores={GOOD: None})], MNIST.description).ranked == ()


def test_probes_and_range_tests_are_no_candidates_and_short_whole_runs_are():
    runs = (
        KnownRun(RAMP(k0=1e-6, k1=10, l=299), 10_000, 0, 0.9),
        KnownRun(FIX(k0=0.1), 200, 0, 0.99),
        KnownRun(GOOD.stretch(1 / 16), 625, 0, 0.8),
    )
    result = advise([replace(known(), runs=runs)], MNIST.description)
    assert policies(result) == [GOOD]


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_what_is_known_changes_nothing(random):
    tasks = [known(), known(named("b"), {GOOD: 0.7, FAIR: 0.8}), *published_tasks()]
    before = advise(tasks, MNIST.description)
    random.shuffle(tasks)
    shuffled = [replace(task, runs=tuple(random.sample(task.runs, len(task.runs)))) for task in tasks]
    assert advise(shuffled, MNIST.description) == before


def runs_for_goals():
    """GOOD is right, late and unsure; FAIR is early, robust and sure; BAD is worse than FAIR in all."""
    bad = TRI2(k0=0.1, k1=1, l=100)
    told = {GOOD: (0.95, 0.4, 0.5, 9000), FAIR: (0.90, 0.1, 0.9, 1000), bad: (0.80, 0.5, 0.4, 9500)}
    return tuple(
        KnownRun(
            policy, 10_000, 0, score, {"ld": ld, "ac": ac, "cd": 0.1, "cdac": 0.1}, ((step, score), (10_000, score))
        )
        for policy, (score, ld, ac, step) in told.items()
    )


def test_each_goal_has_its_own_order_and_the_front_is_of_those_that_none_beats():
    task = replace(known(), runs=runs_for_goals())
    first = {goal: policies(advise([task], MNIST.description, goal))[0] for goal in GOALS}
    assert first == {"accuracy": GOOD, "cost": FAIR, "robustness": FAIR, "confidence": FAIR}
    front = advise([task], MNIST.description, "pareto").ranked
    assert [(one.policy.form, one.front) for one in front] == [("TRI", True), ("HALFCOS", True), ("TRI2", False)]
    assert dict(front[0].by_goal).keys() == GOALS.keys()


def test_a_goal_of_which_nothing_is_known_is_said_and_an_unknown_one_refused():
    result = advise([known()], MNIST.description, "robustness")
    assert (result.relevant, result.reason) == (
        False,
        "no relevant evidence: no run of the tasks nearby tells anything of robustness",
    )
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        advise([known()], MNIST.description, "acuracy")


def test_a_recommendation_comes_back_from_a_record_and_an_older_record_is_still_read():
    one = advise([known(), *published_tasks()], MNIST.description).ranked[0]
    assert Recommendation.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one
    old = {
        "policy": "FIX(k0=0.1)",
        "task": "digits-mlp",
        "distance": 0.5,
        "score": 0.9,
        "seeds": 1,
        "regret": 0.0,
        "centre": 0.2,
        "horizon": 1280,
    }
    read = Recommendation.from_json(old)
    assert (read.origin, read.corrections, read.same_settings, read.p_best) == ("local", (), False, None)
    assert read.transferred(1280, 0.1) == FIX(k0=0.05)
    assert read.transferred(1280, None) == FIX(k0=0.1)
    assert Recommendation.from_json(old | {"of tomorrow": 1}) == read


def test_corrections_move_the_lr_where_a_range_test_is_missing_and_only_then():
    one = Recommendation(
        GOOD,
        "x",
        0.1,
        0.9,
        1,
        0.0,
        0.2,
        10_000,
        safety_margin=0.5,
        corrections=(Correction("horizon", -0.1, 0.1, probed=True), Correction("momentum", -1.0, 0.4)),
    )
    moved = {
        optimum: math.log10(one.transferred(10_000, optimum).params["k1"] / GOOD.params["k1"])
        for optimum in (None, 0.4)
    }
    assert moved[None] == pytest.approx(-1.1 - 0.5 * math.hypot(0.1, 0.4))  # half of the doubt lower
    assert moved[0.4] == pytest.approx(math.log10(2) - 0.1 - 0.5 * 0.1)
    assert replace(one, same_settings=True).transferred(10_000, 0.4) == GOOD
    held = one.to_json()
    del held["caution"]  # a record of before
    assert Recommendation.from_json(held).transferred(10_000, None) == GOOD.scale(10**-1.1)


def test_runs_of_the_store_are_read_with_their_range_tests_and_their_origin():
    good = Run(state=RunState.FINISHED, steps=10_000, seconds=1.0, score=0.9, loss=0.3)
    with open_store("sqlite:///:memory:") as store:
        store.record(RunSpec(FASHION, GOOD, 10_000, 0), good)
        store.record(RunSpec(FASHION, FAIR, 10_000, 0), replace(good, score=0.8), origin="a colleague")
        store.record(RunSpec(FASHION, BAD, 10_000, 0), Run(state=RunState.DIVERGED, steps=10, seconds=0.1))
        result = {one.policy: one for one in lrs.recommend(MNIST, store, k=9)}
        assert result[GOOD].origin == "local"
        assert FAIR in result
        assert result[FAIR].origin == "a colleague"
        assert BAD not in result


def test_a_task_is_recommended_for_by_its_name_as_well():
    with open_store("sqlite:///:memory:") as store:
        assert lrs.recommend("mnist-lenet", store) == lrs.recommend(MNIST, store) != []
        with lrs.record(store, task="mine", policy=GOOD, horizon=9) as run:
            run.finish(score=0.5)
        assert [one.policy for one in lrs.recommend("mine", store)] == [GOOD]
        with pytest.raises(TaskError, match="no task 'mime'; did you mean 'mine'"):
            lrs.recommend("mime", store)


def test_without_a_store_the_papers_alone_recommend_and_no_file_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///:memory:") as store:
        assert lrs.recommend("mnist-lenet", k=9) == lrs.recommend("mnist-lenet", store, k=9) != []
    assert {one.origin for one in lrs.recommend("mnist-lenet", k=9)} == {"published"}
    assert lrs.recommend("digits-mlp") == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TaskError, match="did you mean 'mnist-lenet'"):
        lrs.recommend("mnist-lent")
    with pytest.raises(UsageError, match=r"store is an open store, such as .* got 'store.db'"):
        lrs.recommend("mnist-lenet", "store.db")


def test_each_recommended_trial_names_its_table_or_its_task():
    optuna = pytest.importorskip("optuna")
    for task, named in (("mnist-lenet", "LRBench Table VII"), ("cifar10-cnn3", "LRBench")):
        study, own = optuna.create_study(), lrs.TASKS[task]
        space = lrs.Space.standard(horizon=own.horizon, epoch=own.epoch)
        lrs.warm_start(study, space, lrs.recommend(task, k=3))
        sources = [trial.user_attrs.get("lrsearch:source") for trial in study.get_trials()]
        assert all(source.startswith(named) for source in sources[:-1])
        assert len(sources) > 1
        assert sources[-1] is None  # the random point
    one = Recommendation(GOOD, "fashion-lenet", 0.3, 0.9, 1, 0.0, optimum=None, horizon=10_000)
    study = optuna.create_study()
    lrs.warm_start(study, lrs.Space.standard("TRI", horizon=10_000, epoch=540), [one])
    assert study.get_trials()[0].user_attrs["lrsearch:source"] == "fashion-lenet"


def test_an_optuna_study_starts_from_recommendations_marked_with_their_origin():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    space = lrs.Space.standard(horizon=1000, epoch=540)
    with open_store("sqlite:///:memory:") as store:
        assert lrs.warm_start(study, space, [FIX(k0=0.1), *lrs.recommend(MNIST, store)]) == 4
    queued = [trial.user_attrs for trial in study.get_trials()]
    assert [one["lrsearch:origin"] for one in queued] == ["stored", "published", "published", "random"]
    assert queued[1]["lrsearch:policy"] == str(SIN2(k0=0.01, k1=0.06, l=200))


def test_a_range_test_of_the_users_own_moves_what_an_optuna_study_starts_from():
    optuna = pytest.importorskip("optuna")
    space = lrs.Space.standard("TRI", horizon=10_000, epoch=540)
    one = Recommendation(GOOD, "other", 0.3, 0.9, 1, 0.0, optimum=0.1, horizon=10_000)
    offered = []
    for optimum in (None, 0.2):
        study = optuna.create_study()
        lrs.warm_start(study, space, [one], optimum=optimum)
        offered.append(study.get_trials()[0].user_attrs["lrsearch:policy"])
    assert offered == [str(GOOD), str(GOOD.scale(2).rounded())]


def test_results_of_the_same_task_and_of_no_other_become_finished_trials():
    optuna = pytest.importorskip("optuna")
    good = Run(state=RunState.FINISHED, steps=10_000, seconds=1.0, score=0.9, loss=0.3)
    space = lrs.Space.standard("TRI", horizon=10_000, epoch=540)
    study = optuna.create_study(direction="maximize")
    with open_store("sqlite:///:memory:") as store:
        store.record(RunSpec(MNIST, GOOD, 10_000, 0), good)
        store.record(RunSpec(MNIST, GOOD, 10_000, 1), replace(good, score=0.8))
        for horizon, by in ((2500, 2), (20_000, 5)):  # not over its horizon
            store.record(RunSpec(MNIST, GOOD.scale(by), horizon, 0), good)
        store.record(RunSpec(MNIST, GOOD.scale(1e6), 10_000, 0), good)  # outside the space
        store.record(RunSpec(MNIST, FAIR, 10_000, 0), Run(state=RunState.DIVERGED, steps=10, seconds=0.1))
        store.record(RunSpec(FASHION, GOOD.scale(3), 10_000, 0), good)  # another task
        store.record(RunSpec(MNIST.with_horizon(5000), GOOD.stretch(0.5).scale(4), 10_000, 0), good)
        assert lrs.add_results(study, space, store, MNIST) == 1
        with pytest.raises(UsageError, match="direction='maximize'"):
            lrs.add_results(optuna.create_study(), space, store, MNIST)
    (trial,) = study.trials
    assert (trial.value, trial.state.name) == (pytest.approx(0.85), "COMPLETE")
    keys = sorted(RunSpec(MNIST, GOOD, 10_000, seed).key for seed in (0, 1))
    expected = {"policy": str(GOOD), "origin": "same task", "run": ", ".join(keys)}
    assert trial.user_attrs == {f"lrsearch:{name}": value for name, value in expected.items()}
    assert trial.params["peak"] == pytest.approx(space.values(GOOD)["peak"])
    assert space.suggest(study.ask()).form == "TRI"  # the same distributions
