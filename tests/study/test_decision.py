"""The decision of a search: the one function that decides, and its sentences."""

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.study.answers import decided_by, stored_answers
from lrsearch.study.decision import decide
from lrsearch.study.final_test import final_test
from lrsearch.study.noise import TIE
from lrsearch.study.result import conclude
from lrsearch.study.strategy import with_role

scores = st.one_of(st.none(), st.integers(0, 384).map(lambda hits: hits / 384))


@pytest.mark.parametrize(
    ("default", "candidates", "pairs", "answer", "says"),
    [
        (
            0.97,
            (0.96,),
            ((0.9662, 0.9714), (0.9714, 0.9714)),
            "default",
            "Use the default, WARMUP(policy=HALFCOS(k0=0.1,"
            " l=1216), l=64): no policy that was found beats it on 2 fresh seeds (+0.26 points, noise 0.87: a tie).",
        ),
        (0.97, (0.99,), ((0.95, 0.95),), "default", "beats it on 1 fresh seed (+0.00 points, noise 1.57: a tie)."),
        (
            0.90,
            (0.98,),
            ((0.90, 0.98), (0.91, 0.98)),
            "found",
            "Use TRI(k0=0.01, k1=0.2, l=64): it beats the default on 2 fresh seeds (+7.50 points, noise 1.17).",
        ),
        (0.98, (0.99,), ((0.98, 0.80), (0.98, 0.81)), "default", "fresh seeds (-17.50 points, noise 1.52)."),
        (
            0.97,
            (0.98,),
            (),
            "default",
            "l=64), not confirmed on fresh seeds: no policy that was found beats it on the"
            " search's own seed (+1.00 points, noise 1.13: a tie).",
        ),
        (
            0.80,
            (0.70, 0.98),
            (),
            "second",
            "Use SIN2(k0=0.02, k1=0.3, l=128), not confirmed on fresh seeds: it beats the"
            " default on the search's own seed (+18.00 points, noise 2.16).",
        ),
        (
            0.97,
            (),
            (),
            "default",
            "l=64), not confirmed on fresh seeds: no other policy ran to its end at full length within the budget.",
        ),
        (0.97, (None, None), (), "default", "no other policy ran to its end"),
        (
            None,
            (0.9,),
            (),
            "found",
            "Use TRI(k0=0.01, k1=0.2, l=64), not confirmed on fresh seeds: it beats the default",
        ),
        (
            None,
            (None,),
            (),
            "default",
            "Use no policy of this search: the default, WARMUP(policy=HALFCOS(k0=0.1, l=1216),"
            " l=64), has 0 % on the search's own seed, as a run that diverged, and none that was found has more.",
        ),
        (0.9, (0.95,), ((None, 0.95), (None, 0.95)), "found", "it beats the default on 2 fresh seeds"),
        (0.8, (0.95,), ((0.9, "failed"),), "found", "on the search's own seed (+15.00 points, noise 2.32)."),
    ],
)
def test_the_answer_is_the_default_unless_another_beats_it_by_more_than_noise(
    result_of, default, candidates, pairs, answer, says
):
    result = result_of(default, candidates, pairs)
    policies = {
        "default": result.default.policy,
        "found": result_of(0.5, (0.9,)).best_found.policy,
        "second": result_of(0.5, (0.1, 0.9)).best_found.policy,
    }
    assert result.best.policy == policies[answer]
    assert says in result.verdict


@settings(max_examples=200, deadline=None)
@given(
    default=scores,
    candidates=st.lists(scores, max_size=3).map(tuple),
    pairs=st.lists(st.tuples(st.one_of(scores, st.just("failed")), scores), max_size=4).map(tuple),
)
def test_both_are_judged_over_the_same_seeds_and_only_a_clear_win_displaces_the_default(
    result_of, default, candidates, pairs
):
    pairs = pairs if any(score is not None for score in candidates) else ()
    result = result_of(default, candidates, pairs)
    whole = [tuple(0.0 if score is None else score for score in pair) for pair in pairs if "failed" not in pair]
    assert result.best.confirmed is result.default.confirmed is bool(whole)
    assert result.best in (result.default, result.best_found)
    if result.best_found is None:
        assert result.best is result.default
        return
    assert result.best_found.policy != result.default.policy
    assert result.best_found.seeds == result.default.seeds == (len(whole) or 1)
    assert result.best_found.confirmed is result.default.confirmed
    if whole:
        assert result.default.score == pytest.approx(statistics.fmean(one for one, _ in whole))
        assert result.best_found.score == pytest.approx(statistics.fmean(other for _, other in whole))
    gain = result.best_found.score - result.default.score
    assert (result.best is result.best_found) is (gain > TIE * result.decision.noise)
    assert ("not confirmed" in result.verdict) is (result.decision.is_usable and not whole)


def test_runs_of_another_policy_on_fresh_seeds_are_never_taken_for_the_best_ones(result_of):
    """A full run that failed and ended later can be the best by the search's seed, and never confirmed."""
    result = result_of(0.9, (0.95, 0.99), ((0.9, 0.91), (0.9, 0.9)), confirmed=0)
    assert result.best_found.policy == result_of(0.9, (0.95,)).best_found.policy
    assert result.best_found.score == pytest.approx(0.905)


def test_nothing_is_decided_before_the_default_has_ended(result_of):
    result = result_of(0.9, (0.95,))
    assert decide(result.history[1:], 1280, result.setup.task.objective) is None


def test_json_has_the_answer_and_beside_it_the_best_found(result_of):
    tie = result_of(0.97, (0.98,)).to_json()
    assert tie["best"] == tie["default"] != tie["best_found"]
    assert tie["best"]["confirmed"] is tie["best_found"]["confirmed"] is False
    won = result_of(0.80, (0.98,)).to_json()
    assert won["best"] == won["best_found"] != won["default"]
    assert result_of(0.8).to_json()["best_found"] is None


def finish(study, world, stop=None):
    while (trial := study.ask()) and len(world.trained) != stop:
        study.tell(trial, world.train(trial.spec(study.setup.task)))
    return study


def test_the_store_alone_gives_the_same_answer_once_the_search_has_ended(open_study, store, task, world):
    finish(open_study(4, seed=1), world(), stop=20)
    assert stored_answers(store, task.description) == ()
    results = [conclude(finish(open_study(budget), world())) for budget in (4, 12)]
    found = stored_answers(store, task.description)
    assert [(one.study, one.policy, one.score, one.seeds, one.verdict) for one in found] == [
        (one.study, one.best.policy, one.best.score, one.best.seeds, one.verdict) for one in reversed(results)
    ]
    assert [one.confirmed for one in found] == [True, False]
    others = [study for study in store.studies() if study.description["seed"] == 0]
    assert all(decided_by(study, ()) is None for study in others)


def test_a_reading_of_the_test_set_by_an_older_version_holds_for_the_answer(open_study, store, task, world, tmp_path):
    result = conclude(finish(open_study(12), world(best=0.17)))
    assert result.decision.is_default
    assert with_role(result.history, "confirm")
    store.note(
        result.key,
        {
            "policy": str(result.best_found.policy),
            "best": 0.8,
            "default": 0.7,
            "seeds": 3,
            "note": "n",
            "retrained_steps": 0,
            "metrics": {"best": {"top1": 0.8}, "default": {"top1": 0.7}},
        },
    )
    told = final_test(result, store, None, tmp_path)
    assert (told["policy"], told["best"], told["default"]) == (str(result.default.policy), 0.7, 0.7)
    assert told["metrics"]["best"] == {"top1": 0.7}
