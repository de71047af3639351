"""The funnel in a world that answers at once: its trials, its promotions, its cost."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from lrsearch.errors import BudgetError, UsageError, WorkError
from lrsearch.report.figures import draw_search
from lrsearch.runs import Run, RunState
from lrsearch.samplers.optuna import OptunaSampler
from lrsearch.spaces import Space
from lrsearch.store import open_store
from lrsearch.study.funnel import Funnel, is_widened, plan
from lrsearch.study.probing import gather, probe_steps
from lrsearch.study.result import conclude
from lrsearch.study.rules import FUNNEL
from lrsearch.study.strategy import Setup, committed, with_role
from lrsearch.study.study import Study


def finish(study, world):
    """Train what a study asks for, one after the other."""
    while trial := study.ask():
        study.tell(trial, world.train(trial.spec(study.setup.task)))
    return study


def finish_in_any_order(study, world, workers, rng):
    """Keep several runs in flight, and end them in random order."""
    flying = []
    while True:
        while len(flying) < workers and (trial := study.ask()):
            flying.append(trial)
        if not flying:
            return study
        done = flying.pop(rng.randrange(len(flying)))
        study.tell(done, world.train(done.spec(study.setup.task)))


@pytest.mark.parametrize("budget", [1.5, 2, 2.5, 3, 3.3, 4, 5, 6.7, 8, 12, 20, 50])
def test_nothing_costs_more_than_the_budget(open_study, world, budget):
    study = finish(open_study(budget), world())
    assert committed(study.history) <= budget * study.setup.task.horizon
    assert study.is_done


@pytest.mark.parametrize("budget", [4, 8, 12, 20])
def test_most_of_a_sensible_budget_is_used(open_study, world, budget):
    study = finish(open_study(budget), world())
    assert committed(study.history) > (budget - 2) * study.setup.task.horizon


def test_a_plan_never_promises_more_than_is_left(task, open_study):
    raw = open_study().setup.raw
    for tenths in range(12, 400):
        setup = Setup(task, raw, tenths / 10, 0)
        planned = plan(setup, 600)
        cost = sum(count * horizon for count, horizon in zip(planned.counts, planned.horizons, strict=True))
        assert cost <= max(0, setup.cap - 600 - task.horizon)
        assert planned.counts == tuple(sorted(planned.counts, reverse=True))


def test_the_default_is_always_trained_at_full_length(open_study, world):
    for budget in (1.5, 4, 12):
        study = finish(open_study(budget), world())
        (default,) = with_role(study.history, "default")
        assert default.horizon == study.setup.task.horizon
        assert default.policy.form == "WARMUP(HALFCOS)"


def test_probes_take_at_most_a_fifth_of_the_budget(open_study, world):
    for budget in (4, 8, 12):
        study = finish(open_study(budget), world())
        probes = [*with_role(study.history, "range-test"), *with_role(study.history, "decade")]
        assert 0 < committed(probes) <= 0.2 * budget * study.setup.task.horizon


def test_short_runs_are_whole_runs_of_the_stretched_policy(open_study, world):
    study = finish(open_study(12), world())
    short = [t for t in with_role(study.history, "candidate") if t.horizon < study.setup.task.horizon]
    assert len(short) > 20
    for trial in short:
        horizon = trial.horizon
        stretched = trial.policy.stretch(horizon / study.setup.task.horizon)
        assert trial.stored.policy == stretched
        assert trial.stored.horizon == horizon


def test_the_same_candidates_go_on_in_whatever_order_runs_end(study_in, world):
    def promoted(workers, seed):
        study = finish_in_any_order(study_in(f"{workers}.db"), world(), workers, random.Random(seed))
        asked = with_role(study.history, "candidate")
        return {h: {t.policy for t in asked if t.horizon == h} for h in (320, 1280)}

    alone = promoted(1, 0)
    assert len(alone[320]) >= 4
    for workers, seed in ((2, 1), (5, 2), (16, 3)):
        assert promoted(workers, seed) == alone


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_search_is_the_same_on_any_number_of_workers(tmp_path, task, world, kind):
    """Suggestions that learn from earlier runs included: they are made in batches, once the last one is known."""
    raw = Space.standard(horizon=task.horizon, epoch=task.epoch)

    def trained(workers, seed):
        def sampler(name, known):
            return OptunaSampler(name, None, 0, task.horizon, kind)

        study = Study(Setup(task, raw, 12, 0), Funnel(), open_store(str(tmp_path / f"{workers}.db")), sampler)
        history = finish_in_any_order(study, world(), workers, random.Random(seed)).history
        assert len(with_role(history, "candidate")) > 2 * FUNNEL.batch
        return sorted((t.role, str(t.policy), t.horizon, t.seed) for t in history)

    alone = trained(1, 0)
    for workers, seed in ((2, 1), (3, 2), (16, 3)):
        assert trained(workers, seed) == alone


@pytest.mark.parametrize("workers", [1, 4])
def test_where_range_tests_are_flat_the_defaults_peak_comes_from_constant_lrs(study_in, world, workers):
    class Flat(world):
        def _ramp(self, spec):
            return replace(super()._ramp(spec), train_losses=(spec.task.chance_loss,) * spec.horizon)

    study = finish_in_any_order(study_in("flat.db"), Flat(best=0.3, edge=30), workers, random.Random(0))
    default = with_role(study.history, "default")[0]
    peak = study.setup.raw.coordinates(default.policy)["peak"]
    pruned = study.strategy.pruned(study.setup, study.history)
    assert pruned.optimum is None
    assert pruned.refusal is None
    assert peak == pytest.approx((pruned.space.peak.low * pruned.space.peak.high) ** 0.5, rel=0.01)


def test_the_best_of_a_rung_go_on(open_study, world):
    study = finish(open_study(12), world())
    candidates = with_role(study.history, "candidate")
    horizons = sorted({t.horizon for t in candidates})
    for low, high in pairwise(horizons):
        short = [trial for trial in candidates if trial.horizon == low]
        below = sorted(short, key=lambda trial: trial.rank(study.setup.task.objective))
        above = {t.policy for t in candidates if t.horizon == high}
        assert {t.policy for t in below[: len(above)]} == above


def test_every_eighth_candidate_comes_from_outside(open_study, world):
    study = finish(open_study(12), world())
    first = [t for t in with_role(study.history, "candidate") if t.horizon == 80]
    exploration = [t for t in first if t.origin == "escape"]
    assert len(exploration) >= len(first) // 8 >= 3
    space = study.strategy.space(study.setup, study.history)
    assert all(t.policy not in space for t in exploration)


def test_a_win_from_outside_is_found_out_and_widens_the_search(open_study, world):
    """Probes that mislead: short constant runs like small rates, everything else only large ones."""
    liar, truth = world(best=1e-4, edge=1e-3), world(best=1.0, edge=10)

    class Misleading:
        def train(self, spec):
            return (liar if spec.policy.name in ("FIX", "RAMP") else truth).train(spec)

    studies = [finish(open_study(8, seed, ["SIN2", "TRI", "COS"]), Misleading()) for seed in range(6)]
    repaired = [study for study in studies if is_widened(study.history)]
    assert repaired
    more = []
    for study in repaired:
        first = [t for t in with_role(study.history, "candidate") if t.horizon == 80]
        more.append(Counter(t.origin for t in first)["escape"] - len(first) // 8)
        assert conclude(study).best.policy not in study.strategy.space(study.setup, study.history)
    assert max(more) > 2  # where the win came early, all later candidates came from outside as well


def test_confirming_runs_are_pairs_on_fresh_seeds(open_study, world):
    study = finish(open_study(12), world())
    used = {t.seed for t in study.history if t.role != "confirm"}
    confirming = with_role(study.history, "confirm")
    assert len(confirming) >= 4
    for first, second in zip(confirming[::2], confirming[1::2], strict=True):
        assert first.seed == second.seed not in used
        assert first.policy == with_role(study.history, "default")[0].policy
        assert second.policy != first.policy


def test_the_search_finds_the_best_peak(open_study, world):
    for best in (0.003, 0.03, 0.3):
        result = conclude(finish(open_study(12, functions=["HALFCOS"], seed=int(1000 * best)), world(best=best)))
        found = result.best.policy.coordinates(result.setup.task.horizon)["peak"]
        assert best / 4 < found < best * 4


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (0, "too small"),
        (-1, "too small"),
        (1, "range test"),
        (float("nan"), "number of full runs"),
        (float("inf"), "number of full runs"),
        (True, "number of full runs"),
    ],
)
def test_an_impossible_budget_is_refused_with_what_would_do(open_study, budget, says):
    with pytest.raises(BudgetError, match=says):
        open_study(budget)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5])
def test_an_impossible_seed_is_refused(task, open_study, seed):
    with pytest.raises(UsageError, match="seed"):
        Setup(task, open_study().setup.raw, 4, seed)


def test_a_failing_default_ends_the_search_with_its_reason(open_study, world):
    study, answers = open_study(4), world()
    with pytest.raises(WorkError, match="out of memory"):
        while trial := study.ask():
            spec = trial.spec(study.setup.task)
            broken = Run(state=RunState.FAILED, steps=3, seconds=0.0, error="RuntimeError: out of memory")
            study.tell(trial, broken if trial.role == "default" else answers.train(spec))


def test_a_failing_candidate_does_not_end_the_search(open_study, world):
    study, answers = open_study(8), world()
    broken = Run(state=RunState.FAILED, steps=0, seconds=0.0, error="ValueError: bad luck")
    failed = 0
    while trial := study.ask():
        fails = trial.role == "candidate" and trial.number % 3 == 0
        failed += fails
        study.tell(trial, broken if fails else answers.train(trial.spec(study.setup.task)))
    assert failed > 3
    assert conclude(study).best.score > 0.5


def test_a_task_on_which_everything_diverges_gives_the_raw_range_and_says_why(open_study, world, tmp_path):
    class Hopeless(world):
        def train(self, spec):
            return Run(state=RunState.DIVERGED, steps=1, seconds=0.0)

    result = conclude(finish(open_study(4), Hopeless()))
    assert "all-diverged" in result.pruned.refusal
    assert len(draw_search(result, tmp_path)) == 4
    assert result.best.score == 0.0
    assert result.pruned.space.peak == result.pruned.raw.peak


def test_the_funnel_goes_on_with_the_few_that_did_not_diverge(open_study, world):
    class Perilous(world):
        """All candidates but one diverge in short runs."""

        def train(self, spec):
            if spec.policy.form == "TRI" and spec.horizon < 1280 and "TRI(k0=0," not in str(spec.policy):
                return Run(state=RunState.DIVERGED, steps=1, seconds=0.0)
            return super().train(spec)

    study = finish(open_study(4, functions=["TRI"], seed=3), Perilous())
    first = [t for t in with_role(study.history, "candidate") if t.horizon == 80]
    survived = sum(t.run.score is not None for t in first)
    assert 0 < survived < len(first)
    assert [t for t in with_role(study.history, "candidate") if t.horizon == 1280]


def test_confirming_runs_that_diverge_count_as_zero_on_both_sides(open_study, world):
    class Fragile(world):
        def train(self, spec):
            if spec.seed >= 100 and spec.horizon == 1280 and spec.policy.form != "WARMUP(HALFCOS)":
                return Run(state=RunState.DIVERGED, steps=9, seconds=0.0)
            return super().train(spec)

    result = conclude(finish(open_study(12, functions=["SIN2"]), Fragile()))
    assert result.best == result.default
    assert result.best.seeds >= 2
    assert "no policy that was found beats it on 3 fresh seeds (-" in result.verdict


def test_probes_that_show_nothing_are_made_twice_as_long_and_twice_again(open_study, world):
    """A world where a constant rate makes no difference over a short run."""
    truth = world(edge=1e9, noise=0.0)

    class Flat:
        def train(self, spec):
            if spec.policy.name != "FIX":
                return truth.train(spec)
            return Run(state=RunState.FINISHED, steps=spec.horizon, seconds=0.0, score=0.5, loss=1.0)

    study = finish(open_study(40), Flat())
    base = probe_steps(study.setup.task)
    decades = with_role(study.history, "decade")
    assert {t.horizon for t in decades} == {base, 2 * base, 4 * base}
    assert gather(study.setup, study.history).probe_steps == 4 * base
    assert len({t.horizon for t in decades[-8:]}) == 1
    assert study.strategy.pruned(study.setup, study.history).refusal.startswith("flat")
    told = with_role(finish(open_study(40, seed=1), world()).history, "decade")
    assert {t.horizon for t in told} == {base}
