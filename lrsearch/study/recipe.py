"""The recipe of Smith's 1cycle report: learning rate, batch size, momentum, weight decay, by short runs.

One setting after the other, each chosen value fixed for the next. Then one full run with the chosen settings, and one
of the task as it is.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lrsearch.errors import WorkError
from lrsearch.heuristics.advice import LRAdvice
from lrsearch.heuristics.range_test import range_test_optimum
from lrsearch.later import warn_older
from lrsearch.runs import RunSpec, Task
from lrsearch.schedules import FIX, ONECYCLE, Policy
from lrsearch.store import Store, StoredRun
from lrsearch.study.probing import ramp_steps
from lrsearch.study.range_tests import make_range_tests, require_ended
from lrsearch.tasks import SGD, Split, Splits, find_classification
from lrsearch.tasks.classification import Classification
from lrsearch.training.ramps import ramp
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.training import Trainer

SHORT_SHARE, LEAST_SHORT = 1 / 8, 50
"""A short run: an eighth of the horizon, 50 updates at least. A rule: about fourteen of them cost under 2 FRE."""
CLOCK_STEPS, CLOCK_ROUNDS = 40, 3
"""Steps that are timed in each round, and rounds whose median is taken: a rule."""
PEAK_SHARE = 0.5
"""Of the range-test optimum, which itself can lie past the edge: see `FunnelRules.default_peak`."""
MOMENTA = (0.99, 0.97, 0.95, 0.9)
"""Published: the values of Smith's report, section 4."""
DECAYS = (1e-3, 1e-4, 1e-5, 0.0)
"""Published: the values of Smith's report, section 4."""
BISECTIONS = 2
"""Bisections between the best decay and its better neighbour. Published: Smith's report, section 4."""
BATCHES = (0.5, 1, 2)
"""Factors on the task's batch size: a rule."""
TIE = 0.05
"""A loss that is lower by less than 5 % is a tie, and the task's own value stays. A rule: one seed shows no noise."""

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tried:
    """A short run under one value of a setting.

    Args:
        value: the value.
        steps: its updates.
        loss: the validation loss at its end; None if it diverged, and for a user's own training.
        score: the task's metric at its end; None if it diverged.
        run: the run's key.
        seed: its seed.
    """

    value: Any
    steps: int
    loss: float | None
    score: float | None
    run: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the recipe: the values of a setting that were tried, and the chosen one.

    Args:
        setting: `batch size`, `momentum` or `weight decay`, or the name of a user's setting.
        own: the task's value.
        chosen: the value for the next steps.
        tried: the short runs.
        reason: why, in a sentence.
    """

    setting: str
    own: Any
    chosen: Any
    tried: tuple[Tried, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """The result of the recipe.

    Args:
        task: the task as it is.
        chosen: the task with the chosen settings.
        policy: the 1cycle policy over its horizon.
        advice: the LRs that the range tests suggest.
        steps: the steps after the range test.
        baseline: the metric of a full run of the task as it is, under a 1cycle policy; None if it diverged.
        score: the same metric with the chosen settings.
        cost: all samples trained on, in full-run equivalents (FRE), without the few steps that are timed.
    """

    task: Task
    chosen: Task
    policy: Policy
    advice: LRAdvice
    steps: tuple[Step, ...]
    baseline: float | None
    score: float | None
    cost: float

    @property
    def found(self) -> Task:
        """The older name of `chosen`."""
        warn_older("Recipe.found", "Recipe.chosen")
        return self.chosen

    @property
    def plain(self) -> float | None:
        """The older name of `baseline`."""
        warn_older("Recipe.plain", "Recipe.baseline")
        return self.baseline

    @property
    def verdict(self) -> str:
        """Whether the chosen settings are better, in a sentence."""
        if self.baseline is None or self.score is None:
            return f"A full run diverged: {'the task as it is' if self.baseline is None else 'what was found'}."
        if self.chosen.key == self.task.key:
            return "It leaves the task as it is: no other setting was better by more than a tie."
        objective, gain = self.task.objective, self.score - self.baseline
        word, margin = "Better" if objective.cost(gain) < 0 else "Worse", objective.difference(gain)
        if objective.samples is None:
            return f"{word} than the task as it is ({margin} on one fresh seed, which tells no noise)."
        noise = math.sqrt(2 * self.baseline * (1 - self.baseline) / objective.samples)
        margin = f"({margin} on one fresh seed, noise {objective.spread(noise)})"
        return f"{'A tie with' if abs(gain) <= 2 * noise else f'{word} than'} the task as it is {margin}."

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        chosen = self.chosen
        settings = (
            {"batch_size": chosen.batch_size, "optimizer": str(chosen.optimizer)}
            if isinstance(chosen, Classification)
            else {"settings": dict(chosen.settings)}
        )
        return {
            "task": self.task.name,
            "policy": str(self.policy),
            **settings,
            "horizon": chosen.horizon,
            "range_test": self.advice.to_json(),
            "steps": [
                {
                    "setting": step.setting,
                    "own": step.own,
                    "chosen": step.chosen,
                    "reason": step.reason,
                    "tried": [{name: getattr(run, name) for name in run.__slots__} for run in step.tried],
                }
                for step in self.steps
            ],
            "plain": self.baseline,
            "score": self.score,
            "verdict": self.verdict,
            "cost": self.cost,
        }


@dataclass(slots=True)
class _Bench:
    """Trains variants of a task that share its data; runs in the store are not trained again."""

    store: Store
    splits: Splits
    seed: int
    log: Log
    trained: dict[str, int] = field(default_factory=dict)

    def trainer(self, task: Classification) -> "Trainer":
        from lrsearch.training import Trainer

        return Trainer(replace(task, load=lambda folder: self.splits))

    def train(self, task: Classification, policy: Policy, steps: int, seed: int) -> StoredRun:
        spec = RunSpec(task, policy, steps, seed)
        stored = self.store.find(spec.key)
        if stored is None or not stored.run.state.is_final:
            run = self.trainer(task).train(spec)
            self.store.record(spec, run)
            require_ended(spec, run)
            stored = self.store.find(spec.key)
        assert stored is not None
        self.trained[spec.key] = stored.run.steps * task.batch_size
        return stored

    def short(self, task: Classification, peak: float, value: float, steps: int) -> Tried:
        """Train a whole 1cycle over a few steps."""
        stored = self.train(task, onecycle(peak, steps), steps, self.seed)
        self.log(f"{value:g}: {'diverged' if stored.run.loss is None else f'loss {stored.run.loss:.4f}'}")
        return Tried(value, steps, stored.run.loss, stored.run.score, stored.key, self.seed)


def follow(
    task: Classification, store: Store, splits: Splits, seed: int = 0, fresh_seed: int = 100, log: Log | None = None
) -> Recipe:
    """Follow the recipe on a task.

    1. Range tests with two seeds; the peak is half of their optimum.
    2. Batch size: half, the same, double, for the same seconds of training, the peak in proportion. Seconds are
       measured, so the lengths of these runs differ from one start to the next.
    3. Momentum 0.99, 0.97, 0.95, 0.9, the peak times (1 - momentum) / (1 - the task's): the effective step stays.
    4. Weight decay 1e-3, 1e-4, 1e-5, 0, then twice the middle exponent between the best and its better neighbour.

    Short runs take an eighth of the horizon, a whole 1cycle each, from one initialisation. The lower validation loss
    wins; on a tie within 5 % the task's value stays. Source: Smith 2018, "A disciplined approach to neural network
    hyper-parameters, part 1", section 4 and its box of remarks.

    Args:
        task: the task.
        store: where the runs are recorded, and not trained again.
        splits: its data.
        seed: of all short runs.
        fresh_seed: of the two full runs.
        log: called with a line about each run.

    Raises:
        TaskError: for a task that a user's function trains: see `follow_own`.
        WorkError: if the range tests are flat, so that there is no peak to begin with; or if training fails.
        KeyboardInterrupt: when interrupted; what ended is recorded.
    """
    find_classification(task)
    bench = _Bench(store, splits, seed, log or (lambda line: None))
    low, high = task.lr_range
    length = ramp_steps(task)
    tested = make_range_tests(bench.trainer(task), store, ramp(low, high, length), length, [seed, seed + 1])
    at = range_test_optimum(tested.advice.readings)
    for note in dict.fromkeys(tested.advice.notes):
        bench.log(f"range test: {note}")
    if at is None:
        raise WorkError(f"the range tests of {task.name} are flat: there is no learning rate to begin with")
    peak = PEAK_SHARE * float(f"{at:.3g}")
    bench.log(f"the peak is {peak:.2g}, half of the middle of the range tests' bottom")
    chosen, own_peak, steps = task, peak, []
    for choose in (_batch, _momentum, _decay):
        step, chosen, peak = choose(bench, chosen, peak)
        steps.append(step)
    policy, own_policy = onecycle(peak, chosen.horizon), onecycle(own_peak, task.horizon)
    baseline = bench.train(task, own_policy, task.horizon, fresh_seed).run.score
    score = bench.train(chosen, policy, chosen.horizon, fresh_seed).run.score
    cost = 2 * length / task.horizon + sum(bench.trained.values()) / (task.horizon * task.batch_size)
    return Recipe(task, chosen, policy, tested.advice, tuple(steps), baseline, score, cost)


def onecycle(peak: float, steps: int) -> Policy:
    """Smith's 1cycle over some steps: up from a tenth in 45 %, back in 45 %, down to a thousandth.

    >>> onecycle(0.1, 100)
    ONECYCLE(k0=0.01, k1=0.1, l=[45, 90, 100], k2=0.0001)
    """
    top = float(f"{peak:.3g}")
    marks = [round(0.45 * steps), round(0.9 * steps), steps]
    return ONECYCLE(k0=float(f"{top / 10:.3g}"), k1=top, l=marks, k2=float(f"{top / 1000:.3g}"))


def short_steps(task: Task) -> int:
    """The updates of a short run: an eighth of the horizon, 50 at least."""
    return min(task.horizon, max(LEAST_SHORT, round(SHORT_SHARE * task.horizon)))


def setting_text(value: Any) -> str:
    """The value of a setting as text for people.

    >>> setting_text(0.1), setting_text("adamw"), setting_text(True), setting_text([1, 2])
    ('0.1', 'adamw', 'true', '[1, 2]')
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else value if isinstance(value, str) else json.dumps(value)


def _batch(bench: _Bench, task: Classification, peak: float) -> tuple[Step, Classification, float]:
    """Compare batch sizes at equal seconds; the horizon keeps the number of samples."""
    own, tried, variants = task.batch_size, [], {}
    for factor in BATCHES:
        size = max(1, round(factor * own))
        if size == own or size <= task.train_size:
            variants[size] = replace(task, batch_size=size, horizon=max(1, round(task.horizon * own / size)))
    seconds = _seconds(bench, variants)
    for size, variant in variants.items():
        steps = max(LEAST_SHORT, round(short_steps(task) * seconds[own] / seconds[size]))
        bench.log(f"batch size {size}, {counted(steps, 'step')}")
        tried.append(bench.short(variant, peak * size / own, size, min(steps, variant.horizon)))
    step = _chosen("batch size", own, tried)
    size = round(step.chosen)
    return step, variants[size], peak * size / own


def _seconds(bench: _Bench, variants: Mapping[int, Classification]) -> dict[int, float]:
    """The measured seconds of a step at each batch size: the median of rounds in turn, after one that warms up."""
    measured: dict[int, list[float]] = {size: [] for size in variants}
    for _ in range(1 + CLOCK_ROUNDS):
        for size, task in variants.items():
            measured[size].append(_clocked(bench.trainer(task), RunSpec(task, FIX(k0=1e-6), CLOCK_STEPS, bench.seed)))
    return {size: statistics.median(seconds[1:]) for size, seconds in measured.items()}


def _clocked(trainer: "Trainer", spec: RunSpec) -> float:
    """The measured seconds of a step in a short run, evaluated on one validation sample only."""
    trainer.validation = Split(trainer.validation.x[:1], trainer.validation.y[:1])
    run = trainer.train(spec)
    require_ended(spec, run)
    return max(run.seconds / spec.horizon, 1e-6)


def _momentum(bench: _Bench, task: Classification, peak: float) -> tuple[Step, Classification, float]:
    optimizer = task.optimizer
    if type(optimizer) is not SGD or not optimizer.momentum:
        kind = type(optimizer).__name__
        return Step("momentum", 0.0, 0.0, (), f"{kind} without a momentum of its own is left as it is"), task, peak
    own, tried = optimizer.momentum, []
    for value in dict.fromkeys((own, *MOMENTA)):
        bench.log(f"momentum {value:g}")
        variant = replace(task, optimizer=replace(optimizer, momentum=value))
        tried.append(bench.short(variant, peak * (1 - value) / (1 - own), value, short_steps(task)))
    step = _chosen("momentum", own, tried)
    chosen = replace(optimizer, momentum=step.chosen)
    return step, replace(task, optimizer=chosen), peak * (1 - step.chosen) / (1 - own)


def _decay(bench: _Bench, task: Classification, peak: float) -> tuple[Step, Classification, float]:
    own, tried = task.optimizer.weight_decay, list[Tried]()
    if task.optimizer.searches:
        reason = f"{type(task.optimizer).__name__} searches along its own loss, and takes no weight decay"
        return Step("weight decay", own, own, (), reason), task, peak

    def attempt(value: float) -> None:
        bench.log(f"weight decay {value:g}")
        variant = replace(task, optimizer=replace(task.optimizer, weight_decay=value))
        tried.append(bench.short(variant, peak, value, short_steps(task)))

    for value in dict.fromkeys((own, *DECAYS)):
        attempt(value)
    for _ in range(BISECTIONS):
        between = _between(tried)
        if between is not None:
            attempt(between)
    step = _chosen("weight decay", own, tried)
    return step, replace(task, optimizer=replace(task.optimizer, weight_decay=step.chosen)), peak


def _between(tried: Sequence[Tried]) -> float | None:
    """The middle, on a log axis, of the best value and its better neighbour; None if one of them is 0."""
    ranked = sorted((run for run in tried if run.value > 0), key=lambda run: run.value)
    losses = [math.inf if run.loss is None else run.loss for run in ranked]
    best = losses.index(min(losses, default=math.inf)) if losses else 0
    neighbours = [index for index in (best - 1, best + 1) if 0 <= index < len(ranked)]
    if not neighbours or not math.isfinite(losses[best]):
        return None
    neighbour = min(neighbours, key=lambda index: losses[index])
    return float(f"{math.sqrt(ranked[best].value * ranked[neighbour].value):.2g}")


def _chosen(setting: str, own: float, tried: Sequence[Tried]) -> Step:
    """The step with its choice: the lowest loss wins, and on a tie the task's value stays."""
    losses = {run.value: math.inf if run.loss is None else run.loss for run in tried}
    best = min(losses, key=lambda value: losses[value])
    if not math.isfinite(losses[best]):
        return Step(setting, own, own, tuple(tried), "all short runs diverged: it is left as it is")
    if losses[own] <= (1 + TIE) * losses[best]:
        reason = f"{own:g} is the task's, and {'the best' if best == own else f'a tie with {best:g}'}"
        return Step(setting, own, own, tuple(tried), reason)
    ended = f"loss {losses[own]:.4f}" if math.isfinite(losses[own]) else "divergence"
    end = {min(losses): "lowest", max(losses): "highest"}.get(best) if best else None  # nothing lies below zero
    reason = f"{best:g} ends at loss {losses[best]:.4f}, the task's {own:g} at {ended}"
    reason += f"; it is the {end} that was tried, so the best may lie beyond" if end else ""
    return Step(setting, own, best, tuple(tried), reason)
