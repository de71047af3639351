"""The replay on tables whose truth is known, and on the real one where it is at hand."""

import json

import numpy as np
import pytest

from lrsearch.api import replay as replay_table
from lrsearch.compare.figures import FIGURES, Figure, conclude
from lrsearch.compare.replay import RIGHT, WRONG, Paid, Replayed, pay, portfolio, probe, replay
from lrsearch.compare.searches import declared
from lrsearch.errors import UsageError


def test_probes_are_one_epoch_each_of_one_seed_and_counted(make_table):
    study = probe(make_table(best=-2.0), seed=0)
    assert study.cost == len(study.evidence.probes) / 100
    assert {one.seed for one in study.evidence.probes} == {0}
    assert len({one.lr for one in study.evidence.probes}) == len(study.evidence.probes)
    assert study.evidence.probe_steps == study.table.epoch
    best = min(study.evidence.probes, key=lambda one: one.loss)
    assert best.loss == study.table.error(best.lr, 1)


@pytest.mark.parametrize("seed", [0, 3, 10, 17])
def test_the_probes_find_the_best_of_one_epoch_and_the_forecast_that_of_the_run(make_table, seed):
    study = probe(make_table(best=-2.0, shift=0.5), seed)
    assert np.log10(study.optimum / study.unit) == pytest.approx(-1.5, abs=0.2)
    assert study.pruned().forecast.log10_lr - np.log10(study.unit) == pytest.approx(-2.0, abs=0.2)


def test_costs_count_probes_and_diverged_runs_in_full_or_as_far_as_they_ran(make_table):
    study = probe(make_table(best=-2.0), seed=0)
    paid = pay("grid", study, declared(study.table.lrs), probed=0.25)
    good = study.table.lrs.index(study.table.best)
    above = study.table.lrs[good + 1 :]
    lost = [lr for lr in above if study.table.final(lr) == 0]
    assert len(lost) > 5
    assert (paid.runs, paid.reached) == (len(above) + 1, True)
    assert paid.cost == 0.25 + paid.runs
    assert paid.stopped == pytest.approx(paid.cost - 0.97 * len(lost))


def test_a_search_that_never_gets_there_costs_all_its_runs(make_table):
    study = probe(make_table(best=-2.0), seed=0)
    paid = pay("stubborn", study, lambda tried: 1e-5)
    assert (paid.cost, paid.reached) == (100, False)


def test_on_tables_that_follow_the_law_the_range_covers_and_the_search_is_short(make_tables):
    found = conclude("made", replay(make_tables(shift=0.5), seeds=4))
    figures = {figure.name: figure for figure in found.figures}
    assert figures["coverage"].value == 1
    assert figures["log_volume_cut"].value > 0.65
    assert figures["fre_mean"].value < 2
    assert figures["ratio_grid"].value < 0.2
    assert figures["wrong_store_flagged"].value == 1
    assert figures["right_store_flagged"].value == 0
    assert figures["wrong_store_ratio"].value < 1.5


def test_on_tables_against_the_law_the_figures_say_so(make_tables):
    """The best of one epoch lies two decades above the best of the run: the law foretells half a decade."""
    found = conclude("made", replay(make_tables(shift=2.0), seeds=2))
    figures = {figure.name: figure for figure in found.figures}
    assert figures["coverage"].value < 0.5
    assert figures["coverage"].is_met is False
    assert figures["fre_mean"].value > 2
    assert all(one.reached for study in found.studies for one in study.paid if one.strategy == "pruned")


def test_a_replay_repeats_and_does_not_depend_on_the_order_of_tables(make_tables):
    tables = make_tables()
    first = replay(tables, seeds=2)
    assert replay(tables, seeds=2) == first
    again = replay(tables[::-1], seeds=2)
    assert {(s.problem, s.optimizer, s.seed): s for s in again} == {(s.problem, s.optimizer, s.seed): s for s in first}


def test_a_store_never_holds_the_problem_that_is_searched(make_table):
    """Another optimizer's results on the same problem change nothing; those on another problem do."""

    def searched(beside, elsewhere):
        held = [
            make_table("p0", "sgd", shift=1.2),
            make_table("p0", "adam", shift=beside),
            make_table("p1", "sgd", shift=elsewhere),
        ]
        return replay(held, seeds=1)[0]

    assert searched(1.2, 0.0) == searched(0.0, 0.0)
    assert searched(1.2, 0.0) != searched(1.2, 1.2)


