"""transformers' schedules (`get_scheduler`, `lr_scheduler_type`) and policies, in both directions.

Their factors are translated from the code of transformers 5.23, also past the last training step: "cosine" climbs
again there, so it is COS and not HALFCOS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.huggingface_calls import require_restarts, to_huggingface
from lrsearch.exchange.numbers import number, whole
from lrsearch.exchange.phases import joined, later, swing
from lrsearch.exchange.torch import plateau
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS

FIX, LINEAR, HALFCOS, POLY, INV, INVSQRT, WSD, COOLDOWN, SGDR, WARMUP = (
    FUNCTIONS[name]
    for name in ("FIX", "LINEAR", "HALFCOS", "POLY", "INV", "INVSQRT", "WSD", "COOLDOWN", "SGDR", "WARMUP")
)
__all__ = ["from_huggingface", "to_huggingface"]

Specific = Mapping[str, Any]


def from_huggingface(
    name: str, lr: float, num_warmup_steps: int | None = None, num_training_steps: int | None = None, **specific: Any
) -> Policy:
    """Read the policy of a schedule of transformers; transformers itself is not needed.

    Args:
        name: the schedule's name, as in `get_scheduler` and `lr_scheduler_type`.
        lr: the optimizer's learning rate.
        num_warmup_steps: updates until the learning rate is reached.
        num_training_steps: updates of the whole training.
        specific: the items of `scheduler_specific_kwargs`.

    Raises:
        PolicyError: if no policy is exactly this schedule; the message has the reason.

    >>> from_huggingface("linear", 5e-5, num_warmup_steps=100, num_training_steps=1000)
    WARMUP(policy=LINEAR(k0=5e-5, l=900), l=100)
    >>> from_huggingface("inverse_sqrt", 0.001, 4000)
    INVSQRT(k0=0.001, l=4000)
    """
    if not isinstance(name, str) or name not in SCHEDULES:
        raise PolicyError(unknown("schedule of transformers", str(name), SCHEDULES))
    schedule = SCHEDULES[name]
    odd = sorted(set(specific) - set(schedule.takes))
    if odd:
        takes = ", ".join(schedule.takes) or "nothing of its own"
        raise PolicyError(f"{name} takes {takes}; unknown {', '.join(odd)}"[:400])
    try:
        steps = _Steps(
            lr=number(lr, "lr"),
            warmup=whole(_needed(num_warmup_steps, "num_warmup_steps", schedule.needs), "num_warmup_steps"),
            total=whole(_needed(num_training_steps, "num_training_steps", schedule.needs), "num_training_steps"),
            has_total=num_training_steps is not None,
        )
        return schedule.policy(steps, specific)
    except PolicyError as error:
        raise PolicyError(f"{name}: {error}") from None


@dataclass(frozen=True, slots=True)
class _Steps:
    """The general arguments of every schedule."""

    lr: float
    warmup: int
    total: int
    has_total: bool

    @property
    def rest(self) -> int:
        """The steps after the warm-up, at least 1 as in transformers."""
        return max(1, self.total - self.warmup)

    def warmed(self, policy: Policy) -> Policy:
        return WARMUP(policy=policy, l=self.warmup) if self.warmup else policy

    @property
    def rise(self) -> Policy:
        return LINEAR(k0=0, k1=self.lr, l=max(self.warmup, 1))


@dataclass(frozen=True, slots=True)
class _Schedule:
    """A schedule of transformers: its policy, its own arguments, and the general arguments that it needs."""

    policy: Callable[[_Steps, Specific], Policy]
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("num_warmup_steps", "num_training_steps")


def _needed(value: Any, what: str, needs: tuple[str, ...]) -> Any:
    if what in needs and value is None:
        raise PolicyError(f"{what} is needed")
    return value if value is not None and what in (*needs, "num_training_steps") else 0


def _constant(steps: _Steps, specific: Specific) -> Policy:
    return FIX(k0=steps.lr)


def _constant_with_warmup(steps: _Steps, specific: Specific) -> Policy:
    return steps.warmed(FIX(k0=steps.lr))


def _linear(steps: _Steps, specific: Specific) -> Policy:
    """A line after a warm-up; a warm-up that is as long as the training, or longer, ends at 0."""
    if steps.total <= steps.warmup:
        return joined([(steps.warmup, steps.rise)], FIX(k0=0))
    return steps.warmed(LINEAR(k0=steps.lr, l=steps.rest))


def _cycles(specific: Specific, default: float) -> float:
    cycles = number(specific.get("num_cycles", default), "num_cycles")
    if cycles < 0:
        raise PolicyError(f"num_cycles must be 0 or more, got {cycles:g}")
    return cycles


def _oscillation(steps: _Steps, floor: float, cycles: float) -> Policy:
    return FIX(k0=steps.lr) if cycles == 0 else swing(steps.lr, floor, steps.rest / (2 * cycles))


def _cosine(steps: _Steps, specific: Specific) -> Policy:
    return steps.warmed(_oscillation(steps, 0, _cycles(specific, 0.5)))


def _floor(steps: _Steps, specific: Specific) -> float:
    lowest, ratio = specific.get("min_lr"), specific.get("min_lr_rate")
    if (lowest is None) == (ratio is None):
        raise PolicyError("one of min_lr and min_lr_rate is needed, and only one")
    return number(lowest, "min_lr") if ratio is None else number(ratio, "min_lr_rate") * steps.lr


def _cosine_with_min_lr(steps: _Steps, specific: Specific) -> Policy:
    return steps.warmed(_oscillation(steps, _floor(steps, specific), _cycles(specific, 0.5)))


def _cosine_warmup_with_min_lr(steps: _Steps, specific: Specific) -> Policy:
    """A cosine that begins at the last step of the warm-up, which reaches the learning rate there."""
    lr = specific.get("warmup_lr_rate")
    first = steps.lr * number(lr, "warmup_lr_rate") if lr is not None else steps.lr / max(1, steps.warmup)
    fall = _oscillation(steps, _floor(steps, specific), _cycles(specific, 0.5))
    if steps.warmup == 0:
        return later(fall, 1)
    if steps.warmup == 1 and first != steps.lr:
        return joined([(1, FIX(k0=first))], later(fall, 1))
    return joined([(steps.warmup - 1, LINEAR(k0=first, k1=steps.lr, l=max(steps.warmup - 1, 1)))], fall)


def _cosine_with_restarts(steps: _Steps, specific: Specific) -> Policy:
    cycles, lr = _cycles(specific, 1), steps.lr
    if cycles == 1:
        return steps.warmed(HALFCOS(k0=lr, l=steps.rest))
    require_restarts(steps.rest, cycles)
    falls = SGDR(k0=0, k1=lr, l=steps.rest / cycles) if cycles else FIX(k0=lr)
    return steps.warmed(joined([(steps.rest, falls)], FIX(k0=0)))


def _polynomial(steps: _Steps, specific: Specific) -> Policy:
    end, power = number(specific.get("lr_end", 1e-7), "lr_end"), number(specific.get("power", 1.0), "power")
    if not end < steps.lr:
        raise PolicyError(f"lr_end={end:g} must be below lr={steps.lr:g}")
    if steps.total == steps.warmup:
        raise PolicyError(f"transformers divides by zero at step {steps.warmup}: no step is left after the warm-up")
    if steps.total < steps.warmup:
        return joined([(steps.warmup, steps.rise)], FIX(k0=end))
    return steps.warmed(POLY(k0=steps.lr, p=power, l=steps.rest, k1=end))


def _inverse_sqrt(steps: _Steps, specific: Specific) -> Policy:
    timescale = specific.get("timescale")
    scale = (steps.warmup or 10_000) if timescale is None else number(timescale, "timescale")
    if scale <= 0:
        raise PolicyError(f"timescale must be above 0, got {scale:g}")
    if scale == steps.warmup:
        return INVSQRT(k0=steps.lr, l=steps.warmup)
    return steps.warmed(INV(k0=steps.lr, gamma=1 / scale, p=0.5))


def _warmup_stable_decay(steps: _Steps, specific: Specific) -> Policy:
    decay = whole(specific.get("num_decay_steps"), "num_decay_steps")
    stable = specific.get("num_stable_steps")
    if stable is None and not steps.has_total:
        raise PolicyError("num_training_steps or num_stable_steps is needed")
    held = steps.total - steps.warmup - decay if stable is None else whole(stable, "num_stable_steps")
    lr, floor = steps.lr, steps.lr * number(specific.get("min_lr_ratio", 0), "min_lr_ratio")
    warm, fall = specific.get("warmup_type", "linear"), specific.get("decay_type", "cosine")
    if warm == fall == "linear" and floor == 0 and steps.warmup and held > 0 and decay:
        return WSD(k0=lr, l=[steps.warmup, steps.warmup + held, steps.warmup + held + decay])
    rise = (steps.warmup, _rise(str(warm), floor, lr, max(steps.warmup, 1)))
    if fall == "1-sqrt" and decay > max(-held, 0):
        cooldown = COOLDOWN(k0=lr, l=[max(held, 1), max(held, 1) + decay], k1=floor, p=0.5)
        return joined([rise], later(cooldown, max(1 - held, 0)))
    last = _decay(str(fall), (lr, floor), decay, max(-held, 0), _cycles(specific, 0.5))
    return joined([rise, (held, FIX(k0=lr))], last)


def _rise(kind: str, low: float, lr: float, length: int) -> Policy:
    shapes = {"linear": LINEAR, "cosine": HALFCOS, "1-sqrt": POLY}
    if kind not in shapes:
        raise PolicyError(unknown("warmup_type", kind, shapes))
    return shapes[kind](k0=low, k1=lr, l=length, **({"p": 0.5} if kind == "1-sqrt" else {}))


def _decay(kind: str, ends: tuple[float, float], length: int, passed: int, cycles: float) -> Policy:
    """The decay to the floor, from its step `passed` on; the floor alone where a long warm-up has passed all of it."""
    shapes = {"linear": LINEAR, "cosine": HALFCOS}
    if kind not in (*shapes, "1-sqrt"):
        raise PolicyError(unknown("decay_type", kind, (*shapes, "1-sqrt")))
    lr, floor = ends
    if length <= passed:
        return FIX(k0=floor)
    if kind == "cosine" and cycles != 0.5:
        waves = FIX(k0=lr) if cycles == 0 else swing(lr, floor, length / (2 * cycles))
        return joined([(length - passed, later(waves, passed))], FIX(k0=floor))
    return later(shapes[kind](k0=lr, k1=floor, l=length), passed)


def _plateau(steps: _Steps, specific: Specific) -> Policy:
    return plateau(steps.lr, **specific)


def _greedy(steps: _Steps, specific: Specific) -> Policy:
    raise PolicyError(
        "GreedyLR raises the learning rate while the metric improves and lowers it while it does not;"
        " no controller here does both"
    )


MIN_LR = ("num_cycles", "min_lr", "min_lr_rate")
PLATEAU_TAKES = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps")
GREEDY_TAKES = (*PLATEAU_TAKES, "warmup", "max_lr", "verbose", "smooth", "window_size", "reset_start")
WSD_TAKES = ("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles")
SCHEDULES: dict[str, _Schedule] = {
    "linear": _Schedule(_linear),
    "cosine": _Schedule(_cosine, ("num_cycles",)),
    "cosine_with_restarts": _Schedule(_cosine_with_restarts, ("num_cycles",)),
    "polynomial": _Schedule(_polynomial, ("lr_end", "power")),
    "constant": _Schedule(_constant, (), ()),
    "constant_with_warmup": _Schedule(_constant_with_warmup, (), ("num_warmup_steps",)),
    "inverse_sqrt": _Schedule(_inverse_sqrt, ("timescale",), ("num_warmup_steps",)),
    "reduce_lr_on_plateau": _Schedule(_plateau, PLATEAU_TAKES, ()),
    "cosine_with_min_lr": _Schedule(_cosine_with_min_lr, MIN_LR),
    "cosine_warmup_with_min_lr": _Schedule(_cosine_warmup_with_min_lr, (*MIN_LR, "warmup_lr_rate")),
    "warmup_stable_decay": _Schedule(_warmup_stable_decay, WSD_TAKES, ("num_warmup_steps",)),
    "greedy": _Schedule(_greedy, GREEDY_TAKES, ()),
}
"""Every name of transformers' SchedulerType."""
