"""A space in a real Optuna study."""

import math
import warnings

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState

from lrsearch.errors import PolicyError, SpaceError
from lrsearch.schedules import EXP, HALFCOS, NSTEP, SIN, STEP, TRI, WARMUP, parse
from lrsearch.spaces import Choice, Fractions, Interval, Space
from lrsearch.spaces.optuna import ORIGIN, POLICY, SPACE, SUGGESTED, enqueue

optuna.logging.set_verbosity(optuna.logging.ERROR)
RAW = Space.standard(horizon=10_000, epoch=600)


def smaller(form, name, axis):
    if isinstance(axis, Fractions):
        return Fractions(Choice((1, 2, 3, 4)), axis.each.within(0.2, 0.95))
    return axis.at([1, 2, 2.5, 5]) if name == "cycles" and isinstance(axis, Interval) else axis


SMALL = RAW.narrowed(RAW.peak.within(1e-3, 0.1), RAW.ratio.within(1e-4, 0.3), smaller)


def new_study(sampler: str = "tpe") -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        chosen = TPESampler(seed=1, group=True, n_startup_trials=5) if sampler == "tpe" else RandomSampler(seed=1)
    return optuna.create_study(direction="maximize", sampler=chosen)


def score(policy) -> float:
    """A response whose best is a peak of 0.03 that ends low."""
    return -abs(math.log10(policy.curve(10_000).max() + 1e-9) - math.log10(0.03)) - policy(9999)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("space", [RAW, SMALL], ids=["raw", "small"])
def test_every_policy_that_optuna_suggests_is_in_the_space(space, sampler):
    study, seen = new_study(sampler), []

    def objective(trial):
        seen.append(space.suggest(trial))
        assert space.suggest(trial) == seen[-1]
        return score(seen[-1])

    study.optimize(objective, n_trials=40)
    assert len(seen) == 40
    assert all(policy in space for policy in seen)
    assert len({policy.form for policy in seen}) > 5


def test_tpe_finds_the_range_that_scores():
    study, space = new_study(), Space.standard("FIX", "HALFCOS", horizon=10_000, epoch=600)
    study.optimize(lambda trial: score(space.suggest(trial)), n_trials=60)
    assert 0.01 < study.best_params["peak"] < 0.1


OUTSIDE = [
    TRI(k0=0.001, k1=0.006, l=2000),
    TRI(k0=1e-9, k1=9, l=2100),
    SIN(k0=0.5, k1=0.5, l=1234.5),
    EXP(k0=5, gamma=0.99),
    STEP(k0=0.1, gamma=0.85, l=700, k1=0.001),
    WARMUP(policy=HALFCOS(k0=3, l=7000), l=10),
    NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000, 8000, 9000, 9500]),
    NSTEP(k0=0.01, gamma=0.1, l=[1, 9999]),
    NSTEP(k0=0.01, gamma=0.9, l=[1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000]),
]


@pytest.mark.parametrize("policy", OUTSIDE, ids=str)
@pytest.mark.filterwarnings("ignore:Fixed parameter")
def test_an_enqueued_policy_is_suggested_exactly_also_outside_the_ranges(policy):
    study = new_study()
    enqueue(study, SMALL, policy, origin="store", source="digits-mlp")
    trial = study.ask()
    assert SMALL.suggest(trial) == policy
    assert trial.user_attrs == {POLICY: str(policy), ORIGIN: "store", "source": "digits-mlp", SPACE: SMALL.key}
    study.tell(trial, 1.0)
    following = study.ask()
    suggested = SMALL.suggest(following)
    assert suggested in SMALL
    assert following.user_attrs == {POLICY: str(suggested), ORIGIN: SUGGESTED, SPACE: SMALL.key}
    assert SMALL.suggest(following) == suggested


def test_an_enqueued_policy_inside_the_ranges_has_its_own_parameters_in_optuna():
    study, policy = new_study(), TRI(k0=0.001, k1=0.01, l=2000)
    enqueue(study, SMALL, policy, origin="default")
    trial = study.ask()
    assert SMALL.suggest(trial) == policy
    assert trial.params == pytest.approx(
        {"function": "TRI", "peak": 0.01, "TRI.to_zero": False, "ratio": 0.1, "TRI.cycles": 2.5}
    )
    assert parse(trial.user_attrs[POLICY]) == policy


def test_a_policy_that_the_space_cannot_express_is_not_enqueued():
    study, space = new_study(), Space.standard("TRI", horizon=10_000, epoch=600)
    with pytest.raises(SpaceError, match="no LR function in this space 'SIN'"):
        enqueue(study, space, SIN(k0=0, k1=1, l=5), origin="store")
    with pytest.raises(PolicyError, match="no natural coordinates without a learning rate left at the end"):
        enqueue(study, RAW, EXP(k0=5, gamma=0.9), origin="store")
    assert study.trials == []


@pytest.mark.filterwarnings("ignore:Fixed parameter")
def test_tpe_goes_on_after_enqueued_policies_outside_the_ranges():
    study, seen = new_study(), []
    for policy in OUTSIDE:
        enqueue(study, SMALL, policy, origin="escape")

    def objective(trial):
        seen.append(SMALL.suggest(trial))
        return score(seen[-1])

    study.optimize(objective, n_trials=30)
    assert seen[: len(OUTSIDE)] == OUTSIDE
    assert all(policy in SMALL for policy in seen[len(OUTSIDE) :])
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
