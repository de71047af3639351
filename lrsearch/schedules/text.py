"""The text of a policy: `NAME(field=value, ...)`, read without eval and within limits.

    term   = NAME "(" [ field *( "," field ) ] ")"
    field  = name "=" value
    value  = item | "[" item *( "," item ) "]"
    item   = number | duration | term                        duration: 3ep, 0.1dur

At most 4,096 characters, 4 policies deep, 64 items in a list. Spaces and line breaks between pieces are free.
"""

import re
from typing import Any, NoReturn

from lrsearch.errors import PolicyError, unknown
from lrsearch.schedules.functions import FUNCTIONS
from lrsearch.schedules.making import DEEPEST, LONGEST_TEXT
from lrsearch.schedules.policy import Policy
from lrsearch.schedules.values import canonical_value

SPACES = " \t\r\n"
# a piece with the spaces before it; then the number, the name or the mark
TOKEN = re.compile(
    r"([ \t\r\n]*(?:(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?(?:ep|dur)?)(?![0-9A-Za-z_.])"
    r"|([A-Za-z_][A-Za-z0-9_]*)|([(),=\[\]])))"
)


def parse(text: str) -> Policy:
    """Read a policy from its text.

    Raises:
        PolicyError: if the text is not a policy; the message names the place and the valid values.

    >>> parse("TRI(k0=0.001, k1=0.006, l=2000)")(1000)
    0.0035
    """
    if not isinstance(text, str):
        raise PolicyError(_no_text(text))
    if len(text) > LONGEST_TEXT:
        raise PolicyError(f"a policy's text has at most {LONGEST_TEXT} characters, got {len(text)}")
    reader = _TextReader(text.removeprefix("\ufeff"))
    policy = reader.term(depth=1)
    reader.expect("end")
    return policy


def _no_text(value: object) -> str:
    """A message that a value is no text; a space is meant for Ray Tune, whose configs have texts."""
    message = f"a policy is read from text such as 'FIX(k0=0.1)', got {type(value).__name__}"
    return f"{message}: Ray Tune takes it as param_space=space.to_ray()" if hasattr(value, "to_ray") else message


class _TextReader:
    """One pass over the text: each piece has a kind, "number", "name", or the mark itself."""

    __slots__ = ("kinds", "next", "pieces", "text")

    def __init__(self, text: str) -> None:
        self.text, self.next = text, 0
        tokens = TOKEN.findall(text)
        self.pieces: list[str] = [number or name or mark for _, number, name, mark in tokens]
        self.kinds = ["number" if number else "name" if name else mark for _, number, name, mark in tokens]
        self.pieces.append("")
        self.kinds.append("end")
        if sum(len(whole) for whole, *_ in tokens) < len(text.rstrip(SPACES)):
            self.refuse_unreadable()

    def term(self, depth: int) -> Policy:
        kinds, start = self.kinds, self.next
        name = self.expect("name")
        if name not in FUNCTIONS:
            self.refuse(unknown("LR function", name, FUNCTIONS), start)
        if depth > DEEPEST:
            self.refuse(f"policies nest at most {DEEPEST} deep", start)
        self.expect("(")
        params: dict[str, Any] = {}
        while kinds[self.next] != ")":
            if params:
                self.expect(",")
            field = self.expect("name")
            if field in params:
                self.refuse(f"{field} is given twice", self.next - 1)
            self.expect("=")
            params[field] = self.item(depth) if kinds[self.next] != "[" else self.items(depth)
        self.next += 1
        try:
            return FUNCTIONS[name](**params)
        except PolicyError as error:
            self.refuse(str(error), start)

    def items(self, depth: int) -> list[Any]:
        self.expect("[")
        items = [self.item(depth)]
        while self.kinds[self.next] == ",":
            self.next += 1
            items.append(self.item(depth))
        self.expect("]")
        return items

    def item(self, depth: int) -> Any:
        if self.kinds[self.next] == "name":
            return self.term(depth + 1)
        text = self.expect("number")
        value = canonical_value(text if text[-1].isalpha() else float(text))
        if value is None:
            self.refuse("a number must be finite, a duration above 0 and at most 1e6", self.next - 1)
        return value

    def expect(self, kind: str) -> str:
        at = self.next
        if self.kinds[at] != kind:
            wanted, piece = _KIND_NAMES.get(kind, repr(kind)), self.pieces[at]
            self.refuse(f"expected {wanted}, found {repr(piece[:20]) if piece else 'the end'}", at)
        self.next = at + 1
        return self.pieces[at]

    def refuse(self, problem: str, piece: int) -> NoReturn:
        starts = [max(match.start(n) for n in (2, 3, 4)) for match in TOKEN.finditer(self.text)]
        at = starts[piece] if piece < len(starts) else len(self.text.rstrip(SPACES))
        raise PolicyError(f"{problem} (at character {at + 1} of {self.text[:120]!r})")

    def refuse_unreadable(self) -> NoReturn:
        """Refuse a text; the message names the place of the first characters that are no piece."""
        end = 0
        for match in TOKEN.finditer(self.text):
            if match.start() != end:
                break
            end = match.end()
        at = end + len(self.text[end:]) - len(self.text[end:].lstrip(SPACES))
        raise PolicyError(f"cannot read {self.text[at : at + 20]!r} (at character {at + 1} of {self.text[:120]!r})")


_KIND_NAMES = {"name": "a name", "number": "a number", "end": "the end"}