def test_a_portfolio_is_relative_to_the_probes_and_its_first_serves_most(make_tables):
    known = [probe(table, 0) for table in make_tables(shift=0.5)]
    first, *rest = portfolio(known)
    assert len(rest) <= 1
    for study in known:
        (lr,) = study.transferred([first])
        assert np.log10(lr / study.table.best) == pytest.approx(0, abs=0.35)


def test_a_portfolio_s_second_serves_those_that_its_first_does_not(make_table):
    shifts = (0.4, 0.4, 0.4, 1.6)
    known = [probe(make_table(f"p{n}", best=-3.0, shift=shift), 0) for n, shift in enumerate(shifts)]
    served = [
        [study.table.final(study.transferred([one])[0]) >= study.table.target - 0.1 for study in known]
        for one in portfolio(known)
    ]
    assert served == [[True, True, True, False], [False, False, False, True]]


def paid(strategy: str, cost: float) -> Paid:
    return Paid(strategy, round(cost), cost, cost - 0.5, True)


def studies_of(*rows: tuple[str, float, float]) -> list[Replayed]:
    """Studies of (problem, cost of the pruned search, cost of all others)."""
    others = ("TPE", "grid", f"pruned, {RIGHT}", f"pruned, {WRONG}")
    return [
        Replayed(
            problem,
            "sgd",
            seed,
            0.1,
            1.0,
            True,
            True,
            0.7,
            (WRONG,),
            (paid("pruned", own), *(paid(name, other) for name in others)),
        )
        for seed, (problem, own, other) in enumerate(rows)
    ]


def test_figures_are_means_over_studies_and_ratios_of_means():
    found = {f.name: f for f in conclude("t", studies_of(("a", 1, 4), ("a", 3, 4), ("b", 2, 10))).figures}
    assert found["fre_mean"].value == 2
    assert found["ratio_tpe"].value == pytest.approx(2 / 6)
    assert found["fre_p90"].value == pytest.approx(2.8)
    assert found["wrong_store_flagged"].value == 1
    assert found["right_store_flagged"].value == 0
    assert found["ratio_tpe_if_stopped"].value == pytest.approx(1.5 / 5.5)
    assert {f.n for f in found.values()} == {3}
    assert set(found) == set(FIGURES)


def test_intervals_are_over_problems_not_over_studies():
    many = {f.name: f for f in conclude("t", studies_of(*[("a", 1, 4)] * 50, *[("b", 3, 4)] * 50)).figures}["fre_mean"]
    assert (many.low, many.value, many.high) == (1, 2, 3)
    alone = {f.name: f for f in conclude("t", studies_of(("a", 1, 4), ("a", 3, 4))).figures}["fre_mean"]
    assert (alone.low, alone.high) == (2, 2)


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [(">= 0.95", 0.95, True), (">= 0.95", 0.949, False), ("<= 2", 2.0, True), ("<= 2", 2.01, False), (None, 1.0, None)],
)
def test_a_bar_is_met_or_not(bar, value, met):
    assert Figure("f", value, 3, 0.0, 1.0, bar).is_met is met


def test_a_replay_needs_a_seed(tmp_path):
    with pytest.raises(UsageError, match="1 seed or more"):
        replay_table("deepobs", tmp_path, seeds=0)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("compare",), 2, "one of the two"),
        (("compare", "digits-mlp", "--table", "deepobs"), 2, "one of the two"),
        (("compare", "--table", "deepobs"), 2, "--data-dir"),
        (("compare", "--table", "x", "--data-dir", "."), 2, "no table"),
        (("compare", "--table", "deepobs", "--data-dir", "."), 1, "no runs.csv.gz in"),
    ],
)
def test_what_cannot_be_replayed_is_one_clear_line(words, code, told, typed):
    ended = typed(*words)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1)
    assert told in ended.err


@pytest.mark.data
@pytest.mark.slow
def test_the_real_table_gives_the_figures_that_are_promised(data_dir, lrsearch):
    words = ("compare", "--table", "deepobs", "--data-dir", str(data_dir))
    told = lrsearch(*words, "--seeds", "1")
    assert told.code == 0, told.err
    assert "fre_mean" in told.out
    result = lrsearch(*words, "--json").json
    assert (result["tasks"], result["problems"], result["seeds"]) == (15, 5, 20)
    assert json.loads(json.dumps(result)) == result
    for name, figure in result["figures"].items():
        assert figure["n"] == 300
        assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
        assert figure["met"] is not False, (name, figure)
