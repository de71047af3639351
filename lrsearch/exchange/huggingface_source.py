"""transformers' schedules as people write them: get_scheduler("cosine", ...), get_cosine_schedule_with_warmup(...)."""

from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.exchange.huggingface import SCHEDULES
from lrsearch.exchange.source import ParsedCall, read

WARMUP, TOTAL = "num_warmup_steps", "num_training_steps"
MIN_LR = (WARMUP, TOTAL, "num_cycles", "last_epoch", "min_lr", "min_lr_rate")
FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "get_constant_schedule": ("constant", ("last_epoch",)),
    "get_constant_schedule_with_warmup": ("constant_with_warmup", (WARMUP, "last_epoch")),
    "get_linear_schedule_with_warmup": ("linear", (WARMUP, TOTAL, "last_epoch")),
    "get_cosine_schedule_with_warmup": ("cosine", (WARMUP, TOTAL, "num_cycles", "last_epoch")),
    "get_cosine_with_hard_restarts_schedule_with_warmup": (
        "cosine_with_restarts",
        (WARMUP, TOTAL, "num_cycles", "last_epoch"),
    ),
    "get_polynomial_decay_schedule_with_warmup": ("polynomial", (WARMUP, TOTAL, "lr_end", "power", "last_epoch")),
    "get_inverse_sqrt_schedule": ("inverse_sqrt", (WARMUP, "timescale", "last_epoch")),
    "get_cosine_with_min_lr_schedule_with_warmup": ("cosine_with_min_lr", MIN_LR),
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": ("cosine_warmup_with_min_lr", (*MIN_LR, "warmup_lr_rate")),
    "get_wsd_schedule": (
        "warmup_stable_decay",
        (
            WARMUP,
            "num_decay_steps",
            TOTAL,
            "num_stable_steps",
            "warmup_type",
            "decay_type",
            "min_lr_ratio",
            "num_cycles",
            "last_epoch",
        ),
    ),
    "get_reduce_on_plateau_schedule": ("reduce_lr_on_plateau", ()),
}
"""transformers' functions: the schedule's name, and the arguments after the optimizer, in order."""
GENERAL: tuple[str, ...] = (WARMUP, TOTAL, "scheduler_specific_kwargs")


def schedule_of(source: str) -> tuple[str, dict[str, Any]]:
    """The name of a schedule and its arguments by name.

    Raises:
        PolicyError: if it is no call of a schedule, or an argument is given twice.

    >>> schedule_of("get_linear_schedule_with_warmup(optimizer, 100, num_training_steps=1000)")
    ('linear', {'num_warmup_steps': 100, 'num_training_steps': 1000})
    """
    parsed = read(source)
    name, positions, positional, named = parsed.name, GENERAL, parsed.positional, parsed.named
    if name in FUNCTIONS:
        name, positions = FUNCTIONS[name]
    elif name == "get_scheduler":
        name, positional, named = _scheduler(parsed)
    if len(positional) > len(positions):
        raise _no_schedule_call(source)
    arguments = _without_repeats((*zip(positions, positional, strict=False), *named), source)
    specific = arguments.pop("scheduler_specific_kwargs", None) or {}
    if not isinstance(specific, dict):
        raise PolicyError(f"scheduler_specific_kwargs is a dict, got {type(specific).__name__}")
    if arguments.pop("last_epoch", -1) not in (-1, None):
        raise PolicyError("last_epoch: a schedule is read from its start, which is -1")
    if arguments.keys() & specific.keys() or {"name", "lr"} & (arguments.keys() | specific.keys()):
        raise _no_schedule_call(source)
    return name, arguments | specific


def _scheduler(parsed: ParsedCall) -> tuple[Any, tuple[Any, ...], tuple[tuple[str, Any], ...]]:
    """The name argument of get_scheduler, first or by keyword, and the other arguments."""
    named = tuple((key, value) for key, value in parsed.named if key != "name")
    if len(named) < len(parsed.named):
        return dict(parsed.named)["name"], parsed.positional, named
    return (parsed.positional[0], parsed.positional[1:], named) if parsed.positional else ("", (), named)


def _without_repeats(pairs: tuple[tuple[str, Any], ...], source: str) -> dict[str, Any]:
    arguments = dict(pairs)
    if len(arguments) < len(pairs):
        raise _no_schedule_call(source)
    return arguments


def _no_schedule_call(source: str) -> PolicyError:
    return PolicyError(
        'expected get_scheduler("cosine", num_warmup_steps=10, ...), get_cosine_schedule_with_warmup('
        f"optimizer, 10, ...) or {next(iter(SCHEDULES))}(...), each argument once, got {source[:120]!r}"
    )
