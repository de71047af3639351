"""Searching any metric in either direction: the law of the mirror, and what a loss's unit may not change."""

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrsearch.errors import TaskError
from lrsearch.runs import Objective, Point, Run, RunState, Task, maximize, minimize, objectives_of
from lrsearch.samplers.optuna import OptunaSampler
from lrsearch.schedules import FIX, HALFCOS, TRI, WARMUP
from lrsearch.spaces import Space
from lrsearch.store import StoredRun, Trial, open_store
from lrsearch.study.answers import stored_answers
from lrsearch.study.decision import decide
from lrsearch.study.final_test import best_runs, final_test
from lrsearch.study.front import front
from lrsearch.study.funnel import EXPLORE_EVERY, Funnel, exploration_won, plan
from lrsearch.study.noise import STUDENT, noise_of_repeats, tie_factor
from lrsearch.study.result import conclude
from lrsearch.study.strategy import Setup, best_so_far, with_role
from lrsearch.study.study import Study

LOSS, BLEU = minimize("val_loss", unit="nats"), maximize("bleu")


class Synthetic(Task):
    """A task whose level of guessing is known, so that its probes are read by the loss that they end with."""

    __slots__ = ()

    @property
    def chance_loss(self):
        return 2.0

    def level(self, run):
        return math.inf if run.loss is None else run.loss


