"""A stored run again: equal to the bit where its training can, else how far off, and changed circumstances."""

import json
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

import lrsearch as lrs
from lrsearch.errors import LRSearchError, StoreError, TaskError, UsageError
from lrsearch.runs import Point, Run, RunSpec, RunState
from lrsearch.runs.environment import environment
from lrsearch.runs.executor import Group
from lrsearch.store import StoredRun
from lrsearch.store.bundles import read_bundle, write_bundle
from lrsearch.store.entries import entry_of, run_of
from lrsearch.study.reproduced import changes, differences
from lrsearch.tasks import find_task
from lrsearch.training import Trainer
from lrsearch.training.source import ClassificationSource

SAID = {"horizon": 40, "epoch": 8, "minimize": "val_loss"}
POLICY = "FIX(k0=0.1)"


def made(function, **changes):
    return lrs.task(changes.pop("name", "again"), **(SAID | changes))(function)


def from_its_seed(job):
    """Draw from the seed alone."""
    for step in range(1, 1 + job.horizon):
        job.log(step, train_loss=random.random(), noise=torch.rand(()))
        if job.is_evaluation_due(step):
            job.log(step, val_loss=random.random() + job.settings.get("decay", 0))


class Drifting:
    """Is 0.125 higher each time: what no seed decides."""

    def __init__(self):
        self.times = 0

    def __call__(self, job):
        self.times += 1
        return job.seed + 0.125 * self.times


def trained(function, out, *, seeds=(0,), **options):
    """The keys of runs that are trained and stored, in the order of their seeds."""
    out.mkdir(exist_ok=True)
    url = f"sqlite:///{out / 'store.db'}"
    for seed in seeds:
        lrs.train(function, POLICY, seed=seed, store=url, **options)
    with lrs.open_store(url) as store:
        return [one.key for one in sorted(store.runs(), key=lambda one: one.seed)]


def held(out):
    with lrs.open_store(out / "store.db") as store:
        return store.entries()


@pytest.mark.parametrize("options", [{}, {"horizon": 24}, {"settings": {"decay": 2.0}}])
def test_what_draws_from_its_seed_alone_is_the_same_to_the_bit_and_the_store_stays(tmp_path, options):
    function = made(from_its_seed)
    (key,) = trained(function, tmp_path, **options)
    before = held(tmp_path)
    again = lrs.reproduce(key[:10], task=function, settings=options.get("settings"), out=tmp_path)
    assert (again.same, again.differences, again.changed, again.is_recorded) == (True, (), (), True)
    assert again.verdict == "The same to the bit: its state, its score and all that it logged."
    assert held(tmp_path) == before
    values = json.loads(json.dumps(again.to_json(), allow_nan=False))
    assert (values["same"], values["differences"], values["changed"], values["run"]) == (True, [], [], key)


def test_a_difference_that_no_seed_decides_is_compared_to_the_spread_over_stored_seeds(tmp_path):
    function = made(Drifting())
    alone, *_ = trained(function, tmp_path / "one")
    again = lrs.reproduce(alone, task=function, out=tmp_path / "one")
    assert not again.same
    assert again.verdict == (
        "Not the same: val_loss was 0.125, and is 0.25 (+0.125): no other seed is stored to compare that with."
    )
    key, *_ = trained(function, tmp_path / "three", seeds=(0, 1, 2))
    again = lrs.reproduce(key, task=function, out=tmp_path / "three")
    assert (len(again.others), again.spread) == (2, pytest.approx(1.125))
    assert "0.33 of the standard deviation over 3 stored seeds, 1.1." in again.verdict
    (score, evaluations) = again.differences
    assert (score.what, score.then, score.now) == ("val_loss", 0.375, 0.75)
    assert (evaluations.step, evaluations.most) == (40, 0.375)


