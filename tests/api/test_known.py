"""The user's policies: bound and stretched, tried first, and named where they are left out."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsearch as lrs
from lrsearch.api.known import known_policies
from lrsearch.errors import PolicyError, UsageError
from lrsearch.study.rules import FUNNEL

FILE = Path(__file__).with_name("surface.py")
surface = importlib.util.module_from_spec(importlib.util.spec_from_file_location("surface_of_known", FILE))
surface.__spec__.loader.exec_module(surface)
SPACE = lrs.Space.standard("TRI", "FIX", "HALFCOS", horizon=1000, epoch=50)
FITTING = st.builds(lambda k, l: lrs.TRI(k0=0.0, k1=k, l=l), st.floats(1e-6, 10), st.integers(5, 1000))


def asked(result, origin="known"):
    """(policy, horizon) of a search's candidates of an origin, in order."""
    return [
        (trial.policy, trial.horizon)
        for trial in result.history
        if trial.role == "candidate" and trial.origin == origin
    ]


@given(st.lists(FITTING, unique=True))
def test_policies_that_the_space_can_describe_are_tried_unchanged_in_order_without_notes(policies):
    assert known_policies(policies, SPACE) == (tuple(policies), ())
    assert known_policies(map(str, policies), SPACE) == (tuple(policies), ())


@given(st.integers(2, 100_000))
def test_a_policy_of_another_length_is_stretched_to_the_horizon_with_a_note(horizon):
    (found,), notes = known_policies(lrs.HALFCOS(k0=0.5, l=horizon), SPACE)
    assert found == lrs.HALFCOS(k0=0.5, l=1000)
    assert len(notes) == (horizon != 1000)
    assert all(str(found) in note and f"after {horizon} steps, the task after 1000" in note for note in notes)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ("SIN(k0=0.1, k1=0.2, l=100)", "is not tried: SIN is not among the functions searched, TRI, FIX, HALFCOS"),
        ("ASLR(k0=0.1)", "is not tried: ASLR"),
        ("CHAIN(policies=[FIX(k0=0.1), FIX(k0=0.01)], at=[500])", "is not tried: CHAIN"),
    ],
)
def test_what_the_space_cannot_describe_is_left_out_by_name(known, says, caplog):
    found, (note,) = known_policies(["FIX(k0=0.1)", known], SPACE)
    assert found == (lrs.FIX(k0=0.1),)
    assert str(lrs.parse(known)) in note
    assert says in note
    assert caplog.messages == [note]


def test_what_is_given_twice_is_tried_once_however_it_is_written():
    found, notes = known_policies(["TRI(k0=0.1, k1=0.2, l=0.1dur)", lrs.TRI(k0=0.1, k1=0.2, l="2ep")], SPACE)
    assert found == (lrs.TRI(k0=0.1, k1=0.2, l=100),)
    assert notes == ("TRI(k0=0.1, k1=0.2, l=100) is not tried again: it is given twice",)


@pytest.mark.parametrize(
    ("known", "error", "says"),
    [
        (None, UsageError, "known is a list of policies or their texts"),
        (5, UsageError, "known is a list"),
        ([5], UsageError, "known holds policies or their texts"),
        (["FIX(k0="], PolicyError, "^known: .*FIX"),
        (b"FIX", UsageError, "known holds policies"),
    ],
)
def test_what_is_no_policy_is_refused_before_anything_is_opened(tmp_path, known, error, says):
    with pytest.raises(error, match=says):
        lrs.search(surface.minimized, 6, known=known, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_they_come_first_in_the_shortest_rung_and_a_search_with_them_goes_on(tmp_path):
    mine = ["TRI(k0=0.01, k1=0.3, l=0.25dur)", "FIX(k0=9)", "HALFCOS(k0=0.2, l=9000)", "REX(k0=0.1, l=160)"]
    result = lrs.search(surface.minimized, 5, known=mine, out=tmp_path)
    shortest = surface.N // FUNNEL.divisors[0]
    tried = [lrs.TRI(k0=0.01, k1=0.3, l=40), lrs.FIX(k0=9), lrs.HALFCOS(k0=0.2, l=160)]
    assert asked(result)[:3] == [(policy, shortest) for policy in tried]
    candidates = [trial.origin for trial in result.history if trial.role == "candidate"]
    assert candidates[:4] == ["known"] * 3 + ["suggested"]
    assert all("it is tried as HALFCOS" in note or "REX is not among" in note for note in result.warnings[:2])
    again = lrs.search(surface.minimized, 5, known=mine, out=tmp_path)
    assert (again.key, again.spent.trained_runs, again.warnings) == (result.key, 0, result.warnings)
    assert asked(again) == asked(result)


def test_more_than_the_budget_pays_for_are_named(tmp_path):
    mine = [lrs.FIX(k0=n / 1000) for n in range(1, 41)]
    result = lrs.search(surface.minimized, 5, known=mine, out=tmp_path)
    tried = list(dict.fromkeys(policy for policy, _ in asked(result)))
    assert tried == mine[: len(tried)]
    assert 0 < len(tried) < 40
    dropped = [note for note in result.warnings if "was not tried: a budget of 5 FRE tries" in note]
    assert [note.partition(" was")[0] for note in dropped] == [str(policy) for policy in mine[len(tried) :]]


def test_a_budget_without_candidates_says_so(tmp_path):
    result = lrs.search(surface.minimized, 1.6, known="FIX(k0=0.1)", out=tmp_path)
    assert "FIX(k0=0.1) was not tried: a budget of 1.6 FRE pays for nothing beside the default" in result.warnings


def test_a_study_without_them_has_the_key_that_it_had_and_with_them_another(tmp_path):
    keys = [
        lrs.search(surface.minimized, 1.6, known=known, out=tmp_path).key
        for known in ((), ["SIN2(k0=0.1, k1=0.2, l=16)"], ["REX(k0=0.1, l=160)"])
    ]
    assert keys[0] == keys[2] != keys[1]  # what is left out changes nothing