class Surface:
    """Answers at once with a loss of (policy, horizon, seed): a bowl over log10 of the peak, with its own noise.

    The values are multiples of 2^-20: so adding whole numbers to them, or doubling them, is exact.
    """

    def __init__(self, best=0.03, edge=3.0, noise=0.02, value=lambda loss: loss):
        self.best, self.edge, self.noise, self.value = best, edge, noise, value

    def train(self, spec):
        rates = spec.policy.curve(spec.horizon)
        if spec.policy.name == "RAMP":
            falling = 2.0 * (1 - 0.8 / (1 + np.exp(-4 * np.log10(rates / self.best))))
            return Run(
                state=RunState.FINISHED,
                steps=spec.horizon,
                seconds=0.0,
                score=self.value(2.0),
                loss=2.0,
                train_losses=tuple(np.where(rates > self.edge, 200.0, falling).tolist()),
                stride=1,
            )
        peak = float(rates.max())
        if peak > self.edge:
            return Run(state=RunState.DIVERGED, steps=max(1, spec.horizon // 2), seconds=0.0)
        loss = self._loss(peak, float(rates[-1]), spec)
        return Run(
            state=RunState.FINISHED,
            steps=spec.horizon,
            seconds=0.0,
            score=self.value(loss),
            loss=loss,
            points=(Point(spec.horizon, None, self.value(loss)),),
        )

    def _loss(self, peak, last, spec):
        away = math.log10(peak / self.best) if peak > 0 else 9.0
        depth = 1.8 * (1 - 0.3 / math.sqrt(spec.horizon / 10)) * math.exp(-(away**2)) - 0.1 * last / max(peak, 1e-9)
        drawn = np.random.default_rng(zlib.crc32(f"{spec.policy}|{spec.horizon}|{spec.seed}".encode()))
        return round((2.0 - depth + drawn.normal(0, self.noise)) * 2**20) / 2**20


def synthetic(objective=LOSS, **given):
    return Synthetic(
        **{"name": "synthetic", "horizon": 640, "epoch": 40, "objectives": (objective,), "lr_range": (1e-5, 10.0)}
        | given
    )


def searched(task, surface, budget=10, seed=0, kind="tpe"):
    """Search a task with the real funnel, sampler and store, and answer its runs at once."""

    def sampler(name, known):
        return OptunaSampler(name, None, seed, task.horizon, kind, direction=task.objective.direction)

    raw = Space.standard(horizon=task.horizon, epoch=task.epoch, peak=task.lr_range)
    with open_store("sqlite://") as store:
        study = Study(Setup(task, raw, budget, seed), Funnel(), store, sampler, cold=True)
        while trial := study.ask():
            study.tell(trial, surface.train(trial.spec(task)))
        return conclude(study)


def asked(result):
    """What was asked for, trial by trial."""
    return [
        (one.role, one.origin, str(one.policy), one.horizon, one.seed) for one in (trial for trial in result.history)
    ]


def mirrored(score):
    return None if score is None else -score


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "surface",
    [{"best": 0.03}, {"best": 0.003, "noise": 0.1}, {"best": 0.3, "edge": 0.9, "noise": 0.005}],
    ids=["smooth", "noisy", "edged"],
)
def test_minimizing_a_loss_is_maximizing_its_negative_trial_by_trial(surface, seed):
    low = searched(synthetic(minimize("x")), Surface(**surface), seed=seed)
    high = searched(synthetic(maximize("x")), Surface(**surface, value=lambda loss: -loss), seed=seed)
    assert asked(low) == asked(high)
    assert len(with_role(low.history, "candidate")) > 20
    assert len(with_role(low.history, "confirm")) >= 4
    assert [t.run.score for t in low.history] == [mirrored(t.run.score) for t in high.history]
    assert low.best.policy == high.best.policy
    for one, other in ((low.best, high.best), (low.default, high.default), (low.best_found, high.best_found)):
        assert one.score == mirrored(other.score)
        assert (one.policy, one.spread, one.seeds, one.best_step) == (
            other.policy,
            other.spread,
            other.seeds,
            other.best_step,
        )
    assert low.decision.noise == high.decision.noise
    assert low.decision.margin == mirrored(high.decision.margin)
    told = [one.decision.objective.difference(one.decision.margin) for one in (low, high)]
    assert low.verdict == high.verdict.replace(told[1], told[0])
    assert best_so_far(low.history, 640, minimize("x")) == [
        (cost, -score) for cost, score in best_so_far(high.history, 640, maximize("x"))
    ]


def test_the_unit_of_a_loss_and_its_zero_change_nothing_that_is_trained_or_decided():
    plain, *others = (
        searched(synthetic(), Surface(noise=0.05, value=how), seed=3)
        for how in (lambda x: x, lambda x: x - 7, lambda x: 1024 * x + 512)
    )
    for other in others:
        assert asked(plain) == asked(other)
        assert (plain.best.policy, plain.decision.is_default) == (other.best.policy, other.decision.is_default)


def test_a_search_of_a_loss_finds_its_lowest_and_tells_it_without_percent():
    result = searched(synthetic(), Surface(best=0.01, noise=0.001), budget=10, seed=1)
    peak = result.best_found.policy.coordinates(640)["peak"]
    assert 0.0025 < peak < 0.04
    assert "%" not in result.verdict
    assert "points" not in result.verdict
    assert "nats, noise" in result.verdict
    assert result.best.score < 1.0
    told = result.to_json()
    assert told["objective"] == {"name": "val_loss", "direction": "minimize", "unit": "nats"}
    assert told["best"]["score"] == result.best.score


POLICIES = [WARMUP(policy=HALFCOS(k0=0.1, l=608), l=32), TRI(k0=0.01, k1=0.2, l=64), FIX(k0=0.05)]


def trials_of(objective, *runs):
    """Trials of full runs: (role, policy's number, seed, score or None where it diverged)."""
    task, made = synthetic(objective), []
    for number, (role, place, seed, score) in enumerate(runs):
        state = RunState.DIVERGED if score is None else RunState.FINISHED
        run = Run(state=state, steps=640, seconds=0.0, score=score)
        trial = Trial(number, role, "suggested", POLICIES[place], 640, seed)
        spec = trial.spec(task)
        stored = StoredRun(spec.key, task.name, task.key, spec.policy, 640, seed, "local", run, 0)
        made.append(replace(trial, stored=stored))
    return made


def history_of(objective, default, candidate, pairs=()):
    confirmed = [
        run
        for seed, (one, other) in enumerate(pairs, 100)
        for run in (("confirm", 0, seed, one), ("confirm", 1, seed, other))
    ]
    return trials_of(objective, ("default", 0, 0, default), ("candidate", 1, 0, candidate), *confirmed)


@pytest.mark.parametrize(
    ("default", "candidate", "pairs", "is_default", "says"),
    [
        (
            2.5,
            2.1,
            (),
            True,
            "Use the default, WARMUP(policy=HALFCOS(k0=0.1, l=608), l=32), not confirmed on fresh seeds:"
            " no policy that was found is known to beat it on the search's own seed (-0.4 nats; the noise is unknown"
            " with one seed).",
        ),
        (
            2.5,
            2.1,
            ((2.5, 2.0),),
            True,
            "is known to beat it on 1 fresh seed (-0.5 nats; the noise is unknown with one",
        ),
        (
            2.5,
            2.1,
            ((2.5, 2.0), (2.51, 2.01)),
            False,
            "Use TRI(k0=0.01, k1=0.2, l=64): it beats the default on 2 fresh seeds (-0.5 nats, noise 0.0062).",
        ),
        (
            2.5,
            2.1,
            ((2.5, 2.4), (2.4, 2.5)),
            True,
            "no policy that was found beats it on 2 fresh seeds (+0 nats, noise",
        ),
        (2.5, 2.1, ((2.0, 2.5), (2.01, 2.51)), True, "beats it on 2 fresh seeds (+0.5 nats, noise 0.23: a tie)"),
        (2.0, 2.1, ((2.0, 2.5), (2.01, 2.51)), True, "beats it on 2 fresh seeds (+0.5 nats, noise 0.0062)"),
        (
            None,
            2.1,
            (),
            False,
            "Use TRI(k0=0.01, k1=0.2, l=64), not confirmed on fresh seeds: it beats the default on the"
            " search's own seed (1 of 1 run of the default diverged, 0 of 1 run of the best found).",
        ),
        (
            2.5,
            2.1,
            ((2.5, None), (2.4, 2.0)),
            True,
            "no policy that was found beats it on 2 fresh seeds (0 of 2 runs of"
            " the default diverged, 1 of 2 runs of the best found).",
        ),
        (
            2.5,
            2.1,
            ((None, 2.1), (2.5, 2.0)),
            False,
            "it beats the default on 2 fresh seeds (1 of 2 runs of the default",
        ),
        (
            2.5,
            2.1,
            ((None, None), (2.5, 2.0)),
            True,
            "Use no policy of this search: the default,"
            " WARMUP(policy=HALFCOS(k0=0.1, l=608), l=32), has no score on 2 fresh seeds: 1 of 2 runs of the"
            " default diverged, 1 of 2 runs of the best found.",
        ),
        (
            2.5,
            2.1,
            ((None, None), (None, 2.0)),
            False,
            "Use no policy of this search: the default,"
            " WARMUP(policy=HALFCOS(k0=0.1, l=608), l=32), has no score on 2 fresh seeds: 2 of 2 runs of the default"
            " diverged, 1 of 2 runs of the best found.",
        ),
        (None, None, (), True, "has no score on the search's own seed: 1 of 1 run diverged."),
        (-3.0, -3.5, ((-3.0, -3.5), (-3.01, -3.51)), False, "it beats the default"),
    ],
)
def test_a_loss_is_decided_by_repeats_and_a_diverged_run_is_worse_than_any(default, candidate, pairs, is_default, says):
    decision = decide(history_of(LOSS, default, candidate, pairs), 640, LOSS)
    assert decision.is_default is is_default
    assert says in decision.verdict
    assert decision.best.score is None or decision.is_usable
    for answer in (decision.default, decision.best_found):
        if answer is not None:
            assert all(
                value is None or not isinstance(value, float) or math.isfinite(value)
                for value in answer.to_json().values()
            )


numbers = st.integers(-2000, 2000).map(lambda n: n / 256)
maybe = st.one_of(numbers, numbers, numbers, st.none())


@settings(max_examples=150)
@given(
    default=maybe,
    candidate=maybe,
    pairs=st.lists(st.tuples(maybe, maybe), max_size=5).map(tuple),
    add=st.integers(-1000, 1000),
    scale=st.sampled_from([0.125, 0.5, 1.0, 4.0, 256.0]),
)
def test_no_decision_depends_on_a_losss_zero_scale_or_sign(default, candidate, pairs, add, scale):
    pairs = pairs if candidate is not None else ()

    def decided(objective, how):
        def of(score):
            return None if score is None else how(score)

        history = history_of(objective, of(default), of(candidate), tuple((of(a), of(b)) for a, b in pairs))
        return decide(history, 640, objective)

    plain = decided(LOSS, lambda x: x)
    for objective, how in ((LOSS, lambda x: scale * x + add), (maximize("x"), lambda x: -scale * x + add)):
        other = decided(objective, how)
        assert (other.best.policy, other.is_default, other.is_usable, other.freedom) == (
            plain.best.policy,
            plain.is_default,
            plain.is_usable,
            plain.freedom,
        )
        if plain.noise is not None:
            assert other.noise == pytest.approx(scale * plain.noise, rel=1e-6, abs=1e-9 * scale)
    if plain.best_found and plain.best is plain.best_found and plain.noise is not None:
        assert plain.best_found.score < plain.default.score


def test_the_noise_is_that_of_fresh_repeats_and_never_of_the_run_that_chose():
    pairs = ((2.0, 1.5), (2.2, 1.7))
    for lucky in (1.6, -50.0):
        decision = decide(history_of(LOSS, 2.1, lucky, pairs), 640, LOSS)
        pooled = math.sqrt((0.02 + 0.02) / 3)  # of the default 2.1, 2.0, 2.2, of the best found 1.5, 1.7
        assert decision.noise == pytest.approx(pooled)
        assert decision.freedom == 3
    unpaired = ((2.0, 1.0), (2.0, 2.0), (2.0, 1.5))
    assert decide(history_of(LOSS, 2.0, 1.0, unpaired), 640, LOSS).noise == pytest.approx(0.5 / math.sqrt(3))


def test_false_alarms_on_repeats_are_as_rare_as_is_said():
    """Two policies that are equal: at most one search in forty calls the other better."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 10):
        won = 0
        for one, other in rng.normal(size=(2000, 2, n + 1)):
            gain = one[1:] - other[1:]
            noise, freedom = noise_of_repeats([one.tolist(), other[1:].tolist()], gain.tolist())
            won += gain.mean() > tie_factor(freedom) * noise
        assert 10 < won <= 50 + 2 * math.sqrt(50)  # one in forty of 2000 is 50


@pytest.mark.parametrize("freedom", range(1, len(STUDENT) + 1))
def test_the_table_of_students_t_is_his(freedom):
    assert tie_factor(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)


def candidates_of(objective, inside, outside):
    runs = trials_of(objective, *[("candidate", 1, 0, score) for score in (*inside, *outside)])
    return [replace(trial, origin="suggested" if n < len(inside) else "escape") for n, trial in enumerate(runs)]


@pytest.mark.parametrize(
    ("outside", "won"),
    [((1.9,), True), ((2.1,), False), ((2.9,), False), ((None,), False), ((), False), ((9.0, 1.5), True)],
)
def test_an_escape_wins_by_a_quarter_of_what_policies_make_of_difference(outside, won):
    inside = (2.5, 4.5, 4.5, 4.5, 5.0, 5.0, 6.0)  # a quarter of the way from the median to the best is 0.5
    assert exploration_won(candidates_of(LOSS, inside, outside), LOSS) is won
    negated = [[None if one is None else -one for one in some] for some in (inside, outside)]
    assert exploration_won(candidates_of(BLEU, *negated), BLEU) is won
    assert not exploration_won(candidates_of(LOSS, inside[1:], outside), LOSS)
    assert not exploration_won(candidates_of(LOSS, (*inside[1:], None), outside), LOSS)


@given(
    inside=st.lists(numbers, min_size=EXPLORE_EVERY - 1, max_size=12),
    ahead=numbers,
    add=st.integers(-1000, 1000),
    scale=st.sampled_from([0.25, 1.0, 64.0]),
)
def test_whether_an_escape_won_does_not_depend_on_a_losss_zero_or_scale(inside, ahead, add, scale):
    outside = [min(inside) - ahead / 8]
    moved = [[scale * one + add for one in some] for some in (inside, outside)]
    assert exploration_won(candidates_of(LOSS, inside, outside), LOSS) is exploration_won(
        candidates_of(LOSS, *moved), LOSS
    )


def test_two_pairs_are_planned_where_only_repeats_tell_the_noise():
    share = maximize("accuracy", samples=384)

    def planned(objective, budget):
        task = synthetic(objective)
        return plan(Setup(task, Space.standard(horizon=640, epoch=40), budget, 0), 0).counts

    for quarters in range(4, 80):
        budget = quarters / 4
        counts, rest = planned(LOSS, budget), budget - 1
        kept = rest - sum(count / shorter for count, shorter in zip(counts, (16, 4, 1), strict=True))
        assert counts == planned(BLEU, budget)
        if rest >= 5.4:
            assert kept >= 4
            assert counts[0] >= 2
        if not 5.4 <= rest < 8:
            assert counts == planned(share, budget)
    assert planned(LOSS, 6.4) == (2, 1, 1)
    assert planned(LOSS, 7) == (8, 2, 1)
    assert planned(share, 7) == (24, 6, 1)


def test_a_run_without_a_loss_ranks_by_its_cost_and_one_without_a_score_last():
    scores = (2.0, None, -1.0, 3.0, 1e9)
    trials = trials_of(LOSS, *[("candidate", 1, seed, score) for seed, score in enumerate(scores)])
    assert [t.run.score for t in sorted(trials, key=lambda t: t.rank(LOSS))] == [-1.0, 2.0, 3.0, 1e9, None]
    assert [t.run.score for t in sorted(trials, key=lambda t: t.rank(BLEU))] == [1e9, 3.0, 2.0, -1.0, None]


def test_the_front_holds_what_nothing_beats_on_all_objectives():
    both = (LOSS, maximize("speed"))
    values = [(2.0, 5.0), (1.0, 4.0), (2.5, 6.0), (2.0, 4.0), (3.0, 6.0), (0.5, None), (None, 9.0)]
    trials = trials_of(LOSS, *[("candidate", 1, seed, loss) for seed, (loss, _) in enumerate(values)])
    told = [
        replace(t, stored=replace(t.stored, run=replace(t.run, scores={} if speed is None else {"speed": speed})))
        for t, (_, speed) in zip(trials, values, strict=True)
    ]
    assert [t.seed for t in front([*told, told[0]], 640, both)] == [1, 0, 2]
    assert [t.seed for t in front(told, 640, (LOSS,))] == [5]
    assert front(told, 320, both) == ()


def test_the_answer_tells_the_means_of_the_other_metrics_that_were_returned():
    trials = [
        replace(
            t,
            stored=replace(
                t.stored,
                run=replace(
                    t.run,
                    scores={"wer": 0.25 * n},
                    points=(Point(300, None, t.run.score - 1), Point(640, None, t.run.score)),
                ),
            ),
        )
        for n, t in enumerate(history_of(LOSS, 2.0, 1.5, ((2.0, 1.0), (2.1, 1.1))))
    ]
    decision = decide(trials, 640, LOSS)
    assert decision.default.metrics == {"wer": (0.5 + 1.0) / 2}
    assert decision.best_found.metrics == {"wer": (0.75 + 1.25) / 2}
    assert decision.best_found.best_step == 300


def test_an_error_rate_that_is_minimized_decides_as_its_accuracy_does():
    error, accuracy = minimize("error", samples=384), maximize("accuracy", samples=384)
    hits = ((380, 384, ((370, 380), (372, 381))), (380, 300, ()), (0, 0, ()), (None, 300, ()), (None, None, ()))

    def shares(objective, default, candidate, pairs):
        def of(n):
            return None if n is None else n / 384 if objective is accuracy else 1 - n / 384

        return decide(
            history_of(objective, of(default), of(candidate), tuple((of(a), of(b)) for a, b in pairs)), 640, objective
        )

    for case in hits:
        one, other = shares(accuracy, *case), shares(error, *case)
        assert (one.is_default, one.is_usable) == (other.is_default, other.is_usable)
        assert one.noise == pytest.approx(other.noise)
    assert "has 100 % on the search's own seed, as a run that diverged, and none that was found has less" in (
        shares(error, *hits[-1]).verdict
    )


def test_the_test_set_of_somebody_elses_training_is_not_read(tmp_path):
    result = searched(synthetic(), Surface(), budget=3)
    with open_store("sqlite://") as store, pytest.raises(TaskError, match="'synthetic' is trained by its own function"):
        final_test(result, store, None, tmp_path)
    with pytest.raises(TaskError, match="'synthetic' is trained by its own function"):
        best_runs(result, 3, tmp_path)


def test_the_store_alone_gives_the_answer_of_a_search_of_a_loss():
    task = synthetic()
    raw = Space.standard(horizon=task.horizon, epoch=task.epoch, peak=task.lr_range)
    with open_store("sqlite://") as store:
        study = Study(
            Setup(task, raw, 8, 0),
            Funnel(),
            store,
            lambda name, known: OptunaSampler(name, None, 0, 640, direction="minimize"),
            cold=True,
        )
        while trial := study.ask():
            study.tell(trial, Surface().train(trial.spec(task)))
        result = conclude(study)
        (found,) = stored_answers(store, task.description)
        assert (found.policy, found.score, found.verdict) == (result.best.policy, result.best.score, result.verdict)
        assert objectives_of(store.studies()[0].task) == task.objectives == (Objective("val_loss", "minimize", "nats"),)
