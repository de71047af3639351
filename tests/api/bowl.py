"""A function that a Ray Tuner trains in milliseconds, and resumes."""

import json
import time
from pathlib import Path

import lrsearch as lrs

HORIZON, EVALUATIONS = 200, 10


def descend(job, pause=0.0):
    """Go down a parabola by the policy; save the state before each evaluation is logged."""
    saved = Path(job.folder, "state.json")
    start, at = json.loads(saved.read_text()) if job.resumed else (0, 5.0)
    for step in range(start + 1, 1 + job.horizon):
        at = max(-1e6, min(1e6, at - job.policy(step - 1) * 2 * at))
        if job.is_evaluation_due(step):
            time.sleep(pause)
            saved.write_text(json.dumps([step, at]))
            job.log(step, distance=abs(at - 0.01))
        if job.should_stop:
            break


@lrs.task("bowl", horizon=HORIZON, epoch=10, minimize="distance", lr_range=(1e-3, 0.9))
def bowl(job):
    return descend(job)


@lrs.task("returns", horizon=HORIZON, epoch=10, maximize="gain", lr_range=(1e-3, 0.9))
def returns(job):
    """It logs nothing, and returns its metric: NaN at a high learning rate."""
    peak = max(job.policy(step) for step in range(job.horizon))
    return float("nan") if peak > 0.1 else peak


@lrs.task("breaks", horizon=HORIZON, epoch=10, minimize="distance")
def breaks(job):
    raise RuntimeError("the data set is gone")
