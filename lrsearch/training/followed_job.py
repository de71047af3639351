"""The job of a program, as whoever started the program sees it: what is reported is followed."""

import time
from collections.abc import Mapping

from lrsearch.runs.job import PATIENCE, Job
from lrsearch.training.job_state import JobState
from lrsearch.training.report import Line


class FollowedJob(Job):
    """A job that a program trains.

    A Python program says by its state what its own job knows: updates, whether the policy was applied, where it stops.
    Of any other the steps that it reports are all that is known.
    """

    _state: JobState | None = None

    def take(self, line: Line) -> None:
        """Take a line of its report; one without a step is of the last update."""
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
        """Updates done, those included that a killed program did not report."""
        if self._state is None:
            return super().step
        self._counter.refresh()
        return max(self._state.step, self._began_at + self._counter.counted)

    @property
    def has_scheduler(self) -> bool:
        """Whether the program asked for its scheduler, so that its learning rates are checked."""
        return self._state is not None and self._state.has_scheduler

    @property
    def last_evaluation(self) -> int:
        """The step of the last evaluation of the run, as far as it went."""
        return (self._state and self._state.stop_at) or super().last_evaluation

    @property
    def environment(self) -> Mapping[str, str]:
        """What the program says that it trained with; empty where it says nothing."""
        return self._state.environment if self._state is not None else {}

    @property
    def has_ended(self) -> bool:
        """Whether the program says that it has, and waits for another."""
        return self._state is not None and self._state.has_ended

    @property
    def is_to_be_ended(self) -> bool:
        """Whether the program is not left to itself any longer: it diverged, or does not see that it is to stop."""
        heeds = self._state is not None and self._evaluations_since_stop < PATIENCE
        return self.has_diverged or (self.stopped_at is not None and self.stopped_at < self.horizon and not heeds)

    @property
    def was_heard(self) -> bool:
        """Whether anything of it was reported."""
        return self._state is not None or self._logged > 0

    def heard(self) -> None:
        """Let whoever asked for the job know that it is alive."""
        if self._on_progress is not None:
            self._on_progress(self.step)

    def _count_logged(self, at: int) -> None:
        if self._state is None:  # else the program's own job counts
            super()._count_logged(at)

    def _require_heeded(self) -> None:
        self._evaluations_since_stop += self.should_stop
