"""The text of a policy: `NAME(field=value, ...)`, read without eval and within limits.

    term   = NAME "(" [ field *( "," field ) ] ")"
    field  = name "=" value
    value  = item | "[" item *( "," item ) "]"
    item   = number | duration | term                        duration: 3ep, 0.1dur

At most 4,096 characters, 4 policies deep, 64 items in a list. Spaces are free.
"""

import re
from typing import Any, NoReturn

from lrsearch.errors import PolicyError, unknown
from lrsearch.schedules.functions import FUNCTIONS
from lrsearch.schedules.making import DEEPEST, LONGEST_TEXT
from lrsearch.schedules.policy import Policy
from lrsearch.schedules.values import canonical_value

TOKEN = re.compile(
    r"[ \t]*(?:(?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?(?:ep|dur)?)(?![0-9A-Za-z_.])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[(),=\[\]]))"
)


def parse(text: str) -> Policy:
    """Read a policy from its text.

    Raises:
        PolicyError: if the text is not a policy; it says where, and what would do.

    >>> parse("TRI(k0=0.001, k1=0.006, l=2000)")(1000)
    0.0035
    """
    if not isinstance(text, str):
        raise PolicyError(f"a policy is read from text such as 'FIX(k0=0.1)', got {type(text).__name__}")
    if len(text) > LONGEST_TEXT:
        raise PolicyError(f"a policy's text has at most {LONGEST_TEXT} characters, got {len(text)}")
    reader = _Reader(text)
    policy = reader.term(depth=1)
    reader.expect("end")
    return policy


class _Reader:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.next = 0

    def term(self, depth: int) -> Policy:
        start = self.next
        name = self.expect("name")
        if name not in FUNCTIONS:
            self.refuse(unknown("LR function", name, FUNCTIONS), start)
        if depth > DEEPEST:
            self.refuse(f"policies nest at most {DEEPEST} deep", start)
        self.expect("(")
        params: dict[str, Any] = {}
        while self.peek() != ")":
            if params:
                self.expect(",")
            field = self.expect("name")
            if field in params:
                self.refuse(f"{field} is given twice", self.next - 1)
            self.expect("=")
            params[field] = self.value(depth)
        self.expect(")")
        try:
            return FUNCTIONS[name](**params)
        except PolicyError as error:
            self.refuse(str(error), start)

    def value(self, depth: int) -> Any:
        if self.peek() != "[":
            return self.item(depth)
        self.expect("[")
        items = [self.item(depth)]
        while self.peek() == ",":
            self.expect(",")
            items.append(self.item(depth))
        self.expect("]")
        return items

    def item(self, depth: int) -> Any:
        if self.peek() == "name":
            return self.term(depth + 1)
        at = self.next
        text = self.expect("number")
        number = canonical_value(text if text[-1].isalpha() else float(text))
        if number is None:
            self.refuse("a number must be finite, a duration above 0 and at most 1e6", at)
        return number

    def peek(self) -> str:
        return self.tokens[self.next][0]

    def expect(self, kind: str) -> str:
        found, text, _ = self.tokens[self.next]
        if found != kind:
            self.refuse(f"expected {_SAYS.get(kind, repr(kind))}, found {text[:20]!r}" if text else
                        f"expected {_SAYS.get(kind, repr(kind))}, found the end", self.next)
        self.next += 1
        return text

    def refuse(self, problem: str, token: int) -> NoReturn:
        raise PolicyError(f"{problem} (at character {self.tokens[token][2] + 1} of {self.text[:120]!r})")


_SAYS = {"name": "a name", "number": "a number", "end": "the end"}


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Split into (kind, text, position); marks are their own kind."""
    tokens: list[tuple[str, str, int]] = []
    position, end = 0, len(text.rstrip(" \t"))
    for match in TOKEN.finditer(text, 0, end):
        if match.start() != position:
            break
        position = match.end()
        kind, found = match.lastgroup or "", match[match.lastindex or 0]
        tokens.append((found if kind == "mark" else kind, found, position - len(found)))
    if position < end:
        start = position + len(text[position:]) - len(text[position:].lstrip(" \t"))
        raise PolicyError(f"cannot read {text[start:start + 20]!r} (at character {start + 1} of {text[:120]!r})")
    return [*tokens, ("end", "", end)]
