"""Comparing strategies: the same budget for all, everything counted, and the same answer again."""

import os
import subprocess
import sys

import pytest

from lrsearch.compare.comparison import Comparison, Course


def course(strategy, seed, *points):
    return Course(strategy, seed, points, points[-1][0])


def test_the_target_is_what_all_reach_on_average_and_costs_are_told_to_it():
    comparison = Comparison("t", 4.0, (
        course("funnel", 0, (1.5, 0.90), (3.9, 0.95)), course("funnel", 1, (1.5, 0.94), (3.8, 0.94)),
        course("random", 0, (1.0, 0.50), (2.0, 0.91), (4.0, 0.93)), course("random", 1, (1.0, 0.60), (4.0, 0.89)),
    ))
    assert comparison.target == pytest.approx(0.91)
    funnel, random = comparison.rows()
    assert (funnel["reached"], funnel["cost_to_target"]) == (2, pytest.approx((3.9 + 1.5) / 2))
    assert (random["reached"], random["cost_to_target"]) == (1, 2.0)
    assert random["spread"] == pytest.approx(0.0282842712)


@pytest.mark.slow
def test_a_comparison_runs_and_the_same_command_again_trains_nothing(lrsearch, tmp_path):
    words = ("compare", "digits-mlp", "--strategies", "funnel,tpe,random", "--seeds", "1", "--budget", "3",
             "--horizon", "320", "--out", str(tmp_path), "--json")
    first = lrsearch(*words)
    assert first.code == 0, first.err
    result = first.json
    assert [row["strategy"] for row in result["strategies"]] == ["funnel", "tpe", "random"]
    assert all(0 < row["cost"] <= 3 for row in result["strategies"])
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
        [sys.executable, "-m", "lrsearch", "compare", "digits-mlp", "--strategies", "random", "--seeds", "1",
         "--budget", "1", "--horizon", "100", "--out", str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    assert "random" in told.stdout
    assert "comparison.png" in told.stdout
