"""Ranking: laws that hold for any table, tables whose answer is known, and what is refused."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsearch as lrs
from lrsearch.errors import UsageError
from lrsearch.recommendation.ranking import portfolio, shrunk
from lrsearch.recommendation.regrets import regrets

COLUMNS = ["candidate", "score", "low", "high", "tasks", "seeds", "tie_group", "p_best"]


def table(scores, seed=0, horizon=100):
    """A table of {task: {candidate: a score, or a list of them by seed}}."""
    return pd.DataFrame(
        [
            {"task": task, "candidate": candidate, "seed": seed + at, "score": score, "horizon": horizon}
            for task, row in scores.items()
            for candidate, result in row.items()
            for at, score in enumerate(result if isinstance(result, list) else [result])
        ]
    )


def order(*args, **kwargs):
    return lrs.rank(*args, **kwargs)["candidate"].tolist()


def of(result, candidate):
    return result.set_index("candidate").loc[candidate]


def regret_of(rows, candidate, task):
    known = regrets(rows)
    return known.regret[known.candidates.index(candidate), known.tasks.index(task)]


@st.composite
def tables(draw):
    """Up to 4 tasks by 6 candidates with 1 to 3 seeds each; some cells missing, some seeds diverged."""
    score = st.integers(-50, 50).map(float) | st.just(math.nan)
    cells = st.none() | st.lists(score, min_size=1, max_size=3)
    names = [f"c{n}" for n in range(draw(st.integers(2, 6)))]
    result = {
        f"t{n}": {name: cell for name in names if (cell := draw(cells)) is not None}
        for n in range(draw(st.integers(1, 4)))
    }
    result["t0"] |= {"c0": 1.0, "c1": 2.0}
    return table(result)


@settings(max_examples=15, deadline=None)
@given(rows=tables(), seed=st.integers(0, 99), k=st.integers(1, 8))
def test_the_order_of_rows_changes_nothing_and_k_only_cuts(rows, seed, k):
    result = lrs.rank(rows, k=99)
    pd.testing.assert_frame_equal(lrs.rank(rows.sample(frac=1, random_state=seed), k=99), result)
    pd.testing.assert_frame_equal(lrs.rank(rows, k=k), result.head(k))


@settings(max_examples=15, deadline=None)
@given(rows=tables(), k=st.integers(1, 8))
def test_minimizing_is_ranking_the_negated_scores(rows, k):
    negated = rows.assign(score=-rows["score"])
    pd.testing.assert_frame_equal(lrs.rank(rows, k=k, minimize=True), lrs.rank(negated, k=k), check_exact=True)


def test_the_lowest_comes_first_where_scores_are_minimized():
    rows = table({"a": {"low": [0.1, 0.11], "high": [0.9, 0.91], "gone": math.nan}})
    assert (order(rows, minimize=True)[0], order(rows)[0]) == ("low", "high")
    with pytest.raises(UsageError, match="minimize is true where lower scores are better, else false"):
        lrs.rank(rows, minimize="score")


@settings(max_examples=15, deadline=None)
@given(rows=tables())
def test_a_ranking_is_whole(rows):
    result = lrs.rank(rows, k=99)
    assert list(result) == COLUMNS
    assert sorted(result["candidate"]) == sorted(set(rows["candidate"]))
    assert np.isfinite(result.drop(columns="candidate").to_numpy(dtype=float)).all()
    assert (result["low"] >= -20).all()
    assert (result["high"] <= 0).all()
    assert ((result["low"] <= result["score"]) & (result["score"] <= result["high"])).all()
    assert result["score"].iloc[0] == pytest.approx(result["score"].max(), abs=1e-8)
    by_score = result.sort_values("score", ascending=False, kind="stable")["tie_group"].tolist()
    assert sorted(set(by_score)) == list(range(1, max(by_score) + 1))
    assert result["tie_group"].iloc[0] == 1


@settings(max_examples=15, deadline=None)
@given(rows=tables(), factor=st.sampled_from([0.001, 0.5, 3.0, 1e6]), offset=st.integers(-1000, 1000))
def test_the_unit_and_the_zero_of_a_task_s_scores_do_not_matter(rows, factor, offset):
    moved = rows.assign(score=rows["score"].where(rows["task"] != "t0", rows["score"] * factor + factor * offset))
    before, after = regrets(rows), regrets(moved)
    np.testing.assert_allclose(after.regret, before.regret, atol=1e-6)
    np.testing.assert_allclose(shrunk(after), shrunk(before), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(rows=tables())
def test_a_weight_of_0_is_as_if_the_task_were_not_there(rows):
    rows = pd.concat([rows, table({"off": {"c0": 5.0, "only here": 9.0, "c1": -3.0}})])
    without = rows[rows["task"] != "off"]
    pd.testing.assert_frame_equal(lrs.rank(rows, {"off": 0}, k=99), lrs.rank(without, k=99))


@settings(max_examples=15, deadline=None)
@given(rows=tables())
def test_a_weight_of_2_is_as_two_such_tasks(rows):
    twice = pd.concat([rows, rows[rows["task"] == "t0"].assign(task="z")])
    one, two = regrets(rows, {"t0": 2}), regrets(twice)
    np.testing.assert_allclose(shrunk(one), shrunk(two), atol=1e-9)
    assert portfolio(one, 99) == portfolio(two, 99)


@settings(max_examples=15, deadline=None)
@given(rows=tables())
def test_nobody_is_ranked_above_who_is_best_everywhere(rows):
    tasks = sorted(set(rows["task"]))
    best = table({task: {"best": [60.0, 60.0, 60.0]} for task in tasks})
    assert order(pd.concat([rows, best]), k=1) == ["best"]


def test_the_order_of_rows_does_not_change_the_last_bit():
    rng = np.random.default_rng(0)
    rows = table({f"t{n}": {name: list(rng.normal(size=7)) for name in "abcde"} for n in range(3)})
    result = lrs.rank(rows)
    for seed in range(5):
        shuffled = lrs.rank(rows.sample(frac=1, random_state=seed))
        pd.testing.assert_frame_equal(shuffled, result, check_exact=True)


def test_the_second_pick_goes_by_the_weights_of_the_tasks_that_are_left():
    low, high = [0.10, 0.11, 0.10, 0.11], [0.9, 0.91, 0.9, 0.91]
    served = {"first": "abc", "of two": "uw", "of v": "v", "bad": "", "poor": ""}
    rows = table({task: {name: high if task in tasks else low for name, tasks in served.items()} for task in "abcuvw"})
    assert order(rows, k=2) == ["first", "of two"]
    assert order(rows, {"u": 0.4, "w": 0.4}, k=2) == ["first", "of v"]


def test_the_second_pick_serves_the_tasks_that_the_first_does_not():
    low = [0.10, 0.11, 0.10, 0.11]
    scores = {f"t{n}": {"wide": [0.9] * 4, "next": [0.89] * 4, "odd": low, "bad": low, "poor": low} for n in range(4)}
    scores["u"] = {"wide": low, "next": low, "odd": [0.8] * 4, "bad": low, "poor": low}
    result = lrs.rank(table(scores))
    assert result["candidate"].tolist()[:2] == ["wide", "odd"]
    scores_of = result.set_index("candidate")["score"]
    assert scores_of["next"] > scores_of["odd"]


def test_regrets_follow_their_formula():
    rows = table({"t": {"a": [10.0, 12.0], "b": [9.0, 9.0], "c": [7.0, 1.0], "d": [0.0, -9.0]}})
    noise = math.sqrt((2 + 0) / 2)
    assert regret_of(rows, "a", "t") == 0
    assert regret_of(rows, "b", "t") == pytest.approx(2 / noise)
    assert regret_of(rows, "c", "t") == pytest.approx((11 - 6.5) / noise), "lost: no better than the median"
    assert regret_of(rows, "d", "t") == regret_of(rows, "c", "t")


def test_without_repeated_seeds_the_median_is_20_noises_behind_the_best():
    rows = table({"t": {"a": 1.0, "b": 0.9, "c": 0.8, "d": 0.5, "e": 0.0}})
    assert [regret_of(rows, name, "t") for name in "abcde"] == pytest.approx([0, 10, 20, 20, 20])
    most_tie = table({"t": {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.5, "e": 0.0}})
    assert [regret_of(most_tie, name, "t") for name in "abcde"] == pytest.approx([0, 0, 0, 10, 20])


def test_scores_follow_their_formula():
    rows = table({"t": {"a": 1.0, "b": 0.9, "c": 0.8, "d": 0.5, "e": 0.0}, "u": {"a": 1.0, "b": 0.0}})
    usual = (0 + 10 + 20 + 20 + 20 + 0 + 20) / 7
    result = lrs.rank(rows)
    assert of(result, "a")["score"] == pytest.approx(-(0 + usual) / (0.5 + 0.5 + 1))
    assert of(result, "b")["score"] == pytest.approx(-(0.5 * 10 + 0.5 * 20 + usual) / (0.5 + 0.5 + 1))
    assert of(result, "e")["score"] == pytest.approx(-(0.5 * 20 + usual) / (0.5 + 1))
    assert of(result, "a")[["tasks", "seeds"]].tolist() == [2, 2]


def test_a_diverged_seed_counts_as_the_worst_of_its_task():
    def scores(lost):
        return table({"t": {"a": [0.9, lost], "b": 0.85, "c": 0.5, "d": 0.4, "e": 0.3, "f": 0.1}})

    told = regret_of(scores(math.nan), "a", "t")
    assert told == pytest.approx((0.85 - 0.5) / ((0.85 - 0.45) / 20))
    assert told == regret_of(table({"t": {"a": 0.5, "b": 0.85, "c": 0.5, "d": 0.4, "e": 0.3, "f": 0.1}}), "a", "t")
    assert of(lrs.rank(scores(math.nan)), "a")["seeds"] == 2


def test_whoever_was_seen_once_is_not_sure_to_be_good():
    often = {f"t{n}": {"often": 0.9, "x": 0.5, "y": 0.4, "z": 0.3} for n in range(5)}
    often["t0"]["once"] = 0.9
    result = lrs.rank(table(often))
    assert result["candidate"].iloc[0] == "often"
    assert of(result, "once")["score"] < of(result, "often")["score"]
    width = result.set_index("candidate").eval("high - low")
    assert width["once"] > 1.5 * width["often"]


def test_more_seeds_shrink_less():
    def score_of_a(seeds):
        return of(lrs.rank(table({"t": {"a": [0.9] * seeds, "b": [0.5] * 4, "c": [0.1] * 4}})), "a")["score"]

    assert score_of_a(1) < score_of_a(3) < score_of_a(9) < 0


def test_differences_within_the_noise_are_ties_and_large_ones_are_not():
    rng = np.random.default_rng(1)
    level = {"a": 0.9, "b": 0.899, "c": 0.6, "d": 0.5, "e": 0.4}
    result = lrs.rank(
        table({f"t{n}": {name: list(rng.normal(mean, 0.02, 5)) for name, mean in level.items()} for n in range(8)})
    )
    group = result.set_index("candidate")["tie_group"]
    assert group["a"] == group["b"] == 1
    assert min(group["c"], group["d"], group["e"]) > 1


def test_one_task_tells_nothing_apart_for_sure():
    result = lrs.rank(table({"t": {"a": 0.9, "b": 0.8, "c": 0.5, "d": 0.4}}))
    assert (result["high"] - result["low"] > 5).all()
    assert set(result["tie_group"]) == {1}


def test_only_the_longest_horizon_of_a_candidate_counts_and_a_shorter_one_is_worth_less():
    long, short = {"a": 0.9, "b": 0.8, "c": 0.7}, {"a": 0.1, "b": 0.5, "c": 0.6, "d": 0.9, "e": 0.3}
    rows = pd.concat([table({"t": long}, horizon=400), table({"t": short}, horizon=100)])
    known = regrets(rows)
    assert known.candidates == ("a", "b", "c", "d", "e")
    assert known.reliability[:, 0] == pytest.approx([0.5, 0.5, 0.5, 0.35, 0.35])
    assert known.regret[0, 0] == 0
    assert known.regret[3, 0] == 0
    sixteenth = regrets(rows.replace({"horizon": {100: 25}}))
    assert sixteenth.reliability[3, 0] == pytest.approx(0.5 * 0.49)


def test_without_seeds_at_the_full_horizon_the_widest_noise_of_the_task_counts():
    """Two survivors at full length say nothing about noise, the many of the shorter rung do."""
    short = {name: 0.8 - 0.1 * at for at, name in enumerate("abcdefg")}
    rows = pd.concat([table({"t": {"a": 0.90, "b": 0.89}}, horizon=400), table({"t": short}, horizon=100)])
    assert regret_of(rows, "b", "t") == pytest.approx(0.005 / (0.3 / 20))


def test_a_task_on_which_nothing_ended_well_says_nothing():
    rows = table({"t": {"a": 0.9, "b": 0.8, "c": 0.1}, "lost": {"a": math.nan, "z": math.nan}})
    result = lrs.rank(rows)
    assert of(result, "a")["tasks"] == 1
    assert of(result, "z")[["tasks", "seeds"]].tolist() == [0, 0]
    assert of(result, "z")["score"] == pytest.approx(-20 * 2 / 3), "as is usual"


@pytest.mark.parametrize("score", [0.5, 0.1 + 0.2, 1e99, -3.0, 0.0])
def test_where_all_score_alike_all_tie_at_the_best(score):
    result = lrs.rank(table({"t": {"a": score, "b": [score] * 3, "c": score}, "u": {"a": score, "c": score}}))
    assert result["score"].tolist() == [0, 0, 0]
    assert result["tie_group"].tolist() == [1, 1, 1]


def test_a_single_run_can_be_ranked():
    result = lrs.rank(table({"t": {"a": 0.5}}))
    assert result[["candidate", "tasks", "seeds", "tie_group"]].to_numpy().tolist() == [["a", 1, 1, 1]]


def test_equal_rows_count_once_and_other_columns_are_ignored():
    rows = table({"t": {"a": [0.9, math.nan], "b": 0.8, "c": 0.1}})
    pd.testing.assert_frame_equal(lrs.rank(pd.concat([rows, rows]).assign(note="x")), lrs.rank(rows))


def test_candidates_may_be_policies():
    policies = [lrs.FIX(k0=0.1), lrs.TRI(k0=0.1, k1=0.5, l=10)]
    assert order(table({"t": dict(zip(policies, (0.1, 0.9), strict=True))})) == policies[::-1]


GOOD = table({"t": {"a": 0.9, "b": 0.8}, "u": {"a": 0.7, "b": 0.9}})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("t", "a", 0, 1.0, 1)], "must be a pandas DataFrame, got list"),
        (GOOD.drop(columns=["seed", "score"]), "must have these columns.*look at seed, score"),
        (pd.concat([GOOD, GOOD[["score"]]], axis=1), "each once.*look at score"),
        (GOOD.head(0), "the table is empty"),
        (GOOD.assign(score="0.5"), "'score' must hold numbers"),
        (GOOD.assign(score=True), "'score' must hold numbers, it holds bool"),
        (GOOD.assign(score=1j), "'score' must hold numbers, it holds complex"),
        (GOOD.assign(score=[0.1, 0.2, math.inf, 0.3]), "a score is infinite"),
        (GOOD.assign(score=[0.1, 0.2, -1e200, 0.3]), "beyond 1e[+]100"),
        (GOOD.assign(score=math.nan), "no run ended well"),
        (GOOD.assign(horizon=[1, 1, 0, 1]), "a horizon is missing, infinite or not above 0"),
        (GOOD.assign(horizon=[1, 1, math.nan, 1]), "a horizon is missing, infinite or not above 0"),
        (GOOD.assign(horizon="long"), "'horizon' must hold numbers"),
        (GOOD.assign(candidate=["a", None, "a", "b"]), "'candidate' has rows without a value"),
        (GOOD.assign(task=[["t"]] * 4), "'task' must hold names"),
        (pd.concat([GOOD, GOOD.assign(score=0.1)]), "two scores of one run: a on t with seed 0, 4 such"),
    ],
)
def test_a_table_that_cannot_be_ranked_is_refused_in_words(rows, said):
    with pytest.raises(UsageError, match=said):
        lrs.rank(rows)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"v": 1}, "no task 'v'"),
        ({"t": -1}, "the weight of t must be a number, 0 or more, got -1"),
        ({"t": math.nan}, "the weight of t"),
        ({"t": math.inf}, "the weight of t"),
        ({"t": "1"}, "the weight of t"),
        ({"t": True}, "the weight of t"),
        ({"t": 0, "u": 0}, "no run ended well on a task of a weight above 0"),
    ],
)
def test_weights_that_cannot_be_are_refused_in_words(weights, said):
    with pytest.raises(UsageError, match=said):
        lrs.rank(GOOD, weights)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_k_is_a_whole_number_from_1(k):
    with pytest.raises(UsageError, match="k must be a whole number, 1 or more"):
        lrs.rank(GOOD, k=k)


def test_weights_move_the_first_pick():
    assert order(GOOD, {"t": 5}, k=1) == ["a"]
    assert order(GOOD, {"u": 5}, k=1) == ["b"]
    assert order(GOOD, {"t": np.float64(0.5)}, k=1) == ["b"]


def test_one_of_all_is_the_best_and_the_clearly_better_is_it_more_often():
    scores = {f"t{n}": {"good": [0.9, 0.91], "fair": [0.89, 0.90], "bad": [0.1, 0.1]} for n in range(4)}
    result = lrs.rank(table(scores)).set_index("candidate")["p_best"]
    assert result.sum() == pytest.approx(1)
    assert result["good"] > result["fair"] > result["bad"]
    assert lrs.rank(table({"a": {"x": 1.0}}))["p_best"].tolist() == [1.0]
