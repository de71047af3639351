"""The recipe for a user's own training: range tests, then the values of each setting, compared by short runs."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from lrsearch.errors import TaskError, UsageError, WorkError, given
from lrsearch.heuristics.range_test import range_test_optimum
from lrsearch.runs import Objective, RunSpec
from lrsearch.runs.objective import finite_cost
from lrsearch.schedules import Policy
from lrsearch.store import Store, StoredRun
from lrsearch.study.noise import noise_of_repeats, noise_of_shares, tie_factor
from lrsearch.study.probing import ramp_steps
from lrsearch.study.range_tests import RangeTested, make_range_tests, require_ended
from lrsearch.study.recipe import PEAK_SHARE, Log, Recipe, Step, Tried, onecycle, setting_text, short_steps
from lrsearch.training.ramps import ramp
from lrsearch.training.settings import with_settings
from lrsearch.training.user_source import UserSource, user_source
from lrsearch.words import counted

REPEATS = 3
"""Seeds of each value. A rule: fewer leave too few degrees of freedom for the noise of a metric that is no share."""


@dataclass(slots=True)
class _Runs:
    """Trains variants of a function; runs in the store are not trained again."""

    store: Store
    log: Log
    trained: dict[str, int] = field(default_factory=dict)

    def train(self, source: UserSource, policy: Policy, steps: int, seed: int) -> StoredRun:
        spec = RunSpec(source.task, policy, steps, seed)
        stored = self.store.find(spec.key)
        if stored is None or not stored.run.state.is_final:
            with closing(source.open()) as trainer:
                run = trainer.train(spec)
            self.store.record(spec, run)
            require_ended(spec, run)
            stored = self.store.find(spec.key)
        assert stored is not None
        self.trained[spec.key] = stored.run.steps
        return stored


def follow_own(
    source: UserSource,
    tries: Mapping[str, Sequence[Any]],
    store: Store,
    seed: int = 0,
    fresh_seed: int = 100,
    log: Log | None = None,
) -> Recipe:
    """Follow the recipe on a user's own training.

    1. Range tests with two seeds, under the first value of each setting; the peak is half of their optimum.
    2. Each setting in the order given: a whole 1cycle over an eighth of the horizon for each value and each of three
       seeds. The best mean wins, if it beats the first value by more than noise; else the first value stays.
    3. Two full runs on a fresh seed: one with the chosen values, one with the first values.

    Args:
        source: the function, under the first value of each setting.
        tries: the values of each setting, the first of which is the task's.
        store: where the runs are recorded, and not trained again.
        seed: the first seed of the short runs.
        fresh_seed: the seed of the two full runs.
        log: called with a line about each run and choice.

    Raises:
        WorkError: if the range tests are flat, or if training fails.
        KeyboardInterrupt: when interrupted; what ended is recorded.
    """
    chosen = source
    runs, steps = _Runs(store, log or (lambda line: None)), []
    tested = _range_tested(chosen, store, seed)
    at = range_test_optimum(tested.advice.readings)
    if at is None:
        raise WorkError(_flat(tested))
    peak = PEAK_SHARE * float(f"{at:.3g}")
    runs.log(f"the peak is {peak:.2g}, half of the middle of the range tests' bottom")
    for name, values in tries.items():
        step = _compared(runs, chosen, name, values, peak, seed)
        runs.log(f"{name}: {step.reason}")
        chosen = _variant(chosen, {name: step.chosen})
        steps.append(step)
    horizon = chosen.task.horizon
    policy = onecycle(peak, horizon)
    baseline, score = (runs.train(variant, policy, horizon, fresh_seed).run.score for variant in (source, chosen))
    cost = (2 * tested.steps + sum(runs.trained.values())) / horizon
    return Recipe(source.task, chosen.task, policy, tested.advice, tuple(steps), baseline, score, cost)


def values_to_try(source: UserSource, settings: Any) -> tuple[UserSource, dict[str, list[Any]]]:
    """Split settings into values for all runs and values to compare.

    Args:
        source: the function.
        settings: by name a list of values to compare, or one value for all runs.

    Returns:
        The function under the first value of each setting, and the lists of values by name.

    Raises:
        UsageError: where there is nothing to compare, or a value is no JSON value.
    """
    if not isinstance(settings, Mapping):
        raise UsageError(
            "settings is a mapping of names to lists of values, such as {'decay': [0.01, 0.1]}, got"
            f" {given(settings)}"
        )
    tries = {name: list(values) for name, values in settings.items() if isinstance(values, list | tuple)}
    if not tries:
        raise TaskError(
            f"task {source.task.name!r} is trained by its own function, which alone knows its settings:"
            " name values to compare, such as settings={'decay': [0.01, 0.1]} or --try decay=0.01,0.1"
        )
    _variant(source, settings)  # refuses values that are not JSON
    for name, values in tries.items():
        if len({json.dumps(value, sort_keys=True) for value in values}) < max(2, len(values)):
            raise UsageError(f"{name!r} needs two values or more to compare, each once, got {json.dumps(values)}")
    return _variant(source, {**settings, **{name: values[0] for name, values in tries.items()}}), tries


def decide_setting(name: str, values: Sequence[Any], tried: Sequence[Tried], objective: Objective) -> Step:
    """Choose a value: the best mean, if it beats the first value by more than noise; else the first value stays.

    Args:
        name: the setting.
        values: its values, the task's own first.
        tried: the runs of the first value by seed, then those of the second, and so on.
        objective: the metric that decides.
    """
    each = len(tried) // len(values)
    scores = [[run.score for run in tried[n * each : (n + 1) * each]] for n in range(len(values))]
    costs = [statistics.fmean(finite_cost(objective, score) for score in of_value) for of_value in scores]
    best = min(range(len(values)), key=costs.__getitem__)
    chosen, reason = _judged(name, values, scores, costs, best, objective)
    return Step(name, values[0], values[chosen], tuple(tried), reason)


def _judged(
    name: str,
    values: Sequence[Any],
    scores: Sequence[Sequence[float | None]],
    costs: Sequence[float],
    best: int,
    objective: Objective,
) -> tuple[int, str]:
    """The index of the chosen value, and the reason."""
    first, mean = setting_text(values[0]), objective.text(objective.cost(costs[best]))
    if math.isinf(costs[best]):
        return 0, f"a run of each value diverged: {first} stays"
    if all(of_value == scores[0] for of_value in scores):
        return 0, (
            f"all values end at {mean}, the same with every seed: does the training read"
            f" job.settings[{name!r}]? {first} stays"
        )
    if best == 0:
        return 0, f"{first} ends at {mean}, which no other value beats"
    if math.isinf(costs[0]):
        lost = sum(score is None for score in scores[0])
        other = setting_text(values[best])
        return best, f"{other} ends at {mean}; the first, {first}, diverged in {lost} of {len(scores[0])}"
    tie, noise = _tie(scores[0], scores[best], objective)
    gain, first_mean = costs[0] - costs[best], objective.text(objective.cost(costs[0]))
    text = (
        f"{setting_text(values[best])} ends at {mean}, the first, {first}, at {first_mean}"
        f" ({objective.difference(objective.cost(-gain))} over {counted(len(scores[0]), 'seed')}, noise"
        f" {objective.spread(noise)})"
    )
    return (best, text) if gain > tie else (0, f"{text}: a tie, and {first} stays")


def _tie(first: Sequence[float | None], other: Sequence[float | None], objective: Objective) -> tuple[float, float]:
    """The largest difference of two means that is a tie, and the noise behind it."""
    of_first, of_other = ([score for score in scores if score is not None] for scores in (first, other))
    differences = [b - a for a, b in zip(of_first, of_other, strict=True)]
    if objective.samples is not None:
        means = statistics.fmean(of_first), statistics.fmean(of_other)
        noise = noise_of_shares(*means, objective.samples, differences)
        return tie_factor(None) * noise, noise
    estimate = noise_of_repeats([of_first, of_other], differences)
    assert estimate is not None
    noise, freedom = estimate
    return tie_factor(freedom) * noise, noise


def _compared(runs: _Runs, source: UserSource, name: str, values: Sequence[Any], peak: float, seed: int) -> Step:
    """Train a short run for each value and seed, and decide."""
    steps, objective = short_steps(source.task), source.task.objective
    tried = []
    for value in values:
        variant = _variant(source, {name: value})
        for repeat in range(REPEATS):
            try:
                stored = runs.train(variant, onecycle(peak, steps), steps, seed + repeat)
            except WorkError as error:
                raise WorkError(f"with {name} = {setting_text(value)}: {error}") from None
            score = stored.run.score
            outcome = "diverged" if score is None else objective.text(score)
            runs.log(f"{name} {setting_text(value)}, seed {seed + repeat}: {outcome}")
            tried.append(Tried(value, steps, None, score, stored.key, seed + repeat))
    return decide_setting(name, values, tried, objective)


def _variant(source: UserSource, settings: Mapping[str, Any]) -> UserSource:
    return user_source(with_settings(source, settings))


def _range_tested(source: UserSource, store: Store, seed: int) -> RangeTested:
    low, high = source.task.lr_range
    length = ramp_steps(source.task)
    with closing(source.open()) as trainer:
        return make_range_tests(trainer, store, ramp(low, high, length), length, [seed, seed + 1])


def _flat(tested: RangeTested) -> str:
    why = "" if any(test.losses for test in tested.ramps) else ", for the training logs no train_loss"
    return (
        f"the range tests of {tested.task.name} are flat{why}: there is no learning rate to begin with; look at"
        " them with `lrsearch range-test`, and with more --steps"
    )
