"""What each sampler of Optuna really models of a space of learning-rate policies, and how often it warns.

    OMP_NUM_THREADS=1 python studies/samplers/measure.py [--trials 40] [--seed 0]

Every coordinate of every trial after the first ten counts once. It is modelled where the sampler drew it together with
the others (Optuna's relative sampling), and not where it drew it by itself, at random or by a model of one coordinate.
Warnings are those of Python and of Optuna's log. The score of a policy is a formula: no training.
"""

import argparse
import logging
import math
import platform
import warnings
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler

import lrsearch as lrs

STARTUP = 10
"""Trials that are left out: TPE and GP draw so many at random, QMC and CMA-ES one (Optuna's defaults)."""
HORIZON, EPOCH = 1000, 50


@dataclass(frozen=True)
class Measured:
    """A row of the table."""

    modelled: int
    coordinates: int
    warnings: int

    @property
    def share(self) -> float:
        """The share of coordinates that were modelled."""
        return self.modelled / self.coordinates


class Counted(BaseSampler):
    """Counts what another sampler draws: all its methods are those of the other one."""

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler, self.modelled, self.coordinates = sampler, 0, 0

    def infer_relative_search_space(self, study, trial):
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        self.drawn = self.sampler.sample_relative(study, trial, search_space)
        return self.drawn

    def sample_independent(self, study, trial, name, distribution):
        return self.sampler.sample_independent(study, trial, name, distribution)

    def before_trial(self, study, trial):
        self.sampler.before_trial(study, trial)

    def after_trial(self, study, trial, state, values):
        self.sampler.after_trial(study, trial, state, values)
        free = {name for name, axis in trial.distributions.items() if not axis.single()}
        if trial.number >= STARTUP:
            self.coordinates += len(free)
            self.modelled += len(free & self.drawn.keys())


def measure(name: str, space: lrs.Space, trials: int, seed: int) -> Measured:
    """Run a study of a space by a sampler of Optuna, and count."""
    caught: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: caught.append(record.getMessage())
    handler.addFilter(lambda record: "'greenlet'" not in record.getMessage())  # of the installation: see the README
    logger = logging.getLogger("optuna")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            study = lrs.optuna.create_study(
                "measured", direction="minimize", sampler=Counted(sampler(name, space, seed))
            )
            study.optimize(lambda trial: distance(space.suggest(trial)), n_trials=trials)
    finally:
        logger.removeHandler(handler)
    return Measured(study.sampler.modelled, study.sampler.coordinates, len(caught) + len(warned))


def sampler(name: str, space: lrs.Space, seed: int) -> BaseSampler:
    """The sampler of a name, as `lrs.optuna.create_study` makes it; as Optuna makes it where that refuses the space."""
    try:
        return lrs.optuna.create_study("made", direction="minimize", sampler=name, space=space, seed=seed).sampler
    except lrs.UsageError:
        return {"gp": GPSampler, "qmc": QMCSampler, "cmaes": CmaEsSampler}[name](seed=seed)


def distance(policy: lrs.Policy) -> float:
    """A loss that is least for a peak of 0.03 and an end at zero."""
    curve = policy.curve(HORIZON)
    return abs(math.log10(curve.max() / 0.03)) + float(curve[-1] / curve.max())


def spaces() -> dict[str, lrs.Space]:
    """The spaces by name."""
    made = {"horizon": HORIZON, "epoch": EPOCH, "peak": (1e-3, 1.0)}
    standard, one = lrs.Space.standard(**made), lrs.Space.standard("TRIEXP", **made)
    return {"conditional": standard, "flat": standard.flat(), "one function": one, "one function, flat": one.flat()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()
    versions = f"Python {platform.python_version()}, Optuna {optuna.__version__}"
    print(f"{given.trials} trials, the first {STARTUP} left out, seed {given.seed}; {versions}")
    print(f"{'sampler':8} {'space':20} {'modelled':>9} {'coordinates':>12} {'warnings':>9}")
    for name in ("tpe", "gp", "qmc", "cmaes", "random"):
        for title, space in spaces().items():
            row = measure(name, space, given.trials, given.seed)
            print(f"{name:8} {title:20} {row.share:8.0%} {row.coordinates:12d} {row.warnings:9d}", flush=True)
    grid = lrs.Space.standard("FIX", "TRI", "EXP", horizon=HORIZON, epoch=EPOCH, peak=(1e-3, 1.0)).grid(3)
    study = lrs.optuna.create_study("grid", direction="minimize", sampler="exhaustive", space=grid)
    study.optimize(lambda trial: distance(grid.suggest(trial)), n_trials=1000)
    tried = {trial.user_attrs["lrsearch:policy"] for trial in study.trials}
    print(f"exhaustive, a grid of {len(grid.forms)} policies: {len(tried)} tried in {len(study.trials)} trials")


if __name__ == "__main__":
    main()
