"""Trainings that take time and no processor: what they do is written for the oracle, and some end their process.

Workers import this file.
"""

import hashlib
import os
import signal
import time
from pathlib import Path

from oracle import BEGIN, END, FAULT, ORACLE, STEP, writer

import lrsearch as lrs

PAUSE = 0.01
"""Seconds of an update: long beside its line in the file, short beside a run."""
FAULTS = "LRSEARCH_FAULTS_KINDS"
"""Environment variable: the faults to come, each for another run. A run has one, halfway through its first attempt."""
HASHES = 100
"""Hashes of a mebibyte each in an update that computes: 80 ms of a core of 2 (measured, n = 20)."""
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


@lrs.task("sleeps", horizon=200, epoch=20, minimize="loss", lr_range=(1e-4, 1.0))
def sleeps(job):
    """Sleep 10 ms for each update."""
    return _train(job, PAUSE)


@lrs.task("shared", horizon=200, epoch=20, minimize="loss", lr_range=(1e-4, 1.0))
def shared(job):
    """Sleep 10 ms for each update; log the process, so that the results of two processes differ."""
    job.log(1, process=os.getpid())
    return _train(job, PAUSE)


@lrs.task("burns", horizon=200, epoch=20, minimize="loss", lr_range=(1e-4, 1.0))
def burns(job):
    """Compute for each update, 80 ms of a core."""
    return _train(job, 0.0, compute=HASHES)


@lrs.task("raises", horizon=200, epoch=20, minimize="loss", lr_range=(1e-4, 1.0))
def raises(job):
    """Train, and fail in each run that is no check."""
    value = _train(job, PAUSE)
    if job.horizon > 2:
        raise RuntimeError(f"run {job.key} fails")
    return value


@lrs.task("instant", horizon=20, epoch=2, minimize="loss", lr_range=(1e-4, 1.0))
def instant(job):
    """Take no time."""
    return _train(job, 0.0)


@lrs.task("held", horizon=20, epoch=2, minimize="loss", lr_range=(1e-4, 1.0))
def held(job):
    """Train, with an even seed only once the file `released-SEED` lies beside the oracle's."""
    released = Path(os.environ[ORACLE]).with_name(f"released-{job.seed}")
    return _train(job, 0.0, lambda: job.seed % 2 == 1 or released.exists())


@lrs.task("held probes", horizon=200, epoch=20, minimize="loss", lr_range=(1e-4, 1.0))
def held_probes(job):
    """Sleep 10 ms for each update; begin a probe only once the file `released` lies beside the oracle's."""
    released = Path(os.environ[ORACLE]).with_name("released")
    return _train(job, PAUSE, lambda: not is_probe(job.horizon, job.spec.task.horizon) or released.exists())


def is_probe(horizon, full):
    """Whether a run is a probe: shorter than a full run, and not the check of two updates that a search begins with."""
    return 2 < horizon < full


def _train(job, pause, is_released=lambda: True, compute=0):
    write = writer(job.key, job.horizon)
    write(BEGIN)
    while not is_released():
        time.sleep(PAUSE)
    fault = _claimed_fault(job)
    value = 5.0
    for step in range(1, 1 + job.horizon):
        if pause:
            time.sleep(pause)
        for _ in range(compute):
            hashlib.sha256(MEBIBYTE)
        value *= 1 - min(job.policy(step - 1), 0.5) / 20
        write(STEP)
        job.log(step, train_loss=value)
        if job.is_evaluation_due(step):
            job.log(step, loss=value)
        if fault and step == max(1, job.horizon // 2):
            write(FAULT)
            KINDS[fault]()
    write(END)
    return {"loss": value}


def _claimed_fault(job):
    """The next fault, where there is one and this is the run's first attempt."""
    folder = Path(os.environ[ORACLE]).parent
    tickets = {file.read_text() for file in folder.glob("fault-*")}
    for number, kind in enumerate(os.environ.get(FAULTS, "").split()):
        if job.key in tickets:
            return None
        try:
            with (folder / f"fault-{number}").open("x") as ticket:
                ticket.write(job.key)
        except FileExistsError:
            continue
        return kind
    return None


def _hang():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(3600)


def _run_out_of_memory():
    """Have the kernel kill this process for want of memory, in a control group of its own; it must be root."""
    group = MEMORY_GROUPS / f"lrsearch-faults-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(200 * 2**20))
    (group / "cgroup.procs").write_text(str(os.getpid()))
    kept = []
    while len(kept) < 4096:  # it ends long before
        kept.append(bytes(b"x" * 2**20))


MEBIBYTE = bytes(2**20)
KINDS = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": _run_out_of_memory,
    "exited": lambda: os._exit(5),
    "crashed": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hung": _hang,
}
