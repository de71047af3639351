"""Bundles between stores: whole or not at all, from anybody, never in the way of what was trained here."""

import ast
import hashlib
import json
from pathlib import Path

import pytest

import lrsearch
import lrsearch as lrs
from lrsearch.errors import StoreError
from lrsearch.runs import Point, Run, RunSpec, RunState, Task, minimize
from lrsearch.schedules import FIX, TRI
from lrsearch.store import open_store, read_bundle, write_bundle
from lrsearch.store.fields import Entry
from lrsearch.store.values import canonical, digest
from lrsearch.tasks import find_task

MLP, CNN = find_task("digits-mlp"), find_task("digits-cnn")


def run(score=0.5):
    return Run(
        state=RunState.FINISHED,
        steps=100,
        seconds=1.5,
        score=score,
        loss=0.25,
        stride=50,
        points=(Point(50, 0.5, 0.4), Point(100, 0.25, score)),
        train_losses=(2.0, None),
        metrics={"end": {"top1": score, "ac": None}},
    )


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "store.db") as opened:
        for n in range(12):
            policy = FIX(k0=0.01 * (n + 1)) if n % 2 else TRI(k0=0.001, k1=0.01 * (n + 1), l=20)
            opened.record(RunSpec((MLP, CNN)[n % 3 == 0], policy, 100, n), run(0.5 + n / 100))
        opened.record(RunSpec(MLP, FIX(k0=5), 100, 0), Run(state=RunState.DIVERGED, steps=3, seconds=0.1))
        yield opened


@pytest.fixture
def bundle(store, tmp_path) -> Path:
    write_bundle(store, tmp_path / "runs.bundle")
    return tmp_path / "runs.bundle"


@pytest.fixture
def other(tmp_path):
    with open_store(tmp_path / "other.db") as opened:
        yield opened


def sealed(lines: list[bytes]) -> bytes:
    """Make lines into a bundle whose first line holds, as an honest or dishonest writer would."""
    body = b"".join(lines)
    head = {"bundle": 1, "digest": hashlib.sha256(body).hexdigest(), "runs": 0, "tasks": 0}
    return canonical(head).encode() + b"\n" + body


def test_imported_runs_equal_the_exported_ones_under_the_bundles_name(store, bundle, other):
    done = read_bundle(other, bundle)
    assert (done.runs, done.new, done.bad) == (13, 13, ())
    assert [{**entry, "origin": "local"} for entry in other.entries()] == store.entries()
    assert {entry["origin"] for entry in other.entries()} == {done.origin}
    assert other.origins() == {done.origin: False}


