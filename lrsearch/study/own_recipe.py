"""The recipe for a training of one's own: a range test, then the values of each setting, compared by short runs."""

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
from lrsearch.study.recipe import PEAK_SHARE, Recipe, Step, Told, Tried, said, short_steps
from lrsearch.study.recipe import onecycle as whole_cycle
from lrsearch.training.own_source import OwnSource, own_source
from lrsearch.training.ramps import ramp
from lrsearch.training.settings import with_settings
from lrsearch.words import counted

REPEATS = 3
"""Seeds of each value: fewer tell next to nothing of the noise of a metric that is no share."""


@dataclass(slots=True)
class _Runs:
    """Trains variants of a function; what the store knows is not trained again."""

    store: Store
    tell: Told
    trained: dict[str, int] = field(default_factory=dict)

    def train(self, source: OwnSource, policy: Policy, steps: int, seed: int) -> StoredRun:
        spec = RunSpec(source.task, policy, steps, seed)
        known = self.store.find(spec.key)
        if known is None or not known.run.state.is_final:
            with closing(source.open()) as trainer:
                run = trainer.train(spec)
            self.store.record(spec, run)
            require_ended(spec, run)
            known = self.store.find(spec.key)
        assert known is not None
        self.trained[spec.key] = known.run.steps
        return known


def follow_own(
    source: OwnSource,
    tries: Mapping[str, Sequence[Any]],
    store: Store,
    seed: int = 0,
    fresh_seed: int = 100,
    tell: Told | None = None,
) -> Recipe:
    """Follow the recipe on a training of one's own.

    1. Range tests with two seeds, under the first value of each setting; the peak is half of the middle of their
       bottom.
    2. Each setting in the order given: a whole 1cycle over an eighth of the horizon for each value and each of three
       seeds. The best mean wins, if it beats the first value by more than noise; else the first value stays.
    3. A full run of what was found beside one of the first values, on a fresh seed.

    Args:
        source: the function, under the first value of each setting.
        tries: the values of each setting, the first of which is the task's.
        store: where the runs are recorded, and not trained again.
        seed: the first of the seeds of short runs.
        fresh_seed: of the two full runs.
        tell: is told, in a line, what is tried.

    Raises:
        WorkError: if the range tests are flat, or if training fails.
        KeyboardInterrupt: when interrupted; what ended is recorded.
    """
    found = source
    runs, steps = _Runs(store, tell or (lambda line: None)), []
    tested = _tested(found, store, seed)
    middle = range_test_optimum(tested.advice.readings)
    if middle is None:
        raise WorkError(_flat(tested))
    peak = PEAK_SHARE * float(f"{middle:.3g}")
    runs.tell(f"the peak is {peak:.2g}, half of the middle of the range tests' bottom")
    for name, values in tries.items():
        step = _compared(runs, found, name, values, peak, seed)
        runs.tell(f"{name}: {step.reason}")
        found = _variant(found, {name: step.chosen})
        steps.append(step)
    horizon = found.task.horizon
    policy = whole_cycle(peak, horizon)
    plain, score = (runs.train(one, policy, horizon, fresh_seed).run.score for one in (source, found))
    cost = (2 * tested.steps + sum(runs.trained.values())) / horizon
    return Recipe(source.task, found.task, policy, tested.advice, tuple(steps), plain, score, cost)


