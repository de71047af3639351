"""Comparing strategies: the same budget for all, everything counted, and the same answer again."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from lrsearch.compare.comparison import Comparison, Course
from lrsearch.runs import maximize, minimize
from lrsearch.samplers.named import STARTUP
from lrsearch.samplers.optuna import OptunaSampler
from lrsearch.spaces import Space
from lrsearch.store import Trial
from lrsearch.tasks import find_task


@pytest.fixture
def task():
    return find_task("digits-mlp")


def course(strategy, seed, *points):
    return Course(strategy, seed, points, points[-1][0])


def test_the_target_is_what_all_reach_on_average_and_costs_are_told_to_it():
    comparison = Comparison(
        "t",
        4.0,
        (
            course("funnel", 0, (1.5, 0.90), (3.9, 0.95)),
            course("funnel", 1, (1.5, 0.94), (3.8, 0.94)),
            course("random", 0, (1.0, 0.50), (2.0, 0.91), (4.0, 0.93)),
            course("random", 1, (1.0, 0.60), (4.0, 0.89)),
        ),
    )
    assert comparison.target == pytest.approx(0.91)
    funnel, random = comparison.rows()
    assert (funnel["reached"], funnel["cost_to_target"]) == (2, pytest.approx((3.9 + 1.5) / 2))
    assert (random["reached"], random["cost_to_target"]) == (1, 2.0)
    assert random["spread"] == pytest.approx(0.0282842712)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_target_of_a_loss_is_the_highest_mean_and_is_reached_from_above(sign):
    objective = minimize("x") if sign == 1 else maximize("x")

    def losses(strategy, seed, *points):
        return Course(strategy, seed, tuple((cost, sign * loss) for cost, loss in points), 4.0, 0, objective)

    comparison = Comparison(
        "t",
        4.0,
        (
            losses("funnel", 0, (1.5, 2.5), (3.9, 1.5)),
            losses("funnel", 1, (1.5, 2.0), (3.8, 1.75)),
            losses("random", 0, (1.0, 9.0), (2.0, 2.5), (4.0, 2.25)),
            losses("random", 1, (4.0, 2.25)),
            losses("tpe", 0),
        ),
    )
    assert comparison.target == sign * 2.25
    funnel, random, tpe = comparison.rows()
    assert (funnel["best"], funnel["reached"], funnel["cost_to_target"]) == (sign * 1.625, 2, (3.9 + 1.5) / 2)
    assert (random["reached"], random["cost_to_target"]) == (2, 4.0)
    assert (tpe["best"], tpe["spread"], tpe["reached"], tpe["cost_to_target"]) == (None, None, 0, None)
    assert Comparison("t", 4.0, (losses("tpe", 0),)).target is None
    assert comparison.to_json()["objective"] == objective.to_json()


def test_a_study_of_a_share_in_which_nothing_finished_has_0():
    none = Course("tpe", 0, (), 4.0, 4, maximize("top1", samples=384))
    assert none.best == 0.0
    assert Comparison("t", 4.0, (none,)).target == 0.0


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ((4, 4), "With 4 full runs TPE still draws at random"),
        ((10, 9), "With 10 full runs"),
        ((1, 1), "With 1 full run TPE"),
        ((11, 10), None),
        ((0, 0), None),
    ],
)
def test_where_tpe_has_not_begun_to_learn_the_comparison_says_so(runs, says):
    courses = tuple(replace(course("tpe", seed, (1.0, 0.5)), runs=n) for seed, n in enumerate(runs))
    warning = Comparison("t", 4.0, (*courses, course("random", 0, (1.0, 0.5)))).warning
    assert warning is None if says is None else warning.startswith(says)
    assert Comparison("t", 4.0, (replace(course("random", 0, (1.0, 0.5)), runs=4),)).warning is None


def test_tpe_is_random_search_for_as_many_trials_as_are_said(task, world):
    """And differs from the next one on."""

    def suggested(kind):
        sampler, space = OptunaSampler("s", None, 3, task.horizon, kind), Space.standard(horizon=task.horizon, epoch=32)
        for number in range(STARTUP + 1):
            asked = Trial(number, "candidate", "suggested", sampler.suggest(number, space), task.horizon, 0)
            sampler.add(asked, space)
            sampler.tell(asked, world().train(asked.spec(task)))
            yield asked.policy

    tpe, random = list(suggested("tpe")), list(suggested("random"))
    assert tpe[:STARTUP] == random[:STARTUP]
    assert tpe[STARTUP] != random[STARTUP]


@pytest.mark.slow
def test_a_comparison_runs_and_the_same_command_again_trains_nothing(lrsearch, tmp_path):
    words = (
        "compare",
        "digits-mlp",
        "--strategies",
        "funnel,tpe,random",
        "--seeds",
        "1",
        "--budget",
        "3",
        "--horizon",
        "320",
        "--out",
        str(tmp_path),
        "--json",
    )
    first = lrsearch(*words)
    assert first.code == 0, first.err
    result = first.json
    assert [row["strategy"] for row in result["strategies"]] == ["funnel", "tpe", "random"]
    assert all(0 < row["cost"] <= 3 for row in result["strategies"])
    assert result["caution"].startswith("With 3 full runs TPE still draws at random")
    assert {len(c["points"]) for c in result["courses"] if c["strategy"] != "funnel"} == {3}
    for one in result["courses"]:
        scores = [score for _, score in one["points"]]
        assert scores == sorted(scores)
    assert (tmp_path / "compare-digits-mlp" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    before = lrsearch("store", "runs", "--store", str(tmp_path / "store.db"), "--json").json
    assert lrsearch(*words).json == result
    assert lrsearch("store", "runs", "--store", str(tmp_path / "store.db"), "--json").json == before


def test_a_comparison_is_a_table_for_people(lrsearch, tmp_path):
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "lrsearch",
            "compare",
            "digits-mlp",
            "--strategies",
            "random",
            "--seeds",
            "1",
            "--budget",
            "1",
            "--horizon",
            "100",
            "--out",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert "random" in told.stdout
    assert "comparison.png" in told.stdout
