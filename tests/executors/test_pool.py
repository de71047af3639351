"""Worker processes: what one of them does reaches the parent, and nothing that they started outlives them."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from torch import nn

from lrsearch.errors import OutputError, TaskError, UsageError, WorkError
from lrsearch.executors.pool import Pool
from lrsearch.executors.workers import Order
from lrsearch.runs import RunSpec, RunState
from lrsearch.runs.executor import DONE, Group, Limits, OutOfTime
from lrsearch.runs.lost import Cause
from lrsearch.schedules import FIX
from lrsearch.tasks import find_task
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer, mapped
from lrsearch.training.source import ClassificationSource

MLP = find_task("digits-mlp")


def group(task, *seeds, horizon=20):
    return Group(tuple(RunSpec(task, FIX(k0=0.1), horizon, seed) for seed in seeds))


def in_turn(*groups):
    waiting = iter(groups)
    return lambda: next(waiting, DONE)


def has_ended(pid, seconds=30):
    """Whether a process has ended, or does so soon."""
    try:
        ending = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([ending], [], [], seconds)[0])
    finally:
        os.close(ending)


class Heard:
    """What an executor passed on."""

    def __init__(self):
        self.runs, self.lost = [], []

    def ended(self, spec, run):
        self.runs.append((spec.seed, run))

    @property
    def states(self):
        return {seed: run.state for seed, run in self.runs}


ENDS = {
    "KILLED_ONCE": (Cause.KILLED, "by SIGKILL"),
    "CRASHES_ONCE": (Cause.CRASHED, "by SIGSEGV"),
    "EXITS_ONCE": (Cause.EXITED, "with code 5"),
    "HANGS_ONCE": (Cause.HUNG, "2 s"),
    "TERMINATED_ONCE": (Cause.TERMINATED, "by SIGTERM"),
    "MEMORY_ONCE": (Cause.MEMORY, "by SIGKILL"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_whose_process_ends_is_trained_again_and_the_cause_is_named(plain, tmp_path, name):
    if name == "MEMORY_ONCE" and not os.access(plain.MEMORY_GROUPS, os.W_OK):
        pytest.skip("a process can only be put out of memory by root, with control groups")
    heard, seed = Heard(), getattr(plain, name)
    groups = group(plain.TASK, 0), group(plain.TASK, 1, seed, 2), group(plain.TASK, 3)
    with Pool(plain.PlainSource(), 1, Limits(seconds_per_run=2)) as pool:
        pool.train(in_turn(*groups), heard.ended, folder=tmp_path, lost=heard.lost.append)
    for memory_group in plain.MEMORY_GROUPS.glob("lrsearch-*"):
        memory_group.rmdir()
    assert len(list(tmp_path.glob("*.ended"))) == 1
    assert heard.states == dict.fromkeys((0, 1, seed, 2, 3), RunState.FINISHED)
    assert len(heard.runs) == 5
    (lost,) = heard.lost
    assert (lost.seed, lost.attempt, lost.is_last) == (seed, 1, False)
    cause, why = ENDS[name]
    assert lost.death.cause is cause
    assert lost.death.why.startswith(why)
    assert "it was trained again" in lost.sentence


def test_a_run_whose_process_always_ends_has_failed_and_the_others_finish(plain, tmp_path):
    heard = Heard()
    with Pool(plain.PlainSource(), 2) as pool:
        groups = (group(plain.TASK, seed) for seed in (0, plain.DIES, 1))
        pool.train(in_turn(*groups), heard.ended, folder=tmp_path, lost=heard.lost.append)
    assert heard.states == {0: RunState.FINISHED, plain.DIES: RunState.FAILED, 1: RunState.FINISHED}
    assert [(lost.attempt, lost.is_last) for lost in heard.lost] == [(1, False), (2, False), (3, True)]
    failed = dict(heard.runs)[plain.DIES]
    assert failed.error.startswith("its process ended 3 times, the last time killed: by SIGKILL, it held ")
    assert failed.cause == "lost"


def test_a_process_that_ends_alone_ends_no_other(plain, tmp_path):
    heard, long = Heard(), group(plain.TASK, 0, horizon=200_000_000)

    def lost(attempt):
        heard.lost.append(attempt)
        raise KeyboardInterrupt

    with Pool(plain.PlainSource(), 2) as pool, pytest.raises(KeyboardInterrupt):
        pool.train(in_turn(long, group(plain.TASK, plain.KILLED_ONCE)), heard.ended, folder=tmp_path, lost=lost)
    assert len(heard.lost) == 1
    assert heard.states == {0: RunState.INTERRUPTED}


def test_runs_in_lockstep_with_a_killed_one_are_all_trained_again(plain, tmp_path):
    heard, groups = Heard(), [Group(group(plain.TASK, 0, plain.KILLED_ONCE, 1).specs, in_lockstep=True)]
    with Pool(plain.PlainSource(), 1) as pool:
        pool.train(in_turn(*groups), heard.ended, folder=tmp_path, lost=heard.lost.append)
    assert heard.states == dict.fromkeys((0, plain.KILLED_ONCE, 1), RunState.FINISHED)
    assert len(heard.runs) == 3


def test_a_deadline_interrupts_what_is_open(plain, tmp_path):
    heard = Heard()
    with Pool(plain.PlainSource(), 2, Limits(deadline=time.monotonic() + 3)) as pool:
        groups = group(plain.TASK, 0), group(plain.TASK, 1, horizon=200_000_000), group(plain.TASK, plain.STAYS)
        with pytest.raises(OutOfTime):
            pool.train(in_turn(*groups), heard.ended, folder=tmp_path)
    assert heard.states == {0: RunState.FINISHED, 1: RunState.INTERRUPTED, plain.STAYS: RunState.INTERRUPTED}


def test_the_time_that_workers_trained_is_known(plain):
    with Pool(plain.PlainSource(), 2) as pool:
        pool.train(in_turn(group(plain.TASK, 0), group(plain.TASK, 1)), lambda *_: None)
        usage = pool.usage
    assert usage.slots == 2
    assert 0 < usage.busy <= usage.seconds


def test_a_source_that_a_worker_cannot_open_is_told_with_its_own_traceback(plain, tmp_path, monkeypatch):
    (tmp_path / "users_file.py").write_text("import no_such_module_of_the_user\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Pool(plain.PlainSource("users_file"), 2) as pool:
        for attempt in (lambda: pool.lockstep, lambda: pool.train(in_turn(group(plain.TASK, 0)), print)):
            with pytest.raises(WorkError, match="a worker process cannot train plain: Traceback") as caught:
                attempt()
            assert 'users_file.py", line 1' in str(caught.value)
            assert "No module named 'no_such_module_of_the_user'" in str(caught.value)


def test_a_training_that_leaves_ends_no_worker(plain):
    with Pool(plain.PlainSource(), 1) as pool:
        with pytest.raises(WorkError, match=r"cannot train plain: Traceback[\s\S]*SystemExit: the user's script has"):
            pool.train(in_turn(group(plain.TASK, plain.EXITS)), print)
        assert len(pool.workers.pids) == 1
        pool.workers.begin(0, Order.of(group(plain.TASK, 0), None))


def test_what_a_worker_started_ends_with_it(plain, tmp_path):
    told = []
    with Pool(plain.PlainSource(), 1) as pool:
        pool.train(
            in_turn(group(plain.TASK, plain.STARTS_ANOTHER)), lambda spec, run: told.append(run.state), folder=tmp_path
        )
        started = int((tmp_path / "started").read_text())
        assert not has_ended(started, 0)
    assert told == [RunState.FINISHED]
    assert has_ended(started)


def test_what_a_worker_started_ends_with_it_where_it_was_killed(plain, tmp_path):
    with Pool(plain.PlainSource(), 1) as pool:
        pool.train(in_turn(group(plain.TASK, plain.STARTS_ANOTHER, plain.DIES)), lambda *_: None, folder=tmp_path)
        started = int((tmp_path / "started").read_text())
        assert has_ended(started)


ABANDONED = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import plain_trainer as plain
from lrsearch.executors.pool import Pool
from lrsearch.executors.workers import Order, RunEnded
from lrsearch.runs import RunSpec
from lrsearch.runs.executor import Group
from lrsearch.schedules import FIX

if __name__ == "__main__":
    pool = Pool(plain.PlainSource(), 2)
    for worker, seed in enumerate((plain.STARTS_ANOTHER, plain.STAYS)):
        group = Group((RunSpec(plain.TASK, FIX(k0=0.1), 20, seed),))
        pool.workers.begin(worker, Order.of(group, Path({folder!r})))
    while not isinstance(pool.workers.receive(60), RunEnded):
        pass
    while not Path({folder!r}, "stays").exists():
        pass
    print("training", flush=True)
    {end}
"""


