"""Claims, on SQLite and on a real PostgreSQL: one process has a run, and none has it for ever."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from sqlalchemy import event, text

from lrsearch.errors import StoreAwayError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX
from lrsearch.store import Store, open_store
from lrsearch.store.claims import Claims, Taken
from lrsearch.store.place import Place
from lrsearch.tasks import find_task

SPEC = RunSpec(find_task("digits-mlp"), FIX(k0=0.1), 100, 0)
OTHER_MACHINE = Place("node2", "another-start", 1, "1")
PROGRAM = """
import json, os, sys
from lrsearch.store import open_store
from lrsearch.store import open_store
from lrsearch.store.claims import Claims
claims = Claims(open_store(sys.argv[1]), "study", lease=3600)
claims.renew()
print(json.dumps([key for key in sys.argv[2:] if claims.take(key)]), flush=True)
sys.stdin.read()
os._exit(0)
"""


def claims(store, lease=3600.0, study="study", place=None):
    own = Claims(store, study, lease, place)
    own.renew()
    return own


def started(url, *keys):
    """A process that claims runs, prints them, and lives until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, *keys], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, json.loads(process.stdout.readline())


def end(process):
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_a_run_is_one_process_s_until_it_is_given_back(store):
    first, second = claims(store), claims(store)
    assert first.take("run") == first.take("run") == Taken()
    assert second.take("run") is None
    second.give_back("run")
    assert second.take("run") is None
    first.give_back("run")
    assert second.take("run") == Taken()
    assert (first.elsewhere(), second.elsewhere()) == ({"run": False}, {})


def test_a_process_that_leaves_gives_all_back(store):
    first, second = claims(store), claims(store)
    with first.working():
        first.take("run")
        assert [place.pid for place in second.others()] == [Place.here().pid]
    assert (second.others(), second.lapsed()) == ([], set())
    assert second.take("run") == Taken()


def test_a_claim_that_is_given_back_while_another_process_takes_it_is_that_ones(postgres):
    """On PostgreSQL it goes between two statements; SQLite lets one process write at a time."""
    url, given_back = postgres("given-back"), []
    with open_store(url) as store, open_store(url) as other:
        first, second = claims(store), claims(other)
        first.take("run")

        @event.listens_for(other._engine, "before_cursor_execute")
        def give_back(connection, cursor, statement, *more):
            if "FOR UPDATE" in statement and not given_back:
                given_back.append(statement)
                first.give_back("run")

        assert second.take("run") == Taken()
        assert given_back
        assert first.elsewhere() == {"run": False}


def test_leases_that_ran_out_are_removed_unless_they_hold_a_claim(store):
    claims(store, lease=0, place=OTHER_MACHINE)
    holding = claims(store, lease=0, place=OTHER_MACHINE)
    holding.take("run")
    own = claims(store)
    own.leave()
    with store.reads() as session:
        tokens = session.execute(text("SELECT token FROM lrsearch_processes")).scalars().all()
    assert tokens == [holding.token]


def test_a_run_that_has_ended_is_claimed_by_nobody(store):
    own = claims(store)
    assert own.take(SPEC.key) == Taken()
    store.record(SPEC, Run(state=RunState.INTERRUPTED, steps=7, seconds=0.0))
    assert claims(store, lease=0).take(SPEC.key) is None
    store.record(SPEC, Run(state=RunState.FINISHED, steps=100, seconds=0.0, score=0.5))
    own.give_back(SPEC.key)
    assert claims(store).take(SPEC.key) is None
    assert claims(store).elsewhere() == {}


def test_a_lease_that_has_run_out_leaves_the_reported_steps(store):
    slow = claims(store, lease=0, place=OTHER_MACHINE)
    slow.take("run")
    slow.report("run", 40)
    slow.renew()
    other = claims(store)
    assert (other.others(), other.lapsed()) == ([], {"run"})
    assert other.take("run") == Taken(lost=40)
    assert slow.take("run") is None
    slow.report("run", 50)
    slow.renew()  # a late report changes no claim of another process
    assert claims(store, lease=0).lapsed() == set()


def test_a_process_of_this_machine_that_was_killed_keeps_nothing(store, url):
    process, taken = started(url, "run")
    assert taken == ["run"]
    assert claims(store).take("run") is None
    process.kill()
    waited = 0
    while (got := claims(store).take("run")) is None and waited < 1000:  # the system ends it when it comes to it
        time.sleep(0.01)
        waited += 1
    assert got == Taken(has_ended=True)
    end(process)


