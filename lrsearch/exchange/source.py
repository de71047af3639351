"""Calls as people paste them, `StepLR(optimizer, step_size=30, gamma=0.1)`: read as data, never evaluated."""

import ast
import warnings
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.call import POSITIONS, Call
from lrsearch.exchange.numbers import text as checked_text

LONGEST_SOURCE = 4096
DEEPEST = 4
PREFIXES = {"", "torch.optim.lr_scheduler", "optim.lr_scheduler", "lr_scheduler", "transformers",
            "transformers.optimization"}


@dataclass(frozen=True, slots=True)
class Said:
    """A call as it is written: its name, positional arguments, and keyword arguments."""

    name: str
    positional: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]


def read(source: str) -> Said:
    """Read one call of literals and of calls inside it; a name, or self.optimizer, comes first and is the optimizer.

    Raises:
        PolicyError: if the text is anything else.

    >>> read("scheduler = StepLR(optimizer, 30, gamma=-0.1)  # as pasted")
    Said(name='StepLR', positional=(30,), named=(('gamma', -0.1),))
    """
    checked_text(source, "Python source", LONGEST_SOURCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PolicyError(f"not Python source: {error} (in {source[:120]!r})") from None
    statement = body[0] if len(body) == 1 else None
    if not isinstance(statement, ast.Expr | ast.Assign) or not isinstance(statement.value, ast.Call):
        raise PolicyError(f"expected one call such as StepLR(step_size=30, gamma=0.1), got {source[:120]!r}")
    return _call(statement.value, 1)


def torch_call(source: str, lr: float) -> Call:
    """Read the call of a torch scheduler for an optimizer of a learning rate.

    >>> torch_call("lr_scheduler.StepLR(optimizer, 30)", 0.1).arguments
    (('step_size', 30),)
    """
    return _named(read(source), lr)


def _named(said: Said, lr: float) -> Call:
    if said.name not in POSITIONS:
        raise PolicyError(_why_not(said.name))
    names = POSITIONS[said.name]
    if len(said.positional) > len(names):
        raise PolicyError(f"{said.name} takes {', '.join(names)}; give what comes after them by name")
    given = (*zip(names, said.positional, strict=False), *said.named)
    twice = [name for name, _ in given if [other for other, _ in given].count(name) > 1]
    if twice:
        raise PolicyError(f"{said.name}: {twice[0]} is given twice")
    return Call(name=said.name, arguments=tuple((name, _inside(value, lr)) for name, value in given), lr=lr)


def _why_not(name: str) -> str:
    if name in ("LambdaLR", "MultiplicativeLR"):
        return f"{name} holds arbitrary code, which is no value: write the curve as a policy"
    return unknown("torch scheduler", name, POSITIONS)


def _inside(value: Any, lr: float) -> Any:
    if isinstance(value, Said):
        return _named(value, lr)
    if isinstance(value, dict):
        raise PolicyError("torch's schedulers take no dict")
    return tuple(_inside(item, lr) for item in value) if isinstance(value, tuple) else value


def _call(node: ast.Call, depth: int) -> Said:
    if depth > DEEPEST:
        raise PolicyError(f"calls nest at most {DEEPEST} deep")
    prefix, _, name = _dotted(node.func).rpartition(".")
    if prefix not in PREFIXES:
        raise PolicyError(f"{prefix[:80]!r} is no module of schedulers. Known: {', '.join(sorted(PREFIXES - {''}))}")
    last = 1 if name == "get_scheduler" else 0
    arguments = [value for place, value in enumerate(node.args) if place > last or not _is_optimizer(value)]
    named = [(word.arg, word.value) for word in node.keywords if word.arg != "optimizer"]
    values = []
    for key, value in named:
        if key is None:
            raise PolicyError(f"{name}: ** is no literal argument")
        values.append((key, _value(value, depth)))
    return Said(name, tuple(_value(value, depth) for value in arguments), tuple(values))


def _is_optimizer(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and node.attr == "optimizer")


def _dotted(node: ast.expr) -> str:
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise PolicyError("only schedulers by name are called")
    return ".".join([node.id, *reversed(words)])


def _value(node: ast.expr, depth: int) -> Any:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        number = node.operand.value
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_value(item, depth) for item in node.elts)
    if isinstance(node, ast.Dict):
        return {_key(key): _value(value, depth) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Call):
        return float("inf") if _is_infinity(node) else _call(node, depth + 1)
    raise PolicyError(f"only literals and schedulers are arguments, not {type(node).__name__}"
                      f" (at character {node.col_offset + 1})")


def _is_infinity(node: ast.Call) -> bool:
    """Whether it is float("inf"), the one number that has no literal."""
    first = node.args[0] if len(node.args) == 1 else None
    return (isinstance(node.func, ast.Name) and node.func.id == "float" and not node.keywords
            and isinstance(first, ast.Constant) and first.value == "inf")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise PolicyError("the keys of a dict are texts")