def test_a_failure_now_is_an_outcome_like_any_other(tmp_path):
    function = made(from_its_seed)
    (key,) = trained(function, tmp_path)

    def broken(job):
        raise ValueError("no such column")

    again = lrs.reproduce(key, task=made(broken), out=tmp_path)
    assert again.verdict.startswith("Not the same: it finished then, and failed (")
    assert "no such column" in again.to_json()["now"]["error"]
    assert [one.what for one in again.changed] == ["source"]


@pytest.mark.parametrize("policy", ["TRI(k0=0.01, k1=0.2, l=8)", "RAMP(k0=1e-6, k1=10, l=31)", "ASLR(k0=0.1)"])
def test_a_shipped_task_is_found_by_its_name_and_gives_the_same_bits(tmp_path, policy):
    task = replace(find_task("digits-mlp"), precision="bf16").with_horizon(32)
    spec, before = RunSpec(task, lrs.parse(policy), 32, 5), torch.get_num_threads()
    torch.set_num_threads(1)
    with lrs.open_store(tmp_path / "store.db") as store:
        store.record(spec, Trainer(task, device="cpu").train(spec))
    torch.set_num_threads(before)
    again = lrs.reproduce(spec.key, out=tmp_path)
    assert (again.same, again.changed[1:]) == (True, ())
    assert torch.get_num_threads() == before


def test_what_was_trained_in_lockstep_differs_by_rounding_and_says_why(tmp_path):
    task = find_task("digits-mlp").with_horizon(32)
    specs = [RunSpec(task, lrs.FIX(k0=0.1), 32, seed) for seed in range(4)]
    with lrs.open_store(tmp_path / "store.db") as store:
        ClassificationSource(task).open().train_group(Group(tuple(specs), in_lockstep=True), store.record)
    again = lrs.reproduce(specs[0].key, out=tmp_path)
    assert "trained: in lockstep then, alone now" in [str(one) for one in again.changed]
    assert all(one.most is None or one.most < 1e-4 for one in again.differences)
    assert len(again.others) == 3


FULL = Run(
    state=RunState.FINISHED,
    steps=8,
    seconds=1.0,
    score=0.5,
    points=(Point(4, None, 0.6), Point(8, None, 0.5)),
    train_losses=tuple(1.0 / n for n in range(1, 9)),
    scores={"bleu": 3.0},
    curves={"noise": tuple((n, float(n)) for n in range(1, 9))},
)


@given(st.integers(0, 7), st.sampled_from(["train_losses", "curves"]), st.floats(1e-9, 10))
def test_any_one_value_that_is_other_is_found_at_its_step_and_nothing_else(place, series, by):
    if series == "curves":
        points = tuple((n, value + by * (n == place + 1)) for n, value in FULL.curves["noise"])
        now, what = replace(FULL, curves={"noise": points}), "noise"
    else:
        losses = tuple(value + by * (n == place) for n, value in enumerate(FULL.train_losses))
        now, what = replace(FULL, train_losses=losses), "train_loss"
    (found,) = differences(FULL, now, "val_loss")
    assert (found.what, found.step, found.most) == (what, place + 1, pytest.approx(abs(by)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, []),
        ({"seconds": 9.0, "memory": 7, "startup_seconds": 2.0, "environment": {"torch": "0"}}, []),
        ({"state": RunState.DIVERGED}, ["state"]),
        ({"score": 0.25}, ["val_loss"]),
        ({"steps": 7}, ["steps"]),
        ({"scores": {"bleu": 3.5}}, ["bleu"]),
        ({"scores": {}}, ["bleu"]),
        ({"train_losses": (*FULL.train_losses[:-1], None)}, ["train_loss"]),
        ({"lrs": (0.1,)}, ["learning rate"]),
        ({"points": FULL.points[:1]}, ["val_loss at evaluations"]),
    ],
)
def test_all_that_a_run_says_of_its_training_is_compared(change, what):
    assert [one.what for one in differences(FULL, replace(FULL, **change), "val_loss")] == what