@pytest.mark.parametrize("end", ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)", "pass"])
def test_a_parent_that_ends_leaves_no_process_behind(tmp_path, end):
    """Killed, or at its end with a pool that nobody closed: one worker is idle, one never looks up."""
    here = str(Path(__file__).parent)
    script = tmp_path / "script.py"
    script.write_text(ABANDONED.format(here=here, folder=str(tmp_path), end=end))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        out, _ = parent.communicate(timeout=60)  # its workers hold this pipe open: it ends when the last of them does
    assert out == "training\n"
    assert parent.returncode == (-signal.SIGKILL if "kill" in end else 3 if "exit" in end else 0)
    for name in ("started", "stays"):
        assert has_ended(int((tmp_path / name).read_text()))


def test_workers_may_start_processes_of_their_own_and_lead_a_group(plain):
    with Pool(plain.PlainSource(), 1) as pool:
        assert pool.lockstep.reason == "it has no rows"
        pid = pool.workers.pids[0]
        assert os.getpgid(pid) == pid != os.getpgid(0)
        assert [(process.pid, process.daemon) for process in multiprocessing.active_children()] == [(pid, False)]


def test_a_second_interrupt_ends_it_at_once(plain):
    def interrupt(spec, steps):
        raise KeyboardInterrupt

    def ended(spec, run):
        raise KeyboardInterrupt

    with Pool(plain.PlainSource(), 1) as pool, pytest.raises(KeyboardInterrupt):
        pool.train(in_turn(group(plain.TASK, 0, 1, horizon=200_000_000)), ended, progress=interrupt)


