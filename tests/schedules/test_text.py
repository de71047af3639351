"""The text of a policy: whatever is written is read back, whatever else is read is refused."""

import string

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.schedules import CHAIN, FIX, FUNCTIONS, NSTEP, REX, Policy, from_json, parse, to_json

VALID = "TRIEXP(k0=0.0001, k1=0.9, gamma=0.99994, l=2000)"
ODD = "\n\r\t\0\u00a0\u0661\u0430\ufeff%{}'\"\\;:+-_#$&*/<>?@^|~`!\N{GRINNING FACE}"
PIECES = [
    "(",
    ")",
    "[",
    "]",
    "=",
    ",",
    ".",
    "-",
    "1",
    "0",
    "9",
    "e",
    "e9",
    "e400",
    "nan",
    "inf",
    "None",
    "True",
    "k0=",
    "l=",
    "gamma=",
    "k1=0",
    "policy=",
    "FIX(k0=1)",
    "WARMUP(policy=",
    "TRI",
    "[1, 2]",
    "1_0",
    "0x1",
    " ",
    "l=[5, 8]",
    ", l=3",
    "ep",
    "dur",
    "3ep",
    "0.1dur",
    "CHAIN(policies=[",
    "at=[3]",
    "CM(",
    "ASLR(k0=1)",
    *ODD,
    *string.ascii_letters[::5],
]


def test_ten_thousand_random_policies_are_read_back_from_their_texts(ten_thousand):
    assert {policy.name for policy in ten_thousand} == set(FUNCTIONS)
    assert {policy.depth for policy in ten_thousand} == {1, 2, 3, 4}
    for policy in ten_thousand:
        text = str(policy)
        again = parse(text)
        assert again == policy
        assert (str(again), again.key, len(text) <= 4096) == (text, policy.key, True)


def mutated(text: str, rng: np.random.Generator) -> str:
    """Cut, double, move or replace up to four pieces of a text."""
    for _ in range(rng.integers(1, 5)):
        a, b = sorted(int(n) for n in rng.integers(0, len(text) + 1, 2))
        b = min(b, a + 6)
        piece = PIECES[int(rng.integers(len(PIECES)))]
        text = [
            text[:a] + text[b:],
            text[:b] + text[a:],
            text[:a] + piece + text[b:],
            text[:a] + piece + text[a:],
            text[b:] + text[:a],
        ][int(rng.choice(5, p=[0.25, 0.15, 0.3, 0.25, 0.05]))]
    return text


def test_twenty_thousand_mutated_texts_are_policies_or_policy_errors_and_nothing_else(ten_thousand):
    rng = np.random.default_rng(22)
    read = refused = 0
    for policy in ten_thousand * 2:
        text = mutated(str(policy), rng)
        try:
            result = parse(text)
        except PolicyError as error:
            refused += 1
            assert " (at character " in str(error), text
            assert len(str(error)) < 1000
        else:
            read += 1
            assert parse(str(result)) == result, text
    assert read > 500
    assert refused > 10_000


def test_spaces_the_order_of_fields_and_defaults_make_no_difference():
    policy = parse("POLY(k0=0.01, p=2, l=10000)")
    for text in ["POLY( l = 10000 ,p=2.0,\tk0=1e-2 )", " POLY(k1=0, k0=.01, p=2., l=1E4) ", "POLY(k0=0.01,p=2,l=1e+4)"]:
        assert parse(text) == policy
        assert str(parse(text)) == "POLY(k0=0.01, p=2, l=10000)"


def attack(text: object, says: str, neighbour: str = VALID) -> object:
    return pytest.param(text, says, neighbour, id=f"{str(text)[:40]!a}"[:60].replace("\\", "_"))