def test_changed_versions_source_and_device_are_reported():
    then = replace(FULL, environment={"torch": "2.6", "device": "cpu"}, source="a" * 16)
    now = replace(FULL, environment={"torch": "2.7", "device": "cpu", "numpy": "2"}, source="b" * 16)
    assert [str(one) for one in changes(then, now)] == [
        "torch: 2.6 then, 2.7 now",
        "numpy: not recorded then, 2 now",
        f"source: {'a' * 16} then, {'b' * 16} now",
    ]
    assert changes(then, then) == changes(replace(FULL, environment={}), replace(now, source=None)) == ()


def test_a_run_of_before_says_that_its_environment_is_not_recorded(tmp_path):
    function = made(from_its_seed)
    spec = RunSpec(function.task, lrs.parse(POLICY), 40, 0)
    with lrs.open_store(tmp_path / "store.db") as store:
        store.record(spec, replace(lrs.train(function, POLICY), environment={}))
    again = lrs.reproduce(spec.key, task=function, out=tmp_path)
    assert (again.same, again.is_recorded, again.changed) == (True, False, ())


def test_every_run_says_what_it_was_trained_with_and_no_key_or_comparison_follows_it(tmp_path):
    run = lrs.train(made(from_its_seed), POLICY)
    assert {"python", "lrsearch", "torch", "numpy", "device", "threads"} <= run.environment.keys()
    assert Run.from_text(run.to_text()).environment == run.environment
    assert replace(run, environment={}) == run
    with lrs.record(tmp_path / "store.db", task="by hand", policy=POLICY, horizon=4) as recorded:
        recorded.finish(score=0.5)
    with lrs.open_store(tmp_path / "store.db") as store:
        (stored,) = store.runs()
    assert stored.run.environment["lrsearch"] == lrs.__version__ == environment()["lrsearch"]


@pytest.mark.parametrize("odd", [5, [], {"torch": 5, "a": "x" * 1000, "b": "\x1b[31m"}, None, "torch"])
def test_an_environment_in_an_untrusted_bundle_is_read_as_texts_or_not_at_all(odd):
    spec = RunSpec(made(from_its_seed).task, lrs.parse(POLICY), 40, 0)
    entry = entry_of(StoredRun.of(spec, FULL, "local"))
    assert run_of({**entry, "details": {**entry["details"], "environment": odd}}).environment == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "2"}, 'version was "1", and is "2"'),
        ({"minimize": None, "maximize": "val_loss"}, "objectives was .*maximize"),
        ({"settings": {"decay": 2}}, r"settings\.decay was not given, and is 2 \(give settings with --set"),
        ({"facts": {"data": "b"}, "name": "other"}, 'than \'other\' is now: name was "again", and is "other"; data'),
    ],
)
def test_a_task_that_is_another_is_refused_with_what_differs(tmp_path, change, says):
    (key,) = trained(made(from_its_seed), tmp_path)
    with pytest.raises(TaskError, match=f"(?s)run {key} is of another task.*{says}"):
        lrs.reproduce(key, task=made(from_its_seed, **change), out=tmp_path)


def test_what_trains_a_run_is_named_by_the_caller_and_never_by_the_store(tmp_path):
    (tmp_path / "train.py").write_text("raise SystemExit('loaded')\n")
    (key,) = trained(made(from_its_seed, name=str(tmp_path / "train.py:f")), tmp_path)
    with pytest.raises(UsageError, match=r"is no shipped task: name what trains it with --task train\.py:function"):
        lrs.reproduce(key, out=tmp_path)
    (other,) = trained(made(from_its_seed, name="digits-mlp"), tmp_path / "b")
    with pytest.raises(TaskError, match="is of another task than 'digits-mlp' is now"):
        lrs.reproduce(other, out=tmp_path / "b")
    with pytest.raises(LRSearchError, match="no task 'digits-mpl'; did you mean"):
        lrs.reproduce(other, task="digits-mpl", out=tmp_path / "b")
    with pytest.raises(TaskError, match="takes no settings"):
        lrs.reproduce(other, settings={"a": 1}, out=tmp_path / "b")


