"""The recipe of Smith's 1cycle report: learning rate, batch size, momentum, weight decay, by short runs.

One setting after the other, each kept for the next; then a full run of what was found beside one of the task as it is.
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
CLOCK_STEPS, CLOCK_ROUNDS = 40, 3
PEAK_SHARE = 0.5
"""Of the middle of the range tests' bottom: the middle itself can lie past the edge."""
MOMENTA = (0.99, 0.97, 0.95, 0.9)
DECAYS = (1e-3, 1e-4, 1e-5, 0.0)
BISECTIONS = 2
BATCHES = (0.5, 1, 2)
TIE = 0.05
"""A loss that is lower by less than 5 % is a tie, and a tie goes to what the task has: one seed tells no more."""

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tried:
    """A short run under one value of a setting.

    Args:
        value: the value.
        steps: its updates.
        loss: the validation loss at its end; None if it diverged, and of a training of one's own.
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
    """What one step of the recipe tried and chose.

    Args:
        setting: `batch size`, `momentum` or `weight decay`, or the name of one's own.
        own: what the task has.
        chosen: the value that goes on.
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
    """What the recipe found.

    Args:
        task: the task as it is.
        found: the task with the settings that were chosen.
        policy: the 1cycle policy over its horizon.
        advice: what the range tests advise.
        steps: the steps after the range test.
        plain: the metric of a full run of the task as it is, under a 1cycle policy; None if it diverged.
        score: the same of the task with what was found.
        cost: all samples trained on, in full-run equivalents (FRE), without the few steps by which batches are timed.
    """

    task: Task
    found: Task
    policy: Policy
    advice: LRAdvice
    steps: tuple[Step, ...]
    plain: float | None
    score: float | None
    cost: float

    @property
    def verdict(self) -> str:
        """Whether what was found is better, in a sentence."""
        if self.plain is None or self.score is None:
            return f"A full run diverged: {'the task as it is' if self.plain is None else 'what was found'}."
        if self.found.key == self.task.key:
            return "It leaves the task as it is: no other setting was better by more than a tie."
        objective, gain = self.task.objective, self.score - self.plain
        word, margin = "Better" if objective.cost(gain) < 0 else "Worse", objective.difference(gain)
        if objective.samples is None:
            return f"{word} than the task as it is ({margin} on one fresh seed, which tells no noise)."
        noise = math.sqrt(2 * self.plain * (1 - self.plain) / objective.samples)
        margin = f"({margin} on one fresh seed, noise {objective.spread(noise)})"
        return f"{'A tie with' if abs(gain) <= 2 * noise else f'{word} than'} the task as it is {margin}."

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        found = self.found
        described = (
            {"batch_size": found.batch_size, "optimizer": str(found.optimizer)}
            if isinstance(found, Classification)
            else {"settings": dict(found.settings)}
        )
        return {
            "task": self.task.name,
            "policy": str(self.policy),
            **described,
            "horizon": found.horizon,
            "range_test": self.advice.to_json(),
            "steps": [
                {
                    "setting": step.setting,
                    "own": step.own,
                    "chosen": step.chosen,
                    "reason": step.reason,
                    "tried": [{name: getattr(one, name) for name in one.__slots__} for one in step.tried],
                }
                for step in self.steps
            ],
            "plain": self.plain,
            "score": self.score,
            "verdict": self.verdict,
            "cost": self.cost,
        }


@dataclass(slots=True)
class _Bench:
    """Trains variants of a task that share its data; what the store knows is not trained again."""

    store: Store
    splits: Splits
    seed: int
    tell: Told
    trained: dict[str, int] = field(default_factory=dict)

    def trainer(self, task: Classification) -> "Trainer":
        from lrsearch.training import Trainer

        return Trainer(replace(task, load=lambda folder: self.splits))

    def train(self, task: Classification, policy: Policy, steps: int, seed: int) -> StoredRun:
        spec = RunSpec(task, policy, steps, seed)
        known = self.store.find(spec.key)
        if known is None or not known.run.state.is_final:
            run = self.trainer(task).train(spec)
            self.store.record(spec, run)
            require_ended(spec, run)
            known = self.store.find(spec.key)
        assert known is not None
        self.trained[spec.key] = known.run.steps * task.batch_size
        return known

    def short(self, task: Classification, peak: float, value: float, steps: int) -> Tried:
        """Train a whole 1cycle over a few steps."""
        stored = self.train(task, onecycle(peak, steps), steps, self.seed)
        self.tell(f"{value:g}: {'diverged' if stored.run.loss is None else f'loss {stored.run.loss:.4f}'}")
        return Tried(value, steps, stored.run.loss, stored.run.score, stored.key, self.seed)


