"""The JSON of a policy: whatever is written is read back, whatever else is read is refused."""

import json

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.schedules import CHAIN, FIX, FUNCTIONS, NSTEP, PLATEAU, SAMPLED, STEP, TRI, WARMUP, from_json, to_json

VALID = '{"format": "lrsearch.policy/1", "name": "TRI", "k0": 0.001, "k1": 0.006, "l": 2000}'
HEAD = '{"format": "lrsearch.policy/1", "name": '
PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "null",
    "true",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1_0",
    "0x1",
    "-",
    "1e-5",
    "\\",
    "\\u0000",
    "\0",
    "\N{GRINNING FACE}",
    "9" * 400,
    "{}",
    "[]",
    " ",
    "0ep",
    "dur",
    "[1, 2]",
    '"k0": 1, ',
    '"l": "3ep"',
    '"name": "FIX", ',
    '"policy": {"name": "FIX", "k0": 1}',
    '"format": "lrsearch.policy/1"',
]


def test_ten_thousand_random_policies_are_read_back_from_their_json(ten_thousand):
    for policy in ten_thousand:
        text = to_json(policy)
        assert from_json(text) == policy
        assert (to_json(from_json(text)), len(text) <= 16_384) == (text, True)


def mutated(text: str, rng: np.random.Generator) -> str:
    """Cut, double or replace up to three pieces of a text."""
    for _ in range(rng.integers(1, 4)):
        a = int(rng.integers(0, len(text) + 1))
        b = min(len(text), a + int(rng.integers(0, 7)))
        piece = PIECES[int(rng.integers(len(PIECES)))]
        text = [text[:a] + text[b:], text[:b] + text[a:], text[:a] + piece + text[b:]][int(rng.integers(3))]
    return text


STRAYS = [
    "1",
    "0.5",
    '"3ep"',
    "true",
    "null",
    "[]",
    "[1, 2]",
    '{"name": "FIX", "k0": 1}',
    "{}",
    '"TRI"',
    "-1",
    "1e400",
    "[[1]]",
    '[{"name": "FIX", "k0": 1}, {"name": "FIX", "k0": 1}]',
]


def rewritten(result: object, rng: np.random.Generator) -> object:
    """Replace one value or name somewhere in an object by what does not belong there, or by what may."""
    inside = list(result) if isinstance(result, dict) else range(len(result)) if isinstance(result, list) else []
    if not inside or rng.random() < 0.1:
        return json.loads(STRAYS[int(rng.integers(len(STRAYS)))])
    changed = {**result} if isinstance(result, dict) else [*result]
    place = inside[int(rng.integers(len(inside)))]
    if isinstance(changed, dict) and rng.random() < 0.1:
        changed[["k0", "k1", "l", "warm", "format", "name"][rng.integers(6)]] = changed.pop(place)
    else:
        changed[place] = rewritten(changed[place], rng)
    return changed


