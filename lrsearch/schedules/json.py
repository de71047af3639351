"""The JSON of a policy: `{"format": "lrsearch.policy/1", "name": "TRI", "k0": 0.001, "k1": 0.006, "l": 2000}`.

Policies inside are objects without a format, durations are texts such as "3ep".
"""

import json
from typing import Any, NoReturn

from lrsearch.errors import PolicyError, unknown
from lrsearch.schedules.fields import MOST_ITEMS
from lrsearch.schedules.functions import FUNCTIONS
from lrsearch.schedules.making import DEEPEST
from lrsearch.schedules.policy import Policy
from lrsearch.schedules.values import Duration

FORMAT = "lrsearch.policy/1"
LONGEST_JSON = 16_384
"""Characters: four times the longest text, since JSON names and quotes every field (a rule)."""


def to_json(policy: Policy) -> str:
    """Write a policy as JSON.

    >>> from lrsearch.schedules import LINEAR
    >>> to_json(LINEAR(k0=0.1, l="1dur"))
    '{"format": "lrsearch.policy/1", "name": "LINEAR", "k0": 0.1, "l": "1dur", "k1": 0}'
    """
    if not isinstance(policy, Policy):
        raise PolicyError(f"only a policy is written as a policy's JSON, got {type(policy).__name__}")
    return json.dumps({"format": FORMAT, **_json_value(policy)})


def from_json(text: str) -> Policy:
    """Read a policy from its JSON.

    Raises:
        PolicyError: if the JSON is not a policy; the message names the place and the valid values.

    >>> from_json('{"format": "lrsearch.policy/1", "name": "FIX", "k0": 0.1}')
    FIX(k0=0.1)
    """
    if not isinstance(text, str):
        raise PolicyError(f"a policy's JSON is a text, got {type(text).__name__}")
    if len(text) > LONGEST_JSON:
        raise PolicyError(f"a policy's JSON has at most {LONGEST_JSON} characters, got {len(text)}")
    try:
        values = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"not JSON: {error} (in {text[:80]!r})") from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise PolicyError(f'a policy\'s JSON is an object with "format": "{FORMAT}", got {text[:80]!r}')
    return _policy(values, "the policy", 1)


def _json_value(value: Any) -> Any:
    if isinstance(value, Policy):
        pairs = zip(value.function.fields, value.values, strict=True)
        return {"name": value.name, **{f.name: _json_value(v) for f, v in pairs if not f.is_late or v != f.default}}
    if isinstance(value, tuple):
        return list(map(_json_value, value))
    return str(value) if isinstance(value, Duration) else value


def _policy(values: dict[str, Any], where: str, depth: int) -> Policy:
    name = values.pop("name", None)
    if depth > DEEPEST:
        raise PolicyError(f"policies nest at most {DEEPEST} deep (at {where})")
    if not isinstance(name, str) or name not in FUNCTIONS:
        raise PolicyError(f"{unknown('LR function', str(name)[:80], FUNCTIONS)} (at {where})")
    params = {field: _value(value, f"{where}.{field}"[:200], depth) for field, value in values.items()}
    try:
        return FUNCTIONS[name](**params)
    except PolicyError as error:
        raise PolicyError(f"{error} (at {where})") from None


def _value(value: Any, where: str, depth: int) -> Any:
    if isinstance(value, dict):
        return _policy(value, where, depth + 1)
    if isinstance(value, list):
        if len(value) > MOST_ITEMS:
            raise PolicyError(f"a list has at most {MOST_ITEMS} items, got {len(value)} (at {where})")
        return [_value(item, f"{where}[{n}]", depth) for n, item in enumerate(value)]
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]} is given twice")
    return values


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
