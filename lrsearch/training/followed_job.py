"""The job of a program, on the side of the process that started it: it follows the program's report."""

import time
from collections.abc import Mapping

from lrsearch.runs.job import PATIENCE, Job
from lrsearch.training.job_state import JobState
from lrsearch.training.report import Line


class FollowedJob(Job):
    """A job that a program trains.

    A Python program with `lrs.job()` reports the state of its own job: updates, whether the policy was applied, where
    it stops. Of any other program only the reported steps are known.
    """

    _state: JobState | None = None

    def take(self, line: Line) -> None:
        """Take a line of the report; a line without a step is of the last update."""
        if line.state is None:
            self.log(self.horizon if line.step is None else line.step, **line.values)
            return
        self._state = state = line.state
        self._began_at, self.changed, self.skipped = state.began_at, state.changed, state.skipped
        self.lrs.extend(state.lrs)
        if self.first_step_at is None and state.first_update_at is not None:
            self.first_step_at = time.perf_counter() - (time.time() - state.first_update_at)

    @property
    def step(self) -> int:
        """Updates done, with those that a killed program counted and did not report."""
        if self._state is None:
            return super().step
        self._counter.refresh()
        return max(self._state.step, self._began_at + self._counter.counted)

    @property
    def has_scheduler(self) -> bool:
        """Whether the program uses its job's scheduler, so that its learning rates are checked."""
        return self._state is not None and self._state.has_scheduler

    @property
    def last_evaluation(self) -> int:
        """The step of the run's last evaluation: the horizon, or the step of an early stop."""
        return (self._state and self._state.stop_at) or super().last_evaluation

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment that the program reported; empty where it reported none."""
        return self._state.environment if self._state is not None else {}

    @property
    def has_ended(self) -> bool:
        """Whether the program reported the end of this job and waits for its next one."""
        return self._state is not None and self._state.has_ended

    @property
    def must_be_ended(self) -> bool:
        """Whether the program must be ended: it diverged, or it does not react to a stop."""
        reacts = self._state is not None and self._evaluations_since_stop < PATIENCE
        return self.has_diverged or (self.stopped_at is not None and self.stopped_at < self.horizon and not reacts)

    @property
    def has_reported(self) -> bool:
        """Whether the program reported anything."""
        return self._state is not None or self._logged > 0

    def report_progress(self) -> None:
        """Call `on_progress` with the steps done; it may raise `KeyboardInterrupt`."""
        if self._on_progress is not None:
            self._on_progress(self.step)

    def _count_logged(self, at: int) -> None:
        if self._state is None:  # otherwise the program's own job counts
            super()._count_logged(at)

    def _require_stop(self) -> None:
        self._evaluations_since_stop += self.should_stop
