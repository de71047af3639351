"""Every update is charged: also those of attempts whose process was killed.

Each attempt of a run counts its updates in a file of the run's folder, see `StepCounter`. The file also says how many
were charged: those whose run was recorded in the store. The rest was made by attempts that were killed. A kill hides
one update of each run in training at most: the one that was not counted yet. A run that did not end is charged twice
where the process is killed between its record in the store and `settle`.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import charge_count, forget_count, has_ended, lost_in
from lrsearch.runs.task import OWN


def unreported(folder: Path, spec: RunSpec, latest: float) -> Run | None:
    """The killed attempts of a run as one interrupted run: its steps are those that nobody was charged for.

    Args:
        folder: the parent of the run's folder.
        spec: the run.
        latest: the time to wait for an attempt that still trains, by the monotonic clock. Its process ends where the
            process that started it was killed; otherwise another process trains the run now, and reports it.

    Returns:
        The interrupted run; None where nothing is to be charged.
    """
    own = folder / spec.key
    if not own.is_dir() or not has_ended(own, latest):
        return None
    steps = lost_in(own)
    return Run(state=RunState.INTERRUPTED, steps=steps, seconds=0.0) if steps > 0 else None


def settle(folder: Path | None, spec: RunSpec, run: Run) -> None:
    """Mark the updates of a recorded run as charged. Of a run that ended, remove the count and what else goes with it.

    Args:
        folder: the parent of the run's folder; None where the run has none.
        spec: the run.
        run: the run as it was recorded.
    """
    if folder is None:
        return
    own = folder / spec.key
    with suppress(OSError):
        if not run.state.is_final:
            charge_count(own, run.lost + run.trained)
        elif spec.task.trainer == OWN and spec.horizon == spec.task.horizon:
            forget_count(own)  # the folder of a user's full run stays
        elif own.is_dir():
            shutil.rmtree(own)