PAIR = "CHAIN(policies=[FIX(k0=1), FIX(k0=1)], at=[5])"
NESTED, DROPS = "WARMUP(policy=", "NSTEP(k0=1, gamma=0.5, l="
ATTACKS = [
    # size and depth
    attack(NESTED * 100_000, "at most 4096 characters, got 1400000"),
    attack(
        NESTED * 4 + "FIX(k0=1)" + ", l=1)" * 4, "policies nest at most 4 deep", NESTED * 3 + "FIX(k0=1)" + ", l=1)" * 3
    ),
    attack(NESTED * 250 + "FIX(k0=1)", "policies nest at most 4 deep"),
    attack("F" * 1_000_000, "at most 4096 characters, got 1000000"),
    attack(VALID + " " * 4096, "at most 4096 characters", VALID + " " * 4000),
    attack("F" * 4096, "no LR function 'F+ ?'", "FIX(k0=1)"),
    attack("[" * 4000, "expected a name, found '\\['"),
    attack(DROPS + "[" * 1000, "expected a number, found '\\['", DROPS + "[1])"),
    attack(f"{DROPS}{list(range(1, 66))})", "l must be a list of 1 to 64 rising", f"{DROPS}{list(range(1, 65))})"),
    attack(f"FIX(k0={'9' * 5000})", "at most 4096 characters"),
    attack(f"FIX(k0={'9' * 4000})", "a number must be finite", f"FIX(k0=0.{'9' * 4000})"),
    # numbers that are none
    attack("FIX(k0=1e999)", "a number must be finite", "FIX(k0=1e-999)"),
    attack("FIX(k0=-1e999)", "a number must be finite", "FIX(k0=-0)"),
    attack("FIX(k0=1e9999)", "cannot read '1e9999", "FIX(k0=1e5)"),
    attack("FIX(k0=NaN)", "no LR function 'NaN'", "FIX(k0=0)"),
    attack("FIX(k0=nan)", "no LR function 'nan'", "FIX(k0=0)"),
    attack("FIX(k0=inf)", "no LR function 'inf'", "FIX(k0=1)"),
    attack("FIX(k0=Infinity)", "no LR function 'Infinity'", "FIX(k0=1)"),
    attack("FIX(k0=-1)", "k0 must be a learning rate in", "FIX(k0=1)"),
    attack("FIX(k0=1_0)", "cannot read '1_0", "FIX(k0=10)"),
    attack("FIX(k0=0x10)", "cannot read '0x10", "FIX(k0=10)"),
    attack("FIX(k0=1.2.3)", "cannot read '1.2.3", "FIX(k0=1.23)"),
    attack("FIX(k0=1e)", "cannot read '1e", "FIX(k0=1e1)"),
    attack("FIX(k0=+1)", "cannot read '\\+1", "FIX(k0=1)"),
    attack("FIX(k0=--1)", "cannot read '--1", "FIX(k0=1)"),
    attack("FIX(k0=.)", "cannot read '\\.", "FIX(k0=.5)"),
    attack("FIX(k0=1j)", "cannot read '1j", "FIX(k0=1)"),
    attack("FIX(k0=1,5)", "expected a name, found '5'", "FIX(k0=1.5)"),
    attack("FIX(k0=1/3)", "cannot read '/3", "FIX(k0=0.333)"),
    attack("FIX(k0=2**9)", "cannot read '\\*\\*9", "FIX(k0=512)"),
    attack("FIX(k0=True)", "no LR function 'True'", "FIX(k0=1)"),
    attack("FIX(k0=None)", "no LR function 'None'", "FIX(k0=0)"),
    attack("FIX(k0='0.1')", "cannot read", "FIX(k0=0.1)"),
    attack("FIX(k0=0.1%)", "cannot read '%", "FIX(k0=0.1)"),
    attack("TRI(k0=0, k1=1, l=3 ep)", "expected ',', found 'ep'", "TRI(k0=0, k1=1, l=3ep)"),
    attack("TRI(k0=0, k1=1, l=3epo)", "cannot read '3epo", "TRI(k0=0, k1=1, l=3ep)"),
    attack("TRI(k0=0, k1=1, l=3EP)", "cannot read '3EP", "TRI(k0=0, k1=1, l=3ep)"),
    attack("TRI(k0=0, k1=1, l=3e)", "cannot read '3e", "TRI(k0=0, k1=1, l=3e0ep)"),
    attack("TRI(k0=0, k1=1, l=0ep)", "a duration above 0 and at most 1e6", "TRI(k0=0, k1=1, l=1e-9ep)"),
    attack("TRI(k0=0, k1=1, l=-1ep)", "a duration above 0 and at most 1e6", "TRI(k0=0, k1=1, l=1ep)"),
    attack("TRI(k0=0, k1=1, l=1e7dur)", "a duration above 0 and at most 1e6", "TRI(k0=0, k1=1, l=1e6dur)"),
    attack("TRI(k0=0, k1=1, l=1e999dur)", "a duration above 0 and at most 1e6", "TRI(k0=0, k1=1, l=1e-300dur)"),
    attack("FIX(k0=3ep)", "k0 must be a learning rate", "FIX(k0=3)"),
    # other alphabets and hidden characters
    attack("FIX(k0=\u0661)", "cannot read", "FIX(k0=1)"),
    attack("FIX(k0=\uff11)", "cannot read", "FIX(k0=1)"),
    attack("FI\u0425(k0=1)", "cannot read|expected", "FIX(k0=1)"),
    attack("F\u0406X(k0=1)", "cannot read|expected", "FIX(k0=1)"),
    attack("FIX(\u043a0=1)", "cannot read", "FIX(k0=1)"),
    attack("\ufeff\ufeffFIX(k0=1)", "cannot read", "\ufeffFIX(k0=1)"),
    attack("FIX(k0=1)\0", "cannot read", "FIX(k0=1)"),
    attack("FIX(k0\0=1)", "cannot read", "FIX(k0=1)"),
    attack("FIX(k0=1)\v", "cannot read", "FIX(k0=1)\r\n"),
    attack("FIX(k\n0=1)", "expected '='", "FIX(\nk0\n=\n1)"),
    attack("FIX(k0=1)\u00a0", "cannot read", "FIX(k0=1) "),
    attack("FIX(k0=1)\u2028", "cannot read", "FIX(k0=1)\t"),
    attack("FIX(k0=\u200b1)", "cannot read", "FIX(k0=1)"),
    attack("FIX\uff08k0=1\uff09", "cannot read", "FIX(k0=1)"),
    attack("\ud800", "cannot read", "FIX(k0=1)"),
    # code
    attack("__import__('os').system('true')", "cannot read", "FIX(k0=1)"),
    attack("__import__(os=1)", "no LR function '__import__'", "FIX(k0=1)"),
    attack("FIX.__class__(k0=1)", "cannot read '.__class__", "FIX(k0=1)"),
    attack("FIX(__class__=1)", "unknown __class__", "FIX(k0=1)"),
    attack("FIX(self=1, k0=1)", "FIX takes k0; unknown self", "FIX(k0=1)"),
    attack("FIX(**{'k0': 1})", "cannot read", "FIX(k0=1)"),
    attack("FIX(k0=1) if 1 else 2", "expected the end, found 'if'", "FIX(k0=1)"),
    attack("FIX(k0=1); import os", "cannot read ';", "FIX(k0=1)"),
    attack("lambda: 1", "cannot read ': 1'", "FIX(k0=1)"),
    attack("{k0.__class__}", "cannot read", "FIX(k0=1)"),
    attack("%s%s%n", "cannot read", "FIX(k0=1)"),
    attack("FIX(k0={0})", "cannot read", "FIX(k0=0)"),
    attack("FIX(k0=1)#", "cannot read '#'", "FIX(k0=1)"),
    attack("FIX(k0=1)--", "cannot read '--'", "FIX(k0=1)"),
    attack("'; DROP TABLE runs; --", "cannot read", "FIX(k0=1)"),
    attack("../../etc/passwd", "cannot read", "FIX(k0=1)"),
    # grammar
    attack("", "expected a name, found the end", "FIX(k0=1)"),
    attack("FIX", "expected '\\(', found the end", "FIX(k0=1)"),
    attack("FIX(", "expected a name, found the end", "FIX(k0=1)"),
    attack("FIX()", "FIX takes k0; missing k0", "FIX(k0=1)"),
    attack("FIX(k0)", "expected '=', found '\\)'", "FIX(k0=1)"),
    attack("FIX(k0=)", "expected a number, found '\\)'", "FIX(k0=1)"),
    attack("FIX(k0=1", "expected ',', found the end", "FIX(k0=1)"),
    attack("FIX(k0=1,)", "expected a name, found '\\)'", "FIX(k0=1)"),
    attack("FIX(,k0=1)", "expected a name, found ','", "FIX(k0=1)"),
    attack("FIX(k0=1))", "expected the end, found '\\)'", "FIX(k0=1)"),
    attack("FIX(k0=1) FIX(k0=1)", "expected the end, found 'FIX'", "FIX(k0=1)"),
    attack("FIX(k0=1, k0=1)", "k0 is given twice", "FIX(k0=1)"),
    attack("FIX(k0=1 l=2)", "expected ',', found 'l'", "FIX(k0=1)"),
    attack("FIX(K0=1)", "FIX takes k0; missing k0; unknown K0", "FIX(k0=1)"),
    attack("fix(k0=1)", "no LR function 'fix'; did you mean 'FIX'", "FIX(k0=1)"),
    attack("TRIEXPO(k0=0, k1=1, gamma=1, l=5)", "did you mean 'TRIEXP'", "TRIEXP(k0=0, k1=1, gamma=1, l=5)"),
    attack("FIX(k0=[1])", "k0 must be a learning rate", "FIX(k0=1)"),
    attack("FIX(k0=FIX(k0=1))", "k0 must be a learning rate", "FIX(k0=1)"),
    attack("WARMUP(policy=1, l=5)", "must be a policy that needs no feedback, got 1", "WARMUP(policy=FIX(k0=1), l=5)"),
    attack("WARMUP(policy=ASLR(k0=1), l=5)", "policy must be a policy that needs no feedback, got ASLR", "ASLR(k0=1)"),
    attack("CHAIN(policies=[FIX(k0=1)], at=[5])", "a list of 2 to 16 policies", PAIR),
    attack("CHAIN(policies=[[FIX(k0=1)], FIX(k0=1)], at=[5])", "expected a number, found '\\['", PAIR),
    attack("NSTEP(k0=1, gamma=0.5, l=[])", "expected a number, found '\\]'", "NSTEP(k0=1, gamma=0.5, l=[5])"),
    attack("NSTEP(k0=1, gamma=0.5, l=[5,])", "expected a number, found '\\]'", "NSTEP(k0=1, gamma=0.5, l=[5])"),
    attack("NSTEP(k0=1, gamma=0.5, l=[8, 5])", "rising step numbers", "NSTEP(k0=1, gamma=0.5, l=[5, 8])"),
    attack('{"name": "FIX", "k0": 1}', "cannot read", "FIX(k0=1)"),
]