def test_a_process_of_another_machine_keeps_its_runs_for_its_lease(store):
    far = claims(store, place=OTHER_MACHINE)
    far.take("run")
    assert claims(store).take("run") is None
    assert [place.named for place in claims(store).others() if place != Place.here()] == ["process 1 on node2"]


def test_a_lease_that_ends_later_than_it_can_last_is_free(store):
    first = claims(store, lease=60)
    first.take("run")
    with store.writes() as session:  # as if the clock of the database had been set back by a day
        session.execute(text("UPDATE lrsearch_processes SET until = until + 86400"))
    assert claims(store).take("run") is not None


def test_the_clock_of_a_process_decides_nothing(store, monkeypatch):
    for name in ("time", "monotonic"):
        monkeypatch.setattr(time, name, lambda: 1e12)
    first = claims(store)
    first.take("run")
    monkeypatch.undo()
    assert claims(store).take("run") is None


def test_what_is_handed_out_lasts_until_it_is_given_back_by_any_process(store):
    claims(store, lease=0).take("run", by_hand=True)
    assert claims(store).take("run") is None
    assert claims(store).take("run", by_hand=True) is None
    assert claims(store).elsewhere() == {"run": True}
    claims(store).give_back("run")
    assert claims(store).take("run") == Taken()


def test_of_four_processes_that_race_one_has_each_run(url, store):
    keys = [f"run-{n}" for n in range(50)]
    racing = [started(url, *keys) for _ in range(4)]
    assert sorted(key for _, taken in racing for key in taken) == sorted(keys)
    for process, _ in racing:
        end(process)


def test_a_renewal_that_fails_is_tried_again_and_ends_nothing(tmp_path, caplog):
    with open_store(str(tmp_path / "store.db")) as store:
        own = Claims(store, "study", lease=0.04)
        renew, calls = own.renew, []

        def fail_at_first():
            calls.append("call")
            if len(calls) == 2:
                raise StoreAwayError("the store is away")
            renew()

        own.renew = fail_at_first
        with own.working():
            while len(calls) < 4:
                time.sleep(0.001)
        assert [record.getMessage() for record in caplog.records] == [
            "the store is away; the lease of this process could not be renewed, and is tried again"
        ]


def test_a_renewal_that_fails_loses_no_reported_steps(tmp_path):
    path = str(tmp_path / "store.db")
    with Store(path, patience=0) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        own = claims(store, lease=0, place=OTHER_MACHINE)
        own.take("run")
        own.report("run", 40)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreAwayError, match="locked"):
            own.renew()
        other.execute("COMMIT")
        own.renew()
        assert claims(store).take("run") == Taken(lost=40)


@pytest.mark.parametrize(
    ("call", "answer"), [("others", [OTHER_MACHINE]), ("elsewhere", {"run": False}), ("lapsed", {"late"})]
)
def test_a_process_waits_for_a_store_that_is_away(tmp_path, call, answer):
    path = str(tmp_path / "store.db")
    with open_store(path) as store:
        claims(store, lease=0, place=OTHER_MACHINE).take("late")
        claims(store, place=OTHER_MACHINE).take("run")
    other, paused = sqlite3.connect(path, isolation_level=None), []

    def sleep(seconds):
        paused.append(seconds)
        other.execute("COMMIT")

    with closing(other), Store(path, patience=0, pauses=(1.0,), sleep=sleep) as store:
        own = Claims(store, "study", lease=3600)
        other.execute("BEGIN EXCLUSIVE")
        assert getattr(own, call)() == answer
        assert paused == [1.0]
        other.execute("BEGIN EXCLUSIVE")
        with own.working():
            assert paused == [1.0, 1.0]


@pytest.mark.parametrize("place", [Place.here(), OTHER_MACHINE])
def test_a_place_comes_back_as_it_went_in(place):
    assert Place.of(str(place)) == place
    assert not place.has_ended


def test_a_number_that_another_process_has_by_now_is_not_the_process_before():
    here = Place.here()
    assert Place(here.host, here.machine, here.pid, "1").has_ended
    assert not Place(here.host, "another container", here.pid, "1").has_ended


def test_a_process_that_has_ended_is_known_before_its_parent_reads_it():
    process = subprocess.Popen([sys.executable, "-c", "print(1)"], stdout=subprocess.PIPE, text=True)
    here = Place.here()
    with open(f"/proc/{process.pid}/stat") as stat:  # noqa: PTH123
        started_at = stat.read().rpartition(")")[2].split()[19]
    assert process.stdout.read() == "1\n"
    process.stdout.close()
    place = Place(here.host, here.machine, process.pid, started_at)
    while not place.has_ended:
        time.sleep(0.001)
    process.wait()
    assert place.has_ended