def test_twenty_thousand_mutated_jsons_are_policies_or_policy_errors_and_nothing_else(ten_thousand):
    rng = np.random.default_rng(23)
    read = refused = 0
    for n, policy in enumerate(ten_thousand * 2):
        text = to_json(policy)
        text = mutated(text, rng) if n < 10_000 else json.dumps(rewritten(json.loads(text), rng))
        try:
            result = from_json(text)
        except PolicyError as error:
            refused += 1
            assert len(str(error)) < 1000, text
        else:
            read += 1
            assert from_json(to_json(result)) == result, text
    assert read > 1500
    assert refused > 10_000


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (TRI(k0=0.001, k1=0.006, l=2000), VALID),
        (STEP(k0=1, gamma=0.5, l="3ep"), HEAD + '"STEP", "k0": 1, "gamma": 0.5, "l": "3ep", "k1": 0}'),
        (NSTEP(k0=1, gamma=0.5, l=[5, "0.5dur"]), HEAD + '"NSTEP", "k0": 1, "gamma": 0.5, "l": [5, "0.5dur"]}'),
        (WARMUP(policy=FIX(k0=1e-5), l=5), HEAD + '"WARMUP", "policy": {"name": "FIX", "k0": 1e-05}, "l": 5}'),
        (
            CHAIN(policies=[FIX(k0=1), FIX(k0=2)], at=[5]),
            HEAD + '"CHAIN", "policies": [{"name": "FIX", "k0": 1}, {"name": "FIX", "k0": 2}], "at": [5]}',
        ),
        (
            SAMPLED(policy=FIX(k0=1), every=[1, 2]),
            HEAD + '"SAMPLED", "policy": {"name": "FIX", "k0": 1}, "every": [1, 2]}',
        ),
        (
            PLATEAU(k0=1, gamma=0.5),
            HEAD + '"PLATEAU", "k0": 1, "gamma": 0.5, "patience": 10, "cooldown": 0,'
            ' "threshold": 0.0001, "k1": 0, "eps": 0}',
        ),
        (
            PLATEAU(k0=1, gamma=0.5, maximize=1),
            HEAD + '"PLATEAU", "k0": 1, "gamma": 0.5, "patience": 10,'
            ' "cooldown": 0, "threshold": 0.0001, "k1": 0, "eps": 0, "maximize": 1}',
        ),
    ],
    ids=str,
)
def test_a_policy_is_one_object_with_its_defaults_written_out(policy, text):
    assert to_json(policy) == text
    assert from_json(text) == policy


def test_spaces_the_order_of_names_and_left_out_defaults_make_no_difference():
    plain = from_json('{"format": "lrsearch.policy/1", "name": "STEP", "k0": 1, "gamma": 0.5, "l": 3}')
    turned = from_json('\n{ "l" :3e0, "k1":-0.0,"gamma":5e-1,"k0":1.0,"name":"STEP","format":"lrsearch.policy/1" }\t')
    assert turned == plain


