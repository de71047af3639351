"""Training by a program: each run has a job file, a process group, and a report that is followed."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lrsearch.errors import LRSearchError, UsageError, WorkError
from lrsearch.runs import RunSpec, Task
from lrsearch.runs.executor import Lockstep
from lrsearch.runs.job import Job, OnProgress
from lrsearch.runs.job_file import VARIABLE, JobFile, write_whole
from lrsearch.training.command import PLACES, SETTINGS, Command
from lrsearch.training.followed_job import FollowedJob
from lrsearch.training.report import Report
from lrsearch.training.served_job import write_stop
from lrsearch.training.starter import Starter
from lrsearch.training.user_trainer import UserTrainer

OUTPUT = "output.txt"
MOST_OUTPUT = 2**30
"""Rule: bytes that a program may print for one job."""
LAST_BYTES, LAST_LINES = 4096, 10
"""Rule: the part of the output that an error message shows."""
POLL_SECONDS = 0.05
"""Rule: seconds between two reads of a report; shorter at the start, for short runs."""
STOP_SECONDS = TERM_SECONDS = 2.0
"""Rule: seconds for a program to react to a stop, and to SIGTERM; together less than a pool waits."""
BY_SIGNAL = 128
"""A shell returns this plus the number of the signal that ended its program: a rule of POSIX."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """A running program.

    Args:
        group: its process group.
        next: the file in which it finds its next job.
        begin: the offset in its output where this job begins.
    """

    group: int
    next: Path
    begin: int


class ProgramTrainer(UserTrainer):
    """Trains runs of one task by a program, each in a process group; a program that trains several jobs is reused.

    Args:
        command: the program and its arguments.
        task: the task that it trains.
        device: a torch device, such as "cuda:0"; None where the program chooses.
        threads: the cores that it may use, passed by OMP_NUM_THREADS; None for all.
    """

    lockstep = Lockstep(0, "a program trains one run at a time")

    def __init__(self, command: Command, task: Task, device: str | None = None, threads: int | None = None) -> None:
        super().__init__(task, device, command.digest)
        self.command, self.threads = command, threads
        self._starter: Starter | None = None
        self._idle: _Running | None = None
        self._output: IO[bytes] | None = None
        """The output of the last started program, kept open because its first job's folder may be removed."""

    def close(self) -> None:
        """End the idle program: by an empty next job, then by its launcher."""
        if self._idle is not None and self._starter is not None:
            write_whole(self._idle.next, "")
            self._starter.wait(STOP_SECONDS)
        if self._starter is not None:
            self._starter.close()
        if self._output is not None:
            self._output.close()

    def _job(
        self, spec: RunSpec, folder: Path | None, watch: OnProgress | None, is_range_test: bool | None
    ) -> FollowedJob:
        return FollowedJob(spec, folder=folder, device=self.device, on_progress=watch, is_range_test=is_range_test)

    def _environment(self, job: Job) -> Mapping[str, str]:
        assert isinstance(job, FollowedJob)
        return job.environment

    def _outcome(self, job: Job) -> Any:
        assert isinstance(job, FollowedJob)
        try:
            return self._train(job)
        except (LRSearchError, OSError, KeyboardInterrupt) as error:
            return error

    def _train(self, job: FollowedJob) -> Any:
        if self._starter is None or not self._starter.is_alive:
            self._starter, self._idle = Starter(), None
        path, file = self._write_files(job, self._starter.queue)
        report = Report(Path(file.report), file.job)
        running, self._idle = self._hand_over(path, file), None
        is_old = running is not None
        try:
            while True:
                running = running or self._start(path, file)
                code = self._follow(job, report, running, file)
                if not is_old or code is None or job.has_reported:
                    break
                running, is_old = None, False  # it ended before it read this job
            if code is None:
                self._idle = running
            if not code or job.has_ended or job.must_be_ended:
                return None
            if _is_interruption(code):
                return KeyboardInterrupt()
            return WorkError(f"{self.command.argv[0]} {_how_it_ended(code)}{self._last_lines(running.begin)}")
        finally:
            job.notes = report.notes
            for note in report.notes:
                log.warning("%s: %s", job.spec.task.name, note)
            if running is not None and is_old:
                self._keep_output(running.begin, job.folder / OUTPUT)

    def _write_files(self, job: FollowedJob, queue: Path) -> tuple[Path, JobFile]:
        """Write the job's files, new ones for each attempt.

        The next job's file is in a queue, because the folder of a program's last job may be removed.
        """
        folder, spec = job.folder.resolve(), job.spec
        attempt = 1
        while (path := folder / f"job-{attempt}.json").exists():
            attempt += 1
        (folder / "policy.txt").write_text(f"{spec.policy}\n")
        file = JobFile.of(
            spec,
            folder,
            is_range_test=job.is_range_test,
            attempt=attempt,
            device=self.device,
            resumed=job.resumed,
            next=str(queue / f"{spec.key}-{attempt}"),
            lrs=self._lrs(job, folder),
        )
        Path(file.report).touch()
        file.write(path)
        return path, file

    def _lrs(self, job: FollowedJob, folder: Path) -> str | None:
        """Write the learning rates, one a line, where the command has `{lrs}`; return the path."""
        if "lrs" not in self.command.places:
            return None
        if job.policy.is_controller:
            raise UsageError(
                f"{job.policy} learns its learning rates while it trains: a command with {{lrs}} cannot"
                " follow it; give functions without controllers"
            )
        path = folder / "lrs.txt"
        path.write_text("".join(f"{float(lr)!r}\n" for lr in job.policy.curve(job.horizon)))
        return str(path)

    def _start(self, path: Path, file: JobFile) -> _Running:
        """Start a program for a job."""
        assert self._starter is not None
        values = {name: getattr(file, name) for name in PLACES if name != "policy_file"}
        values["policy_file"] = str(Path(file.folder) / "policy.txt")
        values |= {SETTINGS + name: value for name, value in file.settings.items()}
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        output = Path(file.folder) / OUTPUT
        output.touch()
        if self._output is not None:
            self._output.close()
        self._output = output.open("rb")
        begin = self._printed
        group = self._starter.start(self.command.fill(values), {VARIABLE: str(path), **threads}, output)
        return _Running(group, _next(file), begin)

    def _hand_over(self, path: Path, file: JobFile) -> _Running | None:
        """Hand the job to the idle program; None where there is none. This job's file names its next one."""
        idle = self._idle
        if idle is None or self._starter is None or self._starter.wait(0) is not None:
            return None
        write_whole(idle.next, str(path))
        return _Running(idle.group, _next(file), self._printed)

    def _follow(self, job: FollowedJob, report: Report, running: _Running, file: JobFile) -> int | None:
        """Follow a program until it or its job has ended; return its exit code, None where it waits for another job."""
        assert self._starter is not None
        began, code = time.perf_counter(), None
        try:
            while True:
                seconds = min(POLL_SECONDS, 0.001 + 0.1 * (time.perf_counter() - began))
                code = self._starter.wait(seconds)
                for line in report.lines():
                    job.take(line)
                if code is not None or job.has_ended:
                    return code
                if job.must_be_ended:
                    return self._end(running, file)
                if self._printed - running.begin > MOST_OUTPUT:
                    raise UsageError(f"it printed over {MOST_OUTPUT // 2**20} MiB: print less")
                job.report_progress()
        except BaseException:
            if code is None:
                self._end(running, file)
            with contextlib.suppress(LRSearchError):
                for line in report.lines():
                    job.take(line)
            raise

    def _end(self, running: _Running, file: JobFile) -> int:
        """End a program and its children: by the stop file, then by SIGTERM, then by SIGKILL. Return the exit code."""
        assert self._starter is not None
        with contextlib.suppress(FileExistsError):
            write_stop(Path(file.stop), 0)
        code = None
        try:
            for number, seconds in ((None, STOP_SECONDS), (signal.SIGTERM, TERM_SECONDS)):
                _signal(running.group, number)
                if (code := self._starter.wait(seconds)) is not None:
                    return code
        finally:
            if code is None:
                _signal(running.group, signal.SIGKILL)
                code = self._starter.wait(TERM_SECONDS)
        return -signal.SIGKILL if code is None else code

    @property
    def _printed(self) -> int:
        """The bytes that the program has printed."""
        assert self._output is not None
        return os.fstat(self._output.fileno()).st_size

    def _keep_output(self, begin: int, path: Path) -> None:
        """Write the output of one job of a program that trains several."""
        assert self._output is not None
        with contextlib.suppress(OSError):
            self._output.seek(begin)
            path.write_bytes(self._output.read(2**20))

    def _last_lines(self, begin: int) -> str:
        """The last lines of a job's output, for an error message."""
        assert self._output is not None
        self._output.seek(max(begin, self._printed - LAST_BYTES))
        lines = self._output.read(LAST_BYTES).decode(errors="replace").split("\n")
        shown = [line.rsplit("\r", 1)[-1].rstrip() for line in lines]
        last = [line for line in shown if line][-LAST_LINES:]
        return "; its last lines:\n" + "\n".join(last) if last else ", and printed nothing"


def _next(file: JobFile) -> Path:
    assert file.next is not None
    return Path(file.next)


def _signal(group: int, number: int | None) -> None:
    if number is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _is_interruption(code: int) -> bool:
    """Whether a program was asked to end from outside, as before a time limit; a shell reports its program's signal."""
    numbers = (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM))
    return -code in numbers or code - BY_SIGNAL in numbers


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    name = {number.value: number.name for number in signal.Signals}.get(-code, f"signal {-code}")
    return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