def test_keys_that_name_no_run_are_refused(tmp_path):
    function = made(from_its_seed)
    keys = trained(function, tmp_path, seeds=range(20))
    first = next(key[0] for key in keys if sum(key[0] == other[0] for other in keys) > 1)
    for key, says in (("none", "no run in .* begins with 'none'"), (first, "more than one run in")):
        with pytest.raises(StoreError, match=says):
            lrs.reproduce(key, task=function, out=tmp_path)
    for key in ("", "  ", None, 5):
        with pytest.raises(UsageError, match="key is the key of a stored run"):
            lrs.reproduce(key, task=function, out=tmp_path)
    with pytest.raises(StoreError, match="no store at"):
        lrs.reproduce(keys[0], task=function, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE lrsearch_runs SET score = 9", "is damaged"),
        ("UPDATE lrsearch_tasks SET description = '{}'", "the task of run .* is damaged"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path, change, says):
    function = made(from_its_seed)
    (key,) = trained(function, tmp_path)
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    with pytest.raises(StoreError, match=says):
        lrs.reproduce(key, task=function, out=tmp_path)


def test_an_untrusted_run_a_recorded_one_and_one_that_did_not_end_are_refused(tmp_path):
    function = made(from_its_seed)
    (key,) = trained(function, tmp_path)
    with lrs.open_store(tmp_path / "store.db") as store:
        write_bundle(store, tmp_path / "runs.jsonl")
    with lrs.open_store(tmp_path / "other.db") as other:
        read_bundle(other, tmp_path / "runs.jsonl")
        assert other.match(key).run.environment == lrs.train(function, POLICY).environment
        spec = RunSpec(function.task, lrs.parse(POLICY), 40, 7)
        other.record(spec, Run(state=RunState.INTERRUPTED, steps=3, seconds=0.0))
        with lrs.record(other, task="by hand", policy=POLICY, horizon=4) as recorded:
            recorded.finish(score=0.5)
        by_hand = next(one.key for one in other.runs(task="by hand"))
        for one, says in (
            (key, "not trusted: import it with --trust"),
            (spec.key, "did not end"),
            (by_hand, "was recorded in a loop of its own, by lrs.record"),
        ):
            with pytest.raises(UsageError, match=says):
                lrs.reproduce(one, task=function, store=other)


TRAIN = """
import lrsearch as lrs

@lrs.task("typed", horizon=40, epoch=8, minimize="val_loss", settings={"decay": 0.5})
def train(job):
    return job.settings["decay"] + job.seed
"""


def test_the_command_line_says_the_same_to_people_and_programs(typed, tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    words = ("--task", "train.py:train", "--out", "o")
    assert typed("verify", POLICY, "--target", "9", "--budget", "40", "--set", "decay=2", *words).code == 0
    with lrs.open_store(tmp_path / "o" / "store.db") as store:
        ((key, _),) = [(one.key, one.seed) for one in store.runs()]
    same = typed("reproduce", key[:8], "--set", "decay=2", *words)
    assert same.code == 0, same.err
    assert same.out.startswith("The same to the bit")
    assert "changed      nothing that is recorded" in same.out
    told = typed("reproduce", key, "--set", "decay=2", "--json", *words).json
    assert (told["same"], told["differences"]) == (True, [])
    wrong = typed("reproduce", key, *words)
    assert (wrong.code, wrong.out) == (2, "")
    assert "settings.decay was 2, and is 0.5 (give settings with --set" in wrong.err
    assert typed("reproduce", "zz", *words).code == 1
    assert "no store at" in typed("reproduce", key, "--store", "none.db").err