NESTED = '{"name": "WARMUP", "l": 1, "policy": '
REFUSED = [
    ("", "not JSON: Expecting value"),
    ("null", 'an object with "format": "lrsearch.policy/1", got '),
    ("[]", 'an object with "format": "lrsearch.policy/1", got '),
    ('{"name": "FIX", "k0": 1}', 'an object with "format": "lrsearch.policy/1", got '),
    ('{"format": "lrsearch.policy/2", "name": "FIX", "k0": 1}', 'an object with "format": "lrsearch.policy/1", got '),
    ('{"format": "lrsearch.policy/1", "k0": 1}', "no LR function 'None'"),
    (HEAD + '"FOX", "k0": 1}', r"no LR function 'FOX'; did you mean 'FIX'.* \(at the policy\)"),
    (HEAD + '["FIX"], "k0": 1}', "no LR function"),
    (HEAD + '"FIX", "k0": 1, "k0": 1}', "not JSON: k0 is given twice"),
    (HEAD + '"WARMUP", "l": 1, "policy": {"name": "FIX", "k0": 1, "k0": 2}}', "not JSON: k0 is given twice"),
    (HEAD + '"FIX"}', r"FIX takes k0; missing k0 \(at the policy\)"),
    (HEAD + '"FIX", "k0": 1, "k2": 1}', "FIX takes k0; unknown k2"),
    (HEAD + '"FIX", "k0": "0.1"}', "k0 must be a learning rate in .* got '0.1'"),
    (HEAD + '"FIX", "k0": "3ep"}', "k0 must be a learning rate in .* got '3ep'"),
    (HEAD + '"FIX", "k0": true}', "k0 must be a learning rate in .* got True"),
    (HEAD + '"FIX", "k0": null}', "k0 must be a learning rate in .* got None"),
    (HEAD + '"FIX", "k0": [1]}', "k0 must be a learning rate in"),
    (HEAD + '"FIX", "k0": {}}', r"no LR function 'None'.* \(at the policy.k0\)"),
    (HEAD + '"FIX", "k0": NaN}', "not JSON: NaN is no number"),
    (HEAD + '"FIX", "k0": Infinity}', "not JSON: Infinity is no number"),
    (HEAD + '"FIX", "k0": -Infinity}', "not JSON: -Infinity is no number"),
    (HEAD + '"FIX", "k0": 1e999}', "k0 must be a learning rate in .* got inf"),
    (HEAD + '"FIX", "k0": 1_0}', "not JSON"),
    (HEAD + f'"FIX", "k0": {"9" * 400}}}', "k0 must be a learning rate in"),
    (HEAD + f'"FIX", "k0": {"9" * 5000}}}', "not JSON: Exceeds the limit"),
    (HEAD + '"TRI", "k0": 0, "k1": 1, "l": "3 ep"}', "l must be a number of steps in .* or a duration"),
    (HEAD + '"NSTEP", "k0": 1, "gamma": 0.5, "l": [[5]]}', "l must be a list of 1 to 64 rising"),
    (HEAD + f'"NSTEP", "k0": 1, "gamma": 0.5, "l": {[*range(1, 66)]}}}', r"at most 64 items, got 65 \(at .*\.l\)"),
    (HEAD + '"WARMUP", "l": 1, "policy": "FIX(k0=1)"}', r"WARMUP: policy must be .* \(at the policy\)"),
    (HEAD + '"WARMUP", "l": 1, "policy": {"name": "FIX", "k0": -1}}', r"FIX: k0 must be .* \(at the policy.policy\)"),
    (HEAD + '"WARMUP", "l": 1, "policy": {"name": "ASLR", "k0": 1}}', "policy must be a policy that needs no feedback"),
    (
        HEAD + '"CHAIN", "at": [5], "policies": [{"name": "FIX", "k0": 1}, {"name": "FIX"}]}',
        r"missing k0 \(at the policy.policies\[1\]\)",
    ),
    (HEAD + '"WARMUP", "l": 1, "policy": {"format": "lrsearch.policy/1", "name": "FIX", "k0": 1}}', "unknown format"),
    (HEAD + '"WARMUP", "l": 1, "policy": ' + NESTED * 3 + '{"name": "FIX", "k0": 1}' + "}" * 4, "at most 4 deep"),
    (HEAD + '"NSTEP", "l": ' + "[" * 15_000, "not JSON"),
    (HEAD + '"FIX", "k0": 1}' + " " * 16_384, "at most 16384 characters, got 16"),
    (HEAD + '"FIX", "k0": 1} {}', "not JSON: Extra data"),
    ("\ufeff\ufeff" + VALID, "not JSON: Unexpected UTF-8 BOM"),
    ("FIX(k0=1)", "not JSON: Expecting value"),
    ("{'name': 'FIX'}", "not JSON"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=[f"{says[:30]}-{text[38:68]!a}" for text, says in REFUSED])
def test_what_is_no_policy_is_refused_with_the_reason(text, says):
    with pytest.raises(PolicyError, match=says) as refusal:
        from_json(text)
    assert len(str(refusal.value)) < 800


@pytest.mark.parametrize("value", [None, 1, VALID.encode(), {"name": "FIX"}, FIX(k0=1)], ids=repr)
def test_only_a_text_is_read(value):
    with pytest.raises(PolicyError, match=f"a policy's JSON is a text, got {type(value).__name__}$"):
        from_json(value)


def test_the_longest_hostile_json_is_refused_with_a_short_message():
    deep = HEAD + '"WARMUP", "policy": ' + NESTED * 400
    for text in ["[" * 16_384, '{"a":' * 3000, "9" * 16_384, '"' * 16_384, deep, HEAD + f'"{"F" * 16_000}"}}']:
        with pytest.raises(PolicyError, match=r"not JSON|no LR function|an object with") as refusal:
            from_json(text)
        assert len(str(refusal.value)) < 800


def test_every_function_s_example_has_a_json():
    for function in FUNCTIONS.values():
        assert json.loads(to_json(function.example))["name"] == function.name
        assert from_json(to_json(function.example)) == function.example
