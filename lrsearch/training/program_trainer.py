"""Training by a program: each run is a job's file, a process group, and a report that is followed."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from lrsearch.errors import LRSearchError, UsageError, WorkError
from lrsearch.runs import RunSpec, Task
from lrsearch.runs.executor import Lockstep
from lrsearch.runs.job import Job, OnProgress
from lrsearch.runs.job_file import VARIABLE, JobFile, write_whole
from lrsearch.training.command import PLACES, SETTINGS, Command
from lrsearch.training.followed_job import FollowedJob
from lrsearch.training.launched import Starter
from lrsearch.training.own_trainer import OwnTrainer
from lrsearch.training.report import Report
from lrsearch.training.served_job import write_stop

OUTPUT = "output.txt"
MOST_OUTPUT = 2**30
LAST_BYTES, LAST_LINES = 4096, 10
POLL_SECONDS = 0.05
STOP_SECONDS = TERM_SECONDS = 2.0
"""For a program to see that it is to stop, and for it to end upon SIGTERM; together less than a pool waits."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """A program that runs.

    Args:
        group: its process group.
        next: where it looks for its next job.
        begin: where what it prints for this job begins.
    """

    group: int
    next: Path
    begin: int


class ProgramTrainer(OwnTrainer):
    """Trains runs of one task by a program, a process group each; one that trains several jobs is kept for them.

    Args:
        command: the program and its arguments.
        task: what it trains.
        device: where, such as "cuda:0"; None where the program chooses.
        threads: the cores that it may use, told by OMP_NUM_THREADS; None where it has all.
    """

    lockstep = Lockstep(0, "a program trains one run at a time")

    def __init__(self, command: Command, task: Task, device: str | None = None, threads: int | None = None) -> None:
        super().__init__(task, device, command.digest)
        self.command, self.threads = command, threads
        self._starter: Starter | None = None
        self._waiting: _Running | None = None
        self._output: IO[bytes] | None = None
        """What the program prints that was started last; its first job's folder may be gone."""
        self._queue = TemporaryDirectory(prefix="lrsearch-program-")
        """Where a program finds its next job, for its last one's folder may be gone."""

    def close(self) -> None:
        """Let the program that waits for a job end, and end it where it does not."""
        if self._waiting is not None and self._starter is not None:
            write_whole(self._waiting.next, "")
            self._starter.wait(STOP_SECONDS)
        if self._starter is not None:
            self._starter.close()
        if self._output is not None:
            self._output.close()
        self._queue.cleanup()

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
        path, file = self._written(job)
        report = Report(Path(file.report), file.job)
        running, self._waiting = self._handed_over(path, file), None
        is_old = running is not None
        try:
            while True:
                running = running or self._started(path, file)
                code = self._followed(job, report, running, file)
                if not is_old or code is None or job.was_heard:
                    break
                running, is_old = None, False  # it had ended before it saw this job
            if code is None:
                self._waiting = running
            if not code or job.has_ended or job.is_to_be_ended:
                return None
            return WorkError(f"{self.command.argv[0]} {_how_it_ended(code)}{self._last_lines(running.begin)}")
        finally:
            job.notes = report.notes
            for note in report.notes:
                log.warning("%s: %s", job.spec.task.name, note)
            if running is not None and is_old:
                self._keep_output(running.begin, job.folder / OUTPUT)

    def _written(self, job: FollowedJob) -> tuple[Path, JobFile]:
        """Write the job's files: of each attempt its own."""
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
            next=str(Path(self._queue.name) / f"{spec.key}-{attempt}"),
            lrs=self._lrs(job, folder),
        )
        Path(file.report).touch()
        file.write(path)
        return path, file

    def _lrs(self, job: FollowedJob, folder: Path) -> str | None:
        """Write the learning rates, one a line, where the command wants them."""
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

    def _started(self, path: Path, file: JobFile) -> _Running:
        """Start the program for a job."""
        if self._starter is None or not self._starter.is_alive:
            self._starter = Starter()
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

    def _handed_over(self, path: Path, file: JobFile) -> _Running | None:
        """Give the job to the program that waits for one, if there is one; its next is said in this job's file."""
        waiting = self._waiting
        if waiting is None or self._starter is None or self._starter.wait(0) is not None:
            return None
        write_whole(waiting.next, str(path))
        return _Running(waiting.group, _next(file), self._printed)

    def _followed(self, job: FollowedJob, report: Report, running: _Running, file: JobFile) -> int | None:
        """Follow a program until it or its job has ended, and give its exit code: None where it waits for another."""
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
                if job.is_to_be_ended:
                    return self._ended(running, file)
                if self._printed - running.begin > MOST_OUTPUT:
                    raise UsageError(f"it printed over {MOST_OUTPUT // 2**20} MiB: print less")
                job.heard()
        except BaseException:
            if code is None:
                self._ended(running, file)
            with contextlib.suppress(LRSearchError):
                for line in report.lines():
                    job.take(line)
            raise

    def _ended(self, running: _Running, file: JobFile) -> int:
        """End a program: by the file that it reads, then by SIGTERM, then by SIGKILL, with all that it started."""
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
        """Keep what a program that trains several jobs printed for one of them."""
        assert self._output is not None
        with contextlib.suppress(OSError):
            self._output.seek(begin)
            path.write_bytes(self._output.read(2**20))

    def _last_lines(self, begin: int) -> str:
        """The last of what was printed for a job."""
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


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    name = {one.value: one.name for one in signal.Signals}.get(-code, f"signal {-code}")
    return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