def follow(
    task: Classification, store: Store, splits: Splits, seed: int = 0, fresh_seed: int = 100, tell: Told | None = None
) -> Recipe:
    """Follow the recipe on a task.

    1. Range tests with two seeds; the peak is half of the middle of their bottom, or of what they saw of it.
    2. Batch size: half, the same, double, for the same seconds of training, the peak in proportion. Seconds are
       measured, so the lengths of these runs differ from one start to the next.
    3. Momentum 0.99, 0.97, 0.95, 0.9, the peak times (1 - momentum) / (1 - the task's): the effective step stays.
    4. Weight decay 1e-3, 1e-4, 1e-5, 0, then twice the middle exponent between the best and its better neighbour.

    Short runs take an eighth of the horizon, a whole 1cycle each, from one initialisation. The lower validation loss
    wins; a tie within 5 % goes to what the task has. Source: Smith 2018, "A disciplined approach to neural network
    hyper-parameters, part 1", section 4 and its box of remarks.

    Args:
        task: the task.
        store: where the runs are recorded, and not trained again.
        splits: its data.
        seed: of all short runs.
        fresh_seed: of the two full runs.
        tell: is told, in a line, what is tried.

    Raises:
        TaskError: for a task that a function of somebody's own trains: see `follow_own`.
        WorkError: if the range tests are flat, so that there is no peak to begin with; or if training fails.
        KeyboardInterrupt: when interrupted; what ended is recorded.
    """
    find_classification(task)
    bench = _Bench(store, splits, seed, tell or (lambda line: None))
    low, high = task.lr_range
    length = ramp_steps(task)
    tested = make_range_tests(bench.trainer(task), store, ramp(low, high, length), length, [seed, seed + 1])
    middle = range_test_optimum(tested.advice.readings)
    for note in dict.fromkeys(tested.advice.notes):
        bench.tell(f"range test: {note}")
    if middle is None:
        raise WorkError(f"the range tests of {task.name} are flat: there is no learning rate to begin with")
    peak = PEAK_SHARE * float(f"{middle:.3g}")
    bench.tell(f"the peak is {peak:.2g}, half of the middle of the range tests' bottom")
    found, own_peak, steps = task, peak, []
    for choose in (_batch, _momentum, _decay):
        step, found, peak = choose(bench, found, peak)
        steps.append(step)
    policy, plain = onecycle(peak, found.horizon), onecycle(own_peak, task.horizon)
    scores = [bench.train(of, one, of.horizon, fresh_seed).run.score for of, one in ((task, plain), (found, policy))]
    cost = 2 * length / task.horizon + sum(bench.trained.values()) / (task.horizon * task.batch_size)
    return Recipe(task, found, policy, tested.advice, tuple(steps), scores[0], scores[1], cost)


def onecycle(peak: float, steps: int) -> Policy:
    """Give Smith's 1cycle over so many steps: up from a tenth in 45 %, back in 45 %, down to a thousandth.

    >>> onecycle(0.1, 100)
    ONECYCLE(k0=0.01, k1=0.1, l=[45, 90, 100], k2=0.0001)
    """
    top = float(f"{peak:.3g}")
    marks = [round(0.45 * steps), round(0.9 * steps), steps]
    return ONECYCLE(k0=float(f"{top / 10:.3g}"), k1=top, l=marks, k2=float(f"{top / 1000:.3g}"))


def short_steps(task: Task) -> int:
    """The updates of a short run: an eighth of the horizon, 50 at least."""
    return min(task.horizon, max(LEAST_SHORT, round(SHORT_SHARE * task.horizon)))


def said(value: Any) -> str:
    """A value of a setting, for people.

    >>> said(0.1), said("adamw"), said(True), said([1, 2])
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
        bench.tell(f"batch size {size}, {counted(steps, 'step')}")
        tried.append(bench.short(variant, peak * size / own, size, min(steps, variant.horizon)))
    step = _chosen("batch size", own, tried)
    size = round(step.chosen)
    return step, variants[size], peak * size / own


def _seconds(bench: _Bench, variants: Mapping[int, Classification]) -> dict[int, float]:
    """Measure the seconds of a step at each batch size: the median of rounds in turn, after one that warms up."""
    measured: dict[int, list[float]] = {size: [] for size in variants}
    for _ in range(1 + CLOCK_ROUNDS):
        for size, task in variants.items():
            measured[size].append(_clocked(bench.trainer(task), RunSpec(task, FIX(k0=1e-6), CLOCK_STEPS, bench.seed)))
    return {size: statistics.median(found[1:]) for size, found in measured.items()}


def _clocked(trainer: "Trainer", spec: RunSpec) -> float:
    """Measure the seconds of a step by a short run that looks at one validation sample only."""
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
        bench.tell(f"momentum {value:g}")
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
        bench.tell(f"weight decay {value:g}")
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
    """Give the middle, on a log axis, of the best value and its better neighbour; None if one of them is 0."""
    ranked = sorted((one for one in tried if one.value > 0), key=lambda one: one.value)
    losses = [math.inf if one.loss is None else one.loss for one in ranked]
    best = losses.index(min(losses, default=math.inf)) if losses else 0
    sides = [place for place in (best - 1, best + 1) if 0 <= place < len(ranked)]
    if not sides or not math.isfinite(losses[best]):
        return None
    side = min(sides, key=lambda place: losses[place])
    return float(f"{math.sqrt(ranked[best].value * ranked[side].value):.2g}")


def _chosen(setting: str, own: float, tried: Sequence[Tried]) -> Step:
    """Give the step: the lowest loss wins, and a tie goes to what the task has."""
    losses = {one.value: math.inf if one.loss is None else one.loss for one in tried}
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
