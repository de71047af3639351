"""Calls as people paste them, `StepLR(optimizer, step_size=30, gamma=0.1)`: read as data, never evaluated."""

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass, field
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.arithmetic import calculate, is_number
from lrsearch.exchange.call import POSITIONS, Call
from lrsearch.exchange.numbers import text as checked_text

LONGEST_SOURCE = 4096
DEEPEST = 4
MOST_VALUES = 2048
"""Limits on pasted text, which is untrusted (a rule): characters, calls inside calls, values."""
PROMPT = re.compile(r"(?m)^[ \t]*(?:>>>|\.\.\.)(?: |$)")
"""The prompt before a line of an example in a docstring."""
PREFIXES = {
    "",
    "torch.optim.lr_scheduler",
    "optim.lr_scheduler",
    "lr_scheduler",
    "transformers",
    "transformers.optimization",
}
SCHEDULER_TYPES = ("SchedulerType", "transformers.SchedulerType", "transformers.trainer_utils.SchedulerType")
Assigned = ast.Assign | ast.AnnAssign


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call as its source has it: its name, positional arguments, and keyword arguments."""

    name: str
    positional: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]


def read(source: str) -> ParsedCall:
    """Read a call whose arguments are literals, arithmetic and calls.

    A first argument that is a name, or such as self.optimizer, is the optimizer. Imports and assignments may precede
    the call, and it may use their names.

    Raises:
        PolicyError: if the text is anything else.

    >>> read("scheduler = StepLR(optimizer, 30, gamma=-0.1)  # as pasted")
    ParsedCall(name='StepLR', positional=(30,), named=(('gamma', -0.1),))
    >>> read("batches = 391; StepLR(optimizer, 30 * batches)").positional
    (11730,)
    """
    body = [statement for statement in _parsed(source) if not isinstance(statement, ast.Import | ast.ImportFrom)]
    call = _call_of(body[-1]) if body else None
    if call is None or not all(isinstance(statement, Assigned) for statement in body[:-1]):
        raise PolicyError(
            "expected one call such as StepLR(step_size=30, gamma=0.1), with nothing but imports and"
            f" assignments before it, got {source[:120]!r}"
        )
    reader = _SourceReader()
    try:
        for statement in body[:-1]:
            reader.assign(statement)  # type: ignore[arg-type]
        return reader.call(call, 1)
    except RecursionError:
        raise PolicyError(f"its arithmetic or its lists nest too deep (in {source[:120]!r})") from None


def torch_call(source: str, lr: float) -> Call:
    """Read the call of a torch scheduler, for an optimizer with a learning rate.

    >>> torch_call("lr_scheduler.StepLR(optimizer, 30)", 0.1).arguments
    (('step_size', 30),)
    """
    return _named(read(source), lr)


def _parsed(source: str) -> list[ast.stmt]:
    text = checked_text(source, "Python source", LONGEST_SOURCE)
    if PROMPT.match(text.lstrip()):
        text = PROMPT.sub("", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(textwrap.dedent(text).strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PolicyError(f"not Python source: {error} (in {source[:120]!r})") from None


def _call_of(statement: ast.stmt) -> ast.Call | None:
    """The call of a statement, with or without a comma behind it; None where there is none."""
    value = statement.value if isinstance(statement, ast.Expr | ast.Return | Assigned) else None
    if isinstance(value, ast.Tuple) and len(value.elts) == 1:
        value = value.elts[0]
    return value if isinstance(value, ast.Call) else None


def _named(parsed: ParsedCall, lr: float) -> Call:
    if parsed.name not in POSITIONS:
        raise PolicyError(_why_not(parsed.name))
    names = POSITIONS[parsed.name]
    if len(parsed.positional) > len(names):
        raise PolicyError(f"{parsed.name} takes {', '.join(names)}; give what comes after them by name")
    pairs = (*zip(names, parsed.positional, strict=False), *parsed.named)
    twice = [name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1]
    if twice:
        raise PolicyError(f"{parsed.name}: {twice[0]} is given twice")
    # verbose, up to torch 2.6, prints; it is no part of the curve
    arguments = tuple(
        (name, _inside(value, lr)) for name, value in pairs if name != "verbose" or not isinstance(value, bool)
    )
    return Call(name=parsed.name, arguments=arguments, lr=lr)


def _why_not(name: str) -> str:
    if name in ("LambdaLR", "MultiplicativeLR"):
        return f"{name} holds arbitrary code, which is no value: write the curve as a policy"
    return unknown("torch scheduler", name, POSITIONS)


def _inside(value: Any, lr: float) -> Any:
    if isinstance(value, ParsedCall):
        return _named(value, lr)
    if isinstance(value, dict):
        raise PolicyError("torch's schedulers take no dict")
    return tuple(_inside(item, lr) for item in value) if isinstance(value, tuple) else value


@dataclass(slots=True)
class _SourceReader:
    """One pass over the source: the values of its assignments so far, and how many values it may still read."""

    names: dict[str, Any] = field(default_factory=dict)
    left: int = MOST_VALUES

    def assign(self, statement: Assigned) -> None:
        """Remember the value of an assignment; one that is no value, such as the optimizer, is refused where used."""
        if statement.value is None:
            return
        try:
            value = self.value(statement.value, 1)
        except PolicyError as error:
            value = error
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            if isinstance(target, ast.Name):
                self.names[target.id] = value

    def call(self, node: ast.Call, depth: int) -> ParsedCall:
        """The call of a scheduler, without its optimizer."""
        if depth > DEEPEST:
            raise PolicyError(f"calls nest at most {DEEPEST} deep")
        prefix, _, name = _dotted(node.func).rpartition(".")
        if prefix not in PREFIXES:
            raise PolicyError(
                f"{prefix[:80]!r} is no module of schedulers. Known: {', '.join(sorted(PREFIXES - {''}))}"
            )
        place = 1 if name == "get_scheduler" and not any(word.arg == "name" for word in node.keywords) else 0
        arguments = [value for n, value in enumerate(node.args) if n != place or not self.is_optimizer(value)]
        named = [(word.arg, word.value) for word in node.keywords if word.arg != "optimizer"]
        values = []
        for key, value in named:
            if key is None:
                raise PolicyError(f"{name}: ** is no literal argument")
            values.append((key, self.value(value, depth)))
        return ParsedCall(name, tuple(self.value(value, depth) for value in arguments), tuple(values))

    def is_optimizer(self, node: ast.expr) -> bool:
        """Whether an argument stands for an object, such as the optimizer, and not for a value."""
        if isinstance(node, ast.Name):
            return isinstance(self.names.get(node.id, PolicyError()), PolicyError)
        return isinstance(node, ast.Attribute | ast.Subscript)

    def value(self, node: ast.expr, depth: int) -> Any:
        """The value of an expression: a literal, a list or dict, arithmetic, a scheduler, or an assigned name."""
        self._spend(1)
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(self.value(item, depth) for item in node.elts)
        if isinstance(node, ast.Dict):
            return {_key(key): self.value(value, depth) for key, value in zip(node.keys, node.values, strict=True)}
        if isinstance(node, ast.Name) and node.id in self.names:
            return self._named(node.id, depth)
        if isinstance(node, ast.Call):
            return self._called(node, depth)
        if isinstance(node, ast.Attribute) and _dotted(node.value) in SCHEDULER_TYPES:
            return "reduce_lr_on_plateau" if node.attr == "REDUCE_ON_PLATEAU" else node.attr.lower()
        return self._calculated(node, depth)

    def _calculated(self, node: ast.expr, depth: int) -> Any:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            number = self.value(node.operand, depth)
            if is_number(number):
                return -number if isinstance(node.op, ast.USub) else number
        if isinstance(node, ast.BinOp):
            left, right = self.value(node.left, depth), self.value(node.right, depth)
            try:
                return calculate(node.op, left, right)
            except PolicyError as error:
                raise PolicyError(f"{error} (at character {node.col_offset + 1})") from None
        raise PolicyError(
            f"only literals, arithmetic and schedulers are arguments, not {_shown(node)}"
            f" (at character {node.col_offset + 1})"
        )

    def _called(self, node: ast.Call, depth: int) -> Any:
        if _is_infinity(node):
            return float("inf")
        if isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            return {str(word.arg): self.value(word.value, depth) for word in node.keywords}
        return self.call(node, depth + 1)

    def _named(self, name: str, depth: int) -> Any:
        value = self.names[name]
        if isinstance(value, PolicyError):
            raise PolicyError(f"{name[:40]}: {value}")
        size, calls = _extent(value)
        self._spend(size)
        if depth + calls > DEEPEST:
            raise PolicyError(f"calls nest at most {DEEPEST} deep")
        return value

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise PolicyError(f"a call has at most {MOST_VALUES} values")


def _extent(value: Any) -> tuple[int, int]:
    """How many values a value has inside, and how deep its calls nest."""
    is_call = isinstance(value, ParsedCall)
    items = [*value.positional, *dict(value.named).values()] if is_call else value if isinstance(value, tuple) else []
    inside = [_extent(item) for item in items]
    return 1 + sum(size for size, _ in inside), is_call + max((calls for _, calls in inside), default=0)


def _dotted(node: ast.expr) -> str:
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise PolicyError("only schedulers by name are called")
    return ".".join([node.id, *reversed(words)])


def _shown(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return f"the name {node.id[:40]!r}: put its value there"
    return type(node).__name__


def _is_infinity(node: ast.Call) -> bool:
    """Whether a call is float("inf"), the only number that has no literal."""
    first = node.args[0] if len(node.args) == 1 else None
    return (
        isinstance(node.func, ast.Name)
        and node.func.id == "float"
        and not node.keywords
        and isinstance(first, ast.Constant)
        and first.value == "inf"
    )


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise PolicyError("the keys of a dict are texts")