def test_importing_twice_is_importing_once(bundle, other):
    assert read_bundle(other, bundle).new == 13
    assert read_bundle(other, bundle).new == 0


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_export_import_export_gives_the_same_bytes(bundle, tmp_path, backend, postgres):
    url = tmp_path / "third.db" if backend == "sqlite" else postgres("bundles_third")
    with open_store(url) as third:
        assert third._engine.dialect.name == backend
        read_bundle(third, bundle, trust=True)
        write_bundle(third, tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == bundle.read_bytes()


def test_a_bundle_of_one_task_holds_that_task(store, tmp_path, other):
    count = write_bundle(store, tmp_path / "one.bundle", task="digits-cnn")
    assert 0 < count < 13
    read_bundle(other, tmp_path / "one.bundle")
    assert {stored.task for stored in other.runs()} == {"digits-cnn"}


def test_a_file_that_is_there_is_not_written_over(store, bundle):
    before = bundle.read_bytes()
    with pytest.raises(StoreError, match="there already"):
        write_bundle(store, bundle)
    assert bundle.read_bytes() == before


def test_a_dry_run_writes_nothing(bundle, other):
    done = read_bundle(other, bundle, dry=True)
    assert (done.runs, done.new) == (13, None)
    assert other.entries() == []


def test_bad_lines_are_all_listed_and_the_good_ones_imported_only_with_partly(bundle, other):
    lines = bundle.read_bytes().splitlines(keepends=True)[1:]
    for at, bad in ((3, b"no json\n"), (5, b'{"run": 1, "digest": "x"}\n'), (7, b"[1]\n")):
        lines[at] = bad
    bundle.write_bytes(sealed(lines))
    assert [line.number for line in read_bundle(other, bundle, dry=True).bad] == [5, 7, 9]
    with pytest.raises(StoreError, match="3 bad lines, the first is line 5"):
        read_bundle(other, bundle)
    assert other.entries() == []
    done = read_bundle(other, bundle, partly=True)
    assert (done.runs, done.new, len(done.bad)) == (10, 10, 3)


def forged(entry: Entry, **changes) -> bytes:
    values = {**entry, **changes}
    return canonical({"run": values, "digest": digest(values)}).encode() + b"\n"


WRONG = {
    "a key that is not its own": {"key": "0" * 24},
    "a policy in other words": {"policy": "FIX(k0=0.10)"},
    "a policy that is none": {"policy": "__import__('os')"},
    "another seed": {"seed": 99},
    "a state that is none": {"state": "excellent"},
    "one that is running": {"state": "running"},
    "a score of text": {"score": "1.0"},
    "a score of yes": {"score": True},
    "steps below 0": {"steps": -1},
    "a number too large": {"lost_steps": 2**63},
    "half a step": {"steps": 1.5},
    "no seconds": {"seconds": "inf"},
    "details that are none": {"details": {"pickle": "gASV"}},
    "a stride of 0": {"details": {"stride": 0}},
    "curves that are none": {"curves": {"val_loss": [[0, 1], [0, 2]]}},
    "a curve of texts": {"curves": {"a": "b"}},
    "a NUL in a name": {"origin": "a\0b"},
    "half a character": {"origin": "\ud800"},
    "no name": {"origin": " "},
    "a task that is not there": {"task": "0" * 16},
    "a task that is a list": {"task": []},
    "a policy that waits": {"policy": "STEP(k0=0.1, gamma=0.5, l=3ep)"},
    "a metric that is none": {"metric": ""},
    "a test metric": {"metric": "test_loss"},
    "a direction that is none": {"direction": "sideways"},
    "a unit of two lines": {"unit": "a\nb"},
    "a unit that is none": {"unit": None},
    "scores of text": {"details": {"scores": {"a": "b"}}},
    "points without values": {"details": {"points": [[1, None]]}},
    "points of text": {"details": {"points": "all"}},
    "seconds of text": {"details": {"startup_seconds": "1"}},
    "a cause of numbers": {"details": {"cause": 1}},
    "an environment of numbers": {"details": {"environment": {"torch": 2}}},
    "an environment of one text": {"details": {"environment": "torch"}},
    "an environment of novels": {"details": {"environment": {"torch": "2" * 1000}}},
    "an environment of many": {"details": {"environment": {str(n): "2" for n in range(31)}}},
    "an environment of escapes": {"details": {"environment": {"torch": "\x1b[31m"}}},
    "a source of numbers": {"details": {"source": 7}},
    "a curve of no name": {"curves": {"own:": [[0, 1]]}},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_run_that_cannot_be_is_refused(store, bundle, other, changes):
    lines = [*bundle.read_bytes().splitlines(keepends=True)[1:], forged(store.entries()[0], **changes)]
    bundle.write_bytes(sealed(lines))
    (bad,) = read_bundle(other, bundle, dry=True).bad
    assert bad.number == len(lines) + 1
    with pytest.raises(StoreError, match="1 bad line,"):
        read_bundle(other, bundle)
    assert other.entries() == []


def test_its_honest_neighbour_is_taken(store, bundle, other):
    bundle.write_bytes(sealed([*bundle.read_bytes().splitlines(keepends=True)[1:], forged(store.entries()[0])]))
    assert read_bundle(other, bundle).bad == ()


TASKS = {
    "no classes": ("data", {"classes": 1}),
    "a size below 1": ("data", {"shape": [0]}),
    "a shape of one number": ("data", {"shape": 3}),
    "a family of numbers": ("optimizer", {"family": 3}),
    "a rate of objects": ("optimizer", {"rates": [{}]}),
    "parameters of text": ("model", {"parameters": "many"}),
    "a momentum of 1": ("optimizer", {"momentum": 1}),
    "a momentum of text": ("optimizer", {"momentum": "0.9"}),
    "a negative decay": ("optimizer", {"weight_decay": -1}),
}


@pytest.mark.parametrize(("part", "changes"), TASKS.values(), ids=TASKS)
def test_a_task_that_cannot_be_is_refused(other, tmp_path, part, changes):
    description = MLP.description
    path = tmp_path / "task.bundle"
    path.write_bytes(sealed([canonical({"task": description | {part: description[part] | changes}}).encode() + b"\n"]))
    (bad,) = read_bundle(other, path, dry=True).bad
    assert bad.number == 2


OWN = Task(
    name="mine",
    horizon=100,
    epoch=10,
    objectives=(minimize("loss", unit="nats"),),
    facts={"optimizer": "adamw", "parameters": 7, "data": "words", "pretrained": True},
    settings={"depth": 2},
)


@pytest.mark.parametrize(
    "changes",
    [
        {"objectives": []},
        {"objectives": "loss"},
        {"objectives": [{"name": "test_loss", "direction": "minimize"}]},
        {"objectives": [{"name": "loss"}]},
        {"objectives": OWN.description["objectives"] * 101},
        {"horizon": 0},
        {"epoch": 0},
        {"epoch": "1"},
        {"facts": []},
        {"data": "words"},
        {"model": 3},
        {"name": ""},
        {"metric": "a"},
    ],
    ids=str,
)
def test_a_users_task_that_cannot_be_is_refused_and_one_that_can_is_taken(other, tmp_path, changes):
    for description, bad in ((OWN.description, 0), (OWN.description | changes, 1)):
        path = tmp_path / "task.bundle"
        path.write_bytes(sealed([canonical({"task": description}).encode() + b"\n"]))
        assert len(read_bundle(other, path, dry=True).bad) == bad


@pytest.mark.parametrize("nested", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000, b'{"run":1,"run":1}'])
def test_hostile_json_is_a_bad_line(other, tmp_path, nested):
    path = tmp_path / "hostile.bundle"
    path.write_bytes(sealed([nested + b"\n"]))
    assert len(read_bundle(other, path, dry=True).bad) == 1
    path.write_bytes(nested + b"\n")
    with pytest.raises(StoreError, match="is no bundle"):
        read_bundle(other, path)


def test_a_bundle_of_another_format_says_which(other, tmp_path):
    path = tmp_path / "later.bundle"
    path.write_text(json.dumps({"bundle": 3, "digest": "", "runs": 0, "tasks": 0}))
    with pytest.raises(StoreError, match="format 3"):
        read_bundle(other, path)


class TestForged:
    """1,000 runs of accuracy 1.0, honestly sealed, as anybody can write them."""

    @pytest.fixture
    def poison(self, tmp_path) -> Path:
        with open_store("sqlite:///:memory:") as writer:
            for n in range(1000):
                writer.record(RunSpec(MLP, FIX(k0=5 + n / 1000), MLP.horizon, 0), run(1.0))
            write_bundle(writer, tmp_path / "poison.bundle")
        return tmp_path / "poison.bundle"

    def test_they_do_not_move_what_is_recommended(self, poison, other):
        other.record(RunSpec(MLP, FIX(k0=0.1), MLP.horizon, 0), run(0.9))
        before = lrs.recommend(MLP, other)
        assert before
        assert read_bundle(other, poison).new == 1000
        assert lrs.recommend(MLP, other) == before
        assert len(other.runs(origin=read_bundle(other, poison).origin)) == 1000

    def test_a_search_takes_none_of_them_for_its_own(self, poison, other):
        spec = RunSpec(MLP, FIX(k0=5), MLP.horizon, 0)
        read_bundle(other, poison)
        assert other.find(spec.key) is None
        other.record(spec, run(0.2))
        assert other.find(spec.key).run.score == 0.2
        assert [attempt["score"] for attempt in other.attempts(spec.key)] == [1.0]

    def test_only_the_list_of_runs_for_people_reads_them(self, poison, other):
        read_bundle(other, poison)
        assert other.runs(trusted=True) == other.representative_runs(MLP.key) == other.ramps(MLP.key) == []
        calls = [
            (path, call)
            for path in Path(lrsearch.__file__).parent.rglob("*.py")
            if path.parent.name != "cli"
            for call in ast.walk(ast.parse(path.read_text()))
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "runs"
        ]
        assert len(calls) >= 4
        assert not [path for path, call in calls if not any(word.arg == "trusted" for word in call.keywords)]

    def test_local_results_stay(self, poison, other):
        spec = RunSpec(MLP, FIX(k0=5), MLP.horizon, 0)
        other.record(spec, run(0.2))
        interrupted = RunSpec(MLP, FIX(k0=5.001), MLP.horizon, 0)
        other.record(interrupted, Run(state=RunState.INTERRUPTED, steps=7, seconds=0.1))
        read_bundle(other, poison)
        assert (other.find(spec.key).run.score, other.find(spec.key).origin) == (0.2, "local")
        assert other.find(interrupted.key).run.state is RunState.INTERRUPTED


def test_another_store_of_the_same_owner_is_merged_with_its_studies(store, other):
    store.open_study("k" * 16, "study", MLP, {"a": 1}, {"recommended": []})
    assert other.merge(store) == 13
    assert other.merge(store) == 0
    assert other.entries() == store.entries()
    assert [study.key for study in other.studies()] == ["k" * 16]
    assert other.origins() == {"local": True}
