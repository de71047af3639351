"""Drives a study: asks it what to train, has an executor train that, and tells it what came of it."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from lrsearch.runs import Run, RunSpec
from lrsearch.runs.executor import Executor, Group, NoRun
from lrsearch.store import Trial
from lrsearch.study.study import Study
from lrsearch.training.groups import groups

Progress = Callable[[Trial, int], None]


def drive(study: Study, executor: Executor, progress: Progress | None = None, folder: Path | None = None) -> None:
    """Train what a study asks for until it is done.

    Args:
        study: the study.
        executor: trains runs of its task.
        progress: is told an assignment and its steps done, every now and then.
        folder: for the weights of full runs and the checkpoints of those in progress; None to keep none.

    Raises:
        KeyboardInterrupt: after the interrupted runs are recorded.
        WorkError: if a process that trains died, or what the study cannot do without failed.
    """
    dispatcher = _Dispatcher(study, executor, progress)
    executor.train(dispatcher.ask, dispatcher.ended, folder=folder, progress=dispatcher.stepped)


class _Dispatcher:
    """Hands out what a study asks for in groups, and takes back what came of them."""

    def __init__(self, study: Study, executor: Executor, progress: Progress | None) -> None:
        self.study, self.executor, self.progress = study, executor, progress
        self.waiting: deque[Group] = deque()
        self.asked: dict[str, Trial] = {}

    def ask(self) -> Group | NoRun:
        if not self.waiting:
            found = self.study.ask_all()
            if isinstance(found, NoRun):
                return found
            self._group(found)
        return self.waiting.popleft()

    def _group(self, trials: list[Trial]) -> None:
        task = self.study.setup.task
        specs = {trial.number: trial.spec(task) for trial in trials}
        self.asked |= {specs[trial.number].key: trial for trial in trials}
        short = [specs[trial.number] for trial in trials if trial.is_short(task)]
        self.waiting.extend(groups(list(specs.values()), short, self.executor.lockstep.rows, self.executor.slots))

    def ended(self, spec: RunSpec, run: Run) -> None:
        self.study.tell(self.asked[spec.key], run)

    def stepped(self, spec: RunSpec, steps: int) -> None:
        if self.progress:
            self.progress(self.asked[spec.key], steps)
