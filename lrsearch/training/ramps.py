"""The policy of a range test. Without torch."""

import math

from lrsearch.errors import UsageError
from lrsearch.schedules import CM, LINEAR, RAMP, Policy

SHAPES = {"exponential": RAMP, "linear": LINEAR}
LEAST_STEPS = 20
"""Rule: at 20 updates up to 14 % of curves of pure noise look like a fall (see `heuristics.range_test`)."""


def ramp(
    low: float, high: float, steps: int, shape: str = "exponential", momentum: tuple[float, float] | None = None
) -> Policy:
    """The policy of a range test: the learning rate rises from `low` to `high` in `steps` updates.

    Args:
        low, high: learning rates, 0 < low < high.
        steps: updates, 20 or more.
        shape: "exponential" (each update by the same factor) or "linear" (by the same amount, as Smith has it).
        momentum: (first, last): it falls as the learning rate rises, as Smith's 1cycle report tests it.

    Raises:
        UsageError: for an impossible range, number of steps or shape.
    """
    if not (is_number(low) and is_number(high) and 0 < low < high < math.inf):
        raise UsageError(f"a range test goes from a learning rate above 0 to a higher one, got {low!r} to {high!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < LEAST_STEPS:
        raise UsageError(f"a range test takes {LEAST_STEPS} updates or more, got {steps!r}")
    if shape not in SHAPES:
        raise UsageError(f"the shape is exponential or linear, got {shape!r}")
    rising = SHAPES[shape](k0=low, k1=high, l=steps - 1)
    return CM(policy=rising, m0=momentum[0], m1=momentum[1]) if momentum else rising


def is_number(value: object) -> bool:
    """Whether a value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
