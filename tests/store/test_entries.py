"""An entry is checked once, on its way into a store, and is read as it was stored."""

import sys
from dataclasses import replace

import pytest

import lrsearch as lrs
from lrsearch.errors import StoreError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX
from lrsearch.store import StoredRun, open_store, read_bundle, write_bundle
from lrsearch.store.entries import entry_of
from lrsearch.store.fields import FIELDS, checked
from lrsearch.store.values import float_to_json
from lrsearch.tasks import find_task

MLP = find_task("digits-mlp")
SPEC = RunSpec(MLP, FIX(k0=0.1), 100, 0)
CURVE = tuple((step, step / 10) for step in range(30))
RUN = Run(state=RunState.FINISHED, steps=100, seconds=1.0, score=0.5, loss=0.25, curves={"b": CURVE, "a": CURVE})
ENTRY = entry_of(StoredRun.of(SPEC, RUN, "local"))


@pytest.fixture
def store():
    with open_store("sqlite:///:memory:") as opened:
        yield opened


def calls(function, work) -> int:
    """How often a function is called while work is done in this thread."""
    count = 0

    def seen(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code is function.__code__

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def record_by_hand(store):
    with lrs.record(store, task="mine", policy="FIX(k0=0.1)", horizon=3) as run:
        run.log(3, val_loss=0.5)
        run.finish(score=0.5)


def test_a_run_is_checked_once_on_its_way_into_a_store(store, tmp_path):
    assert calls(checked, lambda: store.record(SPEC, RUN)) == 1
    assert calls(checked, lambda: record_by_hand(store)) == 1
    write_bundle(store, tmp_path / "two.bundle")
    with open_store("sqlite:///:memory:") as other:
        assert calls(checked, lambda: read_bundle(other, tmp_path / "two.bundle")) == 2


def test_no_point_is_written_anew_where_runs_are_read_or_merged(store, tmp_path):
    store.record(SPEC, RUN)
    store.record(SPEC, replace(RUN, score=0.75))
    reads = (store.runs, store.entries, lambda: store.find(SPEC.key), lambda: store.attempts(SPEC.key))
    assert [calls(float_to_json, read) for read in reads] == [0] * 4
    failed = Run(state=RunState.FAILED, steps=3, seconds=0.1, error="no")
    store.record(RunSpec(MLP, FIX(k0=0.1), 100, 1), failed)
    again = calls(float_to_json, lambda: store.record(RunSpec(MLP, FIX(k0=0.1), 100, 1), RUN))
    assert again == 2 * len(CURVE) + 3


def test_what_is_read_is_what_was_stored_with_curves_in_order_of_names(store):
    store.record(SPEC, RUN)
    (entry,) = store.entries()
    assert entry == checked(ENTRY)
    assert list(entry) == list(FIELDS)
    assert list(entry["curves"]) == ["a", "b"]
    assert store.runs()[0].run == RUN


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"extra": 1}, "has no extra; its fields are key, task"),
        ({"horizon": "x"}, "horizon must be a whole number, got 'x'"),
        ({"horizon": 1.5}, "horizon must be a whole number, got 1.5"),
        ({"steps": None}, "steps must be a whole number, got None"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"state": ["finished"]}, "is no state"),
        ({"score": "abc"}, "cannot be read: could not convert string to float: 'abc'"),
        ({"loss": 10**400}, "cannot be read"),
        ({"seconds": "soon"}, "cannot be read"),
        ({"seconds": None}, "its seconds are a finite number, got None"),
        ({"seconds": float("nan")}, "its seconds are a finite number, got nan"),
        ({"curves": []}, "its curves are a mapping by name, got an object of type list"),
        ({"curves": {5: ()}}, "a curve's name is a text"),
        ({"curves": {"a": 5}}, "cannot be read"),
        ({"curves": {"a": ((1, 0.5, 2),)}}, "cannot be read"),
        ({"curves": {"a": ((1.5, 0.5),)}}, "its steps are whole numbers"),
        ({"curves": {"a": ((1, "x"),)}}, "cannot be read"),
        ({"details": 5}, "its details are no JSON"),
        ({"policy": 5}, "its policy is a text, got 5"),
        ({"policy": "junk"}, "the policy of an entry cannot be read"),
        ({"metric": 3}, "named by its metric"),
        ({"key": None}, "the key of a run is a digest"),
        ({"origin": 5}, "an origin is a text"),
        ({"task": "0" * 16}, "FOREIGN KEY"),
    ],
)
def test_what_is_no_entry_is_refused_and_nothing_is_written(store, change, says):
    store.add([], tasks={SPEC.task_key: SPEC.description})
    with pytest.raises(StoreError, match=says):
        store.add([ENTRY, {**ENTRY, "key": "0" * 24, **change}])
    assert store.runs() == []
    assert store.add([ENTRY]) == 1


@pytest.mark.parametrize("value", [{}, {"key": 1}, None, 5, [], "an entry"])
def test_what_has_not_the_fields_of_an_entry_is_refused(store, value):
    with pytest.raises(StoreError, match=r"needs .*curves.* its fields are key|is a mapping of its fields, got"):
        store.add([value])
