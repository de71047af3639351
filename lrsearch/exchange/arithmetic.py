"""Arithmetic in pasted arguments, `T_max=200*391` or `1/3`: its syntax tree is computed within bounds, without eval."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from lrsearch.errors import PolicyError

LARGEST = 2**63
LARGEST_EXPONENT = 1024
"""Bounds on results: untrusted text must not compute for long (a rule)."""
Number = int | float
OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


def is_number(value: Any) -> bool:
    """Whether a value is an int or float; True and False are not.

    >>> is_number(1e-4), is_number(True)
    (True, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def calculate(operation: ast.operator, left: Any, right: Any) -> Number:
    """The result of + - * / // or ** on two numbers.

    Raises:
        PolicyError: for another operation, and for a result that is no finite number or beyond 2^63.

    >>> calculate(ast.Mult(), 200, 391), calculate(ast.Pow(), 10, -4)
    (78200, 0.0001)
    """
    apply = OPERATIONS.get(type(operation))
    if apply is None or not (is_number(left) and is_number(right)):
        raise PolicyError("arithmetic is + - * / // and ** on numbers")
    _require_small(left, right)
    if apply is operator.pow and (abs(right) > LARGEST_EXPONENT or _bits(left) * abs(right) > LARGEST_EXPONENT):
        raise PolicyError(f"the result of ** must be at most 2^63, got an exponent of {right:.6g}")
    try:
        result = apply(left, right)
    except (ArithmeticError, ValueError) as error:
        raise PolicyError(f"arithmetic has no result: {error}") from None
    _require_small(result)
    return result  # type: ignore[no-any-return]


def _bits(value: Number) -> int:
    return abs(int(value)).bit_length()


def _require_small(*values: Any) -> None:
    for value in values:
        if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > LARGEST:
            raise PolicyError("arithmetic stays within 2^63 and real numbers")
