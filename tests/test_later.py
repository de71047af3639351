"""Older names still work, and warn at the line that uses them."""

from dataclasses import replace

import optuna
import pytest

import lrsearch as lrs
from lrsearch.cli.main import present_options
from lrsearch.heuristics.advice import Suggestion
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.rescaling import Correction
from lrsearch.runs import Run, RunState
from lrsearch.study.recipe import Recipe

SUGGESTED = Suggestion("optimum", 0.1, 0.05, 0.2, "peak", "lrsearch")
RUN = Run(state=RunState.FINISHED, steps=2, seconds=0.1, lrs=(0.1, 0.2))
RECOMMENDED = Recommendation(
    lrs.FIX(k0=0.1), "t", 0.1, 0.9, 1, 0.0, 0.2, 100, corrections=(Correction("momentum", 0.0, 0.4),)
)
RECIPE = Recipe(None, "chosen", None, None, (), 0.5, 0.75, 1.0)


def test_what_a_store_recommends_is_asked_of_lrs():
    with lrs.open_store("sqlite:///:memory:") as store:
        with pytest.warns(DeprecationWarning, match=r"store.recommend\(task\) is lrs.recommend now"):
            older = store.recommend("mnist-lenet", k=1)
        assert older == lrs.recommend("mnist-lenet", store, k=1) != []


@pytest.mark.parametrize(
    ("use", "present"),
    [
        (lambda: SUGGESTED.rate, SUGGESTED.lr),
        (lambda: RUN.rates, RUN.lrs),
        (lambda: RECOMMENDED.carried(200, own_centre=0.4), RECOMMENDED.transferred(200, own_optimum=0.4)),
        (lambda: RECOMMENDED.doubt(own_centre=None), RECOMMENDED.uncertainty(own_optimum=None)),
        (lambda: RECIPE.found, RECIPE.chosen),
        (lambda: RECIPE.plain, RECIPE.baseline),
    ],
    ids=["rate", "rates", "carried", "doubt", "found", "plain"],
)
def test_an_older_name_is_the_present_one_and_warns_here(use, present):
    with pytest.warns(DeprecationWarning, match="the older name goes in") as said:
        assert use() == present
    assert [one.filename for one in said] == [__file__]


def test_a_range_test_of_ones_own_has_the_older_keyword_too():
    space = lrs.Space.standard("FIX", horizon=1000, epoch=54)
    moved = replace(RECOMMENDED, policy=lrs.FIX(k0=0.01), horizon=1000)
    tried = []
    for keyword in ("optimum", "centre"):
        study = optuna.create_study()
        if keyword == "centre":
            with pytest.warns(DeprecationWarning, match=r"warm_start\(optimum=...\)"):
                lrs.warm_start(study, space, [moved], centre=0.4)
        else:
            lrs.warm_start(study, space, [moved], optimum=0.4)
        tried.append(str(space.suggest(study.ask())))
    assert tried[0] == tried[1] != str(moved.policy)


def test_an_older_option_is_read_as_the_present_one_and_a_line_says_so(capsys):
    read = present_options(["search", "t", "--storage", "a.db", "--storage=b.db", "--known", "x", "--", "--storage"])
    assert read == ["search", "t", "--optuna", "a.db", "--optuna=b.db", "--known", "x", "--", "--storage"]
    assert capsys.readouterr().err.count("--storage is --optuna now") == 2