def test_a_lambda_is_refused_in_words():
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    task = classification(lambda: nn.Linear(3, 2), (x, y), name="mine", batch_size=20, horizon=30)
    with pytest.raises(TaskError, match="'mine' cannot be handed to another process"):
        Pool(ClassificationSource(task), 1)


def test_a_full_disk_is_said_and_leaves_nothing_behind(monkeypatch, tmp_path):
    full = Path("/dev/full")
    monkeypatch.setattr("lrsearch.training.mapped.TemporaryFile", lambda **_: full.open("r+b", 0))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"No space left on device; make room there, or name another place in TMPDIR"):
        Pool(ClassificationSource(MLP), 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_linux", [True, False])
def test_many_workers_and_late_ones_load_the_data_as_it_was(plain, monkeypatch, is_linux):
    if not is_linux:  # as where there is no /proc
        monkeypatch.setattr("lrsearch.training.mapped._opened_by_workers", lambda file: mapped._SentFile(file.fileno()))
    monkeypatch.setattr("lrsearch.training.mapped.MAPPED_BYTES", 100_000)
    trainer = Trainer(MLP, device="cpu")
    splits = (trainer.train_split, trainer.validation, trainer.test_split)
    parts = [part for split in splits for part in (split.x, split.y)]
    whole = [(tuple(part.shape), str(part.dtype), float(part.double().sum())) for part in parts]
    context = multiprocessing.get_context("spawn")
    with mapped.data_file() as file:
        load = mapped.write_mapped(trainer, file)
        for late in range(2):
            pipes = [context.Pipe() for _ in range(2 - late)]
            workers = [context.Process(target=plain.load_splits, args=(theirs,)) for _, theirs in pipes]
            for worker, (ours, _) in zip(workers, pipes, strict=True):
                worker.start()
                ours.send_bytes(ForkingPickler.dumps(load))
            for worker, (ours, _) in zip(workers, pipes, strict=True):
                loaded = ours.recv()
                assert [part[:2] for part in loaded] == [part[:2] for part in whole]
                assert [part[2] for part in loaded] == pytest.approx([part[2] for part in whole])
                worker.join()


KILLED_DRIVER = """
import os, sys
from dataclasses import replace
from lrsearch.executors.pool import Pool
from lrsearch.executors.workers import Order, Stepped
from lrsearch.runs import RunSpec
from lrsearch.runs.executor import Group
from lrsearch.schedules import FIX
from lrsearch.tasks import find_task
from lrsearch.training import mapped
from lrsearch.training.source import ClassificationSource

if __name__ == "__main__":
    if sys.argv[1] == "writing":
        write = mapped._write
        def slowly(file, array):
            write(file, array)
            print("writing", flush=True)
            sys.stdin.read()
        mapped._write = slowly
    task = replace(find_task("digits-mlp"), horizon=10**7)
    pool = Pool(ClassificationSource(task), 2)
    for seed in range(2):
        pool.workers.begin(seed, Order.of(Group((RunSpec(task, FIX(k0=0.1), 10**7, seed),)), None))
    training = set()
    while len(training) < 2:
        message = pool.workers.receive(60)
        training |= {message.worker} if isinstance(message, Stepped) else set()
    print("training", flush=True)
    sys.stdin.read()
"""


def of_ours(folder):
    """What lrsearch left in a folder: torch 2.6 leaves folders with one file of its own."""
    of_torch = ["_remote_module_non_scriptable.py"]
    return [
        left for left in folder.iterdir() if not left.is_dir() or [file.name for file in left.iterdir()] != of_torch
    ]


@pytest.mark.parametrize("moment", ["writing", "training"])
def test_a_killed_parent_leaves_nothing_in_its_temporary_folder(tmp_path, moment):
    script, temporary = tmp_path / "script.py", tmp_path / "temporary"
    script.write_text(KILLED_DRIVER)
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    words, pipe = [sys.executable, str(script), moment], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment) as parent:
        assert parent.stdout.readline() == f"{moment}\n"
        assert not of_ours(temporary)
        parent.kill()
        parent.stdout.read()  # its workers hold this pipe open: it ends when the last of them does
    assert parent.returncode == -signal.SIGKILL
    assert not of_ours(temporary)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_workers_are_a_whole_number(workers):
    with pytest.raises(UsageError, match="workers must be a whole number"):
        Pool(ClassificationSource(MLP), workers)