@pytest.mark.parametrize(("text", "says", "neighbour"), ATTACKS)
def test_an_attack_is_refused_while_its_nearest_neighbour_is_read(text, says, neighbour):
    with pytest.raises(PolicyError, match=says) as refusal:
        parse(text)
    assert len(str(refusal.value)) < 700
    assert len(text) > 4096 or " (at character " in str(refusal.value)
    assert isinstance(parse(neighbour), Policy)


@pytest.mark.parametrize("value", [None, 1, b"FIX(k0=1)", ["FIX(k0=1)"], parse("FIX(k0=1)")], ids=repr)
def test_only_a_text_is_read(value):
    with pytest.raises(PolicyError, match=rf"read from text such as 'FIX\(k0=0.1\)', got {type(value).__name__}$"):
        parse(value)


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("FIX(k0=1;)", 9),
        ("FIX(k0=  1_0)", 10),
        ("FIX(k0=1e999)", 8),
        ("TRI(k0=1, k0=1)", 11),
        ("FIX(k0=1", 9),
        ("  FOX(k0=1)", 3),
        ("WARMUP(policy=FIX(k0=-1), l=5)", 15),
        ("WARMUP(policy=FIX(k0=1), l=-5)", 1),
        ("FIX(k0=1)  x", 12),
    ],
)
def test_a_refusal_tells_the_position(text, character):
    with pytest.raises(PolicyError, match=rf"\(at character {character} of '"):
        parse(text)


def test_the_longest_hostile_text_is_refused_with_a_short_message():
    for text in ["(" * 4096, "FIX(k0=" * 585, "1" * 4096, "[1," * 1365, "a=" * 2048]:
        with pytest.raises(PolicyError, match="at character"):
            parse(text)


def chain(inner: Policy, times: int) -> Policy:
    return CHAIN(policies=[inner] * times, at=list(range(1, times)))


def test_a_policy_whose_text_could_not_be_read_back_is_not_made():
    drops = NSTEP(k0=1, gamma=0.5, l=list(range(1_000_000_001, 1_000_000_065)))
    assert parse(str(chain(drops, 5))) == chain(drops, 5)
    with pytest.raises(PolicyError, match=r"CHAIN: a policy's text has at most 4096 characters, got 4812$"):
        chain(drops, 6)


def test_what_has_a_text_short_enough_has_a_json_short_enough():
    inner = CHAIN(policies=[REX(k0=1, l=1)] * 14, at=list(range(1, 14)))
    widest = CHAIN(policies=[inner] * 13 + [FIX(k0=1)], at=list(range(1, 14)))
    assert len(str(widest)) > 3800
    assert from_json(to_json(widest)) == widest
