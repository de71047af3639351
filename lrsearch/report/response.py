"""What pictures of the response over the learning rate show of runs: how well each did, and on which axis."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.report.metric import axis, drawn
from lrsearch.report.summary import peak_of
from lrsearch.runs import OWN, Task
from lrsearch.store import Trial

DECADE = 10
"""Values above 0 that span more than this factor stand on a logarithmic axis."""
FAR = 5
"""Falls, from a usual run to the best, behind the usual: what is worse than that stands at the edge. A rule."""
BEYOND, MARGIN = 1.5, 0.15
"""How far beyond the worst the edge is: times it on a logarithmic axis, by this part of the range on a linear one."""


@dataclass(frozen=True, slots=True)
class Response:
    """The axis of a response picture: the validation loss of lrsearch's own loop, else the metric in its own unit.

    Numbers rise upwards, also where higher is better: then the best runs stand on top, and the label says so.

    Args:
        task: what was trained.
        is_log: whether the axis is logarithmic.
        worst: the worst level (`Task.level`) that stands where it is.
        edge: where a cross stands for worse runs, and for those that diverged, as the axis counts it.
    """

    task: Task
    is_log: bool
    worst: float
    edge: float

    @property
    def label(self) -> str:
        """The axis's label."""
        if self.task.trainer == OWN:
            return axis(self.task.objective, "{} at the end")
        return "validation loss at the end"

    @property
    def name(self) -> str:
        """What its values are called."""
        return self.task.objective.name if self.task.trainer == OWN else "loss"

    def place(self, trial: Trial) -> float | None:
        """Where a run stands; None where it diverged or is far worse than the others, and where it has not ended."""
        level = _level(self.task, trial)
        return None if level is None or level > self.worst else _shown(self.task, level)


def response_of(task: Task, trials: Sequence[Trial]) -> Response:
    """Choose the axis on which some trials of a task are shown.

    The loss of lrsearch's own loop is logarithmic where it can be. A metric is where it is minimized, above 0, and
    spans a decade; else its axis is linear, and what blew up stands at its edge: runs far worse than the median, and
    than the run at the lowest learning rate, which learns least.
    """
    known = sorted((peak_of(trial), level) for trial in trials if (level := _level(task, trial)) is not None)
    levels = [level for _, level in known] or [task.chance_loss or 1.0]
    best, worst, is_own = min(levels), max(levels), task.trainer == OWN
    if best > 0 and (not is_own or (task.objective.is_minimized and worst > DECADE * best)):
        return Response(task, True, worst, _shown(task, BEYOND * worst))
    usual = max(statistics.median(levels), levels[0])
    worst = max(level for level in levels if level <= usual + FAR * (usual - best))
    margin = MARGIN * (worst - best) or MARGIN * abs(worst) or MARGIN
    return Response(task, False, worst, _shown(task, worst + margin))


def _level(task: Task, trial: Trial) -> float | None:
    level = task.level(trial.run) if trial.run else math.inf
    return level if math.isfinite(level) else None


def _shown(task: Task, level: float) -> float:
    """A level as the axis counts it."""
    return drawn(task.objective, task.objective.cost(level)) if task.trainer == OWN else level
