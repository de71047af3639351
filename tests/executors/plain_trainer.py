"""A training without torch, data or a model, as an executor must bear it: what a run does follows from its seed.

Workers import this file, so it is no test's module.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lrsearch.runs import Point, Run, RunSpec, RunState, Task, minimize
from lrsearch.runs.executor import Lockstep

TASK = Task(name="plain", horizon=400, epoch=20, objectives=(minimize("loss"),))
FAILS, EXITS, STARTS_ANOTHER, DIES, STAYS = 901, 902, 903, 904, 905
"""Seeds: the run fails; the training leaves by sys.exit; starts a process; its process dies; it never looks up."""
KILLED_ONCE, CRASHES_ONCE, EXITS_ONCE, HANGS_ONCE, TERMINATED_ONCE, MEMORY_ONCE = 911, 912, 913, 914, 915, 916
"""Seeds whose process ends at the first attempt, halfway, and not at the second."""


WAITS, MEETS = 920, 921
"""Seeds: the run begins once the run of the next seed has begun, in another process."""


class PlainTrainer:
    """Trains runs one after the other; its lockstep is a rule of its own, for groups to be seen."""

    task = TASK
    lockstep = Lockstep(0, "it has no rows")

    def close(self):
        pass

    def train_group(self, group, ended, watch=None, folder=None):
        is_over = False
        for spec in group.specs:
            run = self._interrupted(0) if is_over else self._train(spec, watch or (lambda step: None), folder)
            is_over = run.state is RunState.INTERRUPTED
            ended(spec, run)

    def _train(self, spec: RunSpec, watch, folder: Path | None) -> Run:
        self._do(spec, folder)
        score, step = spec.policy(0), 0
        try:
            for step in range(1, spec.horizon + 1):
                watch(step)
                if step == spec.horizon // 2:
                    self._end_once(spec, folder)
                score = score / 2 + spec.policy(step - 1) / (spec.seed + 1)
        except KeyboardInterrupt:
            return self._interrupted(step)
        if spec.seed == FAILS:
            return Run.failed(RuntimeError("it broke"))
        if folder and spec.horizon == spec.task.horizon:
            (folder / f"{spec.key}.txt").write_text(str(os.getpid()))
        return Run(
            state=RunState.FINISHED,
            steps=spec.horizon,
            seconds=0.0,
            score=score,
            points=(Point(spec.horizon, None, score),),
        )

    def _do(self, spec, folder):
        if spec.seed in (WAITS, MEETS):
            (folder / f"{spec.seed}.pid").write_text(str(os.getpid()))
        while spec.seed == WAITS and not (folder / f"{MEETS}.pid").exists():
            time.sleep(0.01)
        if spec.seed == EXITS:
            raise SystemExit("the user's script has left")
        if spec.seed == STARTS_ANOTHER:
            (folder / "started").write_text(str(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid))
        if spec.seed == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if spec.seed == STAYS:
            (folder / "stays").write_text(str(os.getpid()))
            signal.pause()

    def _end_once(self, spec, folder):
        if not KILLED_ONCE <= spec.seed <= MEMORY_ONCE or (folder / f"{spec.key}.ended").exists():
            return
        (folder / f"{spec.key}.ended").write_text(str(os.getpid()))
        if spec.seed == EXITS_ONCE:
            os._exit(5)
        if spec.seed == HANGS_ONCE:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(600)
        if spec.seed == MEMORY_ONCE:
            end_out_of_memory()
        kinds = {KILLED_ONCE: signal.SIGKILL, CRASHES_ONCE: signal.SIGSEGV, TERMINATED_ONCE: signal.SIGTERM}
        os.kill(os.getpid(), kinds[spec.seed])

    def _interrupted(self, steps):
        return Run(state=RunState.INTERRUPTED, steps=steps, seconds=0.0)


MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


def end_out_of_memory() -> None:
    """Have the kernel kill this process for want of memory, in a control group of its own; it must be root."""
    group = MEMORY_GROUPS / f"lrsearch-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(200 * 2**20))
    (group / "cgroup.procs").write_text(str(os.getpid()))
    held = [bytes(2**20)]
    while len(held) < 4096:  # ends long before
        held.append(bytes(b"x" * 2**20))


@dataclass(frozen=True)
class PlainSource:
    """Opens it, unless it is told to fail."""

    fails: str | None = None
    task: Task = TASK

    def shared(self):
        from contextlib import nullcontext

        return nullcontext(self)

    def portable(self):
        return self

    def open(self, *, is_own_process=False, threads=None, device=None):
        if self.fails:
            import importlib

            importlib.import_module(self.fails)
        return PlainTrainer()

    def default_workers(self):
        return 2


def load_splits(connection):
    """Receive a loader of splits, and send back the shapes and sums of what it loads, and whether it may be changed."""
    splits = connection.recv()(None)
    parts = [part for split in (splits.train, splits.validation, splits.test) for part in (split.x, split.y)]
    for part in parts:
        part += 1  # copy-on-write: no other process sees it
    connection.send([(tuple(part.shape), str(part.dtype), float(part.double().sum()) - part.numel()) for part in parts])
