"""A training that loses attempts: each process ends or hangs once. Every update adds a letter to the file UPDATES."""

import os
import signal
import time

import lrsearch as lrs


@lrs.task("losing", horizon=160, epoch=8, minimize="loss", lr_range=(1e-4, 10.0))
def train(job):
    """The range test's process is killed at update 20, the default's hangs."""
    ends = {40: kill, 160: hang}
    file = os.open(os.environ["UPDATES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for step in range(1, 1 + job.horizon):
        job.log(step, train_loss=1 / step + job.policy(step - 1) ** 2)
        os.write(file, b"u")
        if job.is_evaluation_due(step):
            job.log(step, loss=1 / step + job.policy(0) ** 2)
        if step == 20 and job.horizon in ends and is_first(job):
            ends[job.horizon]()
    os.close(file)


def is_first(job):
    """Whether no run of this length was here before."""
    mark = job.folder.parent / f"{job.horizon}.mark"
    if mark.exists():
        return False
    mark.touch()
    return True


def kill():
    """End this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    """Never return."""
    time.sleep(3600)