def values_to_try(source: OwnSource, settings: Any) -> tuple[OwnSource, dict[str, list[Any]]]:
    """Tell the values to compare from plain ones: the function under the first of each, and the lists.

    Args:
        source: the function.
        settings: by name a list of values to compare, or a plain value for all runs.

    Raises:
        UsageError: where there is nothing to compare, or what is no plain value.
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
    _variant(source, settings)  # refuses what is not plain
    for name, values in tries.items():
        if len({json.dumps(value, sort_keys=True) for value in values}) < max(2, len(values)):
            raise UsageError(f"{name!r} needs two values or more to compare, each once, got {json.dumps(values)}")
    return _variant(source, {**settings, **{name: values[0] for name, values in tries.items()}}), tries


def decided(name: str, values: Sequence[Any], tried: Sequence[Tried], objective: Objective) -> Step:
    """What a step decides: the best mean, if it beats the first value by more than noise; else the first value stays.

    Args:
        name: the setting.
        values: its values, the first of which is the task's.
        tried: the runs of the first value by seed, then those of the second, and so on.
        objective: the metric that decides.
    """
    each = len(tried) // len(values)
    scores = [[one.score for one in tried[n * each : (n + 1) * each]] for n in range(len(values))]
    costs = [statistics.fmean(finite_cost(objective, score) for score in some) for some in scores]
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
    """Which value goes on, by its place, and why."""
    first, mean = said(values[0]), objective.text(objective.cost(costs[best]))
    if math.isinf(costs[best]):
        return 0, f"a run of each value diverged: {first} stays"
    if all(some == scores[0] for some in scores):
        return 0, (
            f"all values end at {mean}, the same with every seed: does the training read"
            f" job.settings[{name!r}]? {first} stays"
        )
    if best == 0:
        return 0, f"{first} ends at {mean}, which no other value beats"
    if math.isinf(costs[0]):
        lost = sum(score is None for score in scores[0])
        return best, f"{said(values[best])} ends at {mean}; the first, {first}, diverged in {lost} of {len(scores[0])}"
    tie, noise = _tie(scores[0], scores[best], objective)
    gain = costs[0] - costs[best]
    told = (
        f"{said(values[best])} ends at {mean}, the first, {first}, at {objective.text(objective.cost(costs[0]))}"
        f" ({objective.difference(objective.cost(-gain))} over {counted(len(scores[0]), 'seed')}, noise"
        f" {objective.spread(noise)})"
    )
    return (best, told) if gain > tie else (0, f"{told}: a tie, and {first} stays")


def _tie(first: Sequence[float | None], other: Sequence[float | None], objective: Objective) -> tuple[float, float]:
    """The largest difference of two means that is a tie, and the noise behind it."""
    one, two = ([score for score in some if score is not None] for some in (first, other))
    differences = [b - a for a, b in zip(one, two, strict=True)]
    if objective.samples is not None:
        noise = noise_of_shares(statistics.fmean(one), statistics.fmean(two), objective.samples, differences)
        return tie_factor(None) * noise, noise
    known = noise_of_repeats([one, two], differences)
    assert known is not None
    return tie_factor(known[1]) * known[0], known[0]


def _compared(runs: _Runs, source: OwnSource, name: str, values: Sequence[Any], peak: float, seed: int) -> Step:
    """Train a short run for each value and seed, and decide."""
    steps, objective = short_steps(source.task), source.task.objective
    tried = []
    for value in values:
        variant = _variant(source, {name: value})
        for repeat in range(REPEATS):
            try:
                stored = runs.train(variant, whole_cycle(peak, steps), steps, seed + repeat)
            except WorkError as error:
                raise WorkError(f"with {name} = {said(value)}: {error}") from None
            score = stored.run.score
            outcome = "diverged" if score is None else objective.text(score)
            runs.tell(f"{name} {said(value)}, seed {seed + repeat}: {outcome}")
            tried.append(Tried(value, steps, None, score, stored.key, seed + repeat))
    return decided(name, values, tried, objective)


def _variant(source: OwnSource, settings: Mapping[str, Any]) -> OwnSource:
    return own_source(with_settings(source, settings))


def _tested(source: OwnSource, store: Store, seed: int) -> RangeTested:
    low, high = source.task.lr_range
    length = ramp_steps(source.task)
    with closing(source.open()) as trainer:
        return make_range_tests(trainer, store, ramp(low, high, length), length, [seed, seed + 1])


def _flat(tested: RangeTested) -> str:
    why = "" if any(one.losses for one in tested.ramps) else ", for the training logs no train_loss"
    return (
        f"the range tests of {tested.task.name} are flat{why}: there is no learning rate to begin with; look at"
        " them with `lrsearch range-test`, and with more --steps"
    )
