"""A training without a model: a loss surface over the policy, as a script that worker processes can import.

The loss falls by what the learning rates add up to, and grows without bound above an edge. It is as cheap as a loop of
numbers, and follows from policy, horizon and seed alone.
"""

import math
import random

import lrsearch as lrs

EDGE = 0.5
N = 160


def course(job):
    """(step, train loss) of a job: what is left falls by a share that follows the learning rate."""
    noise = random.Random(f"{job.seed} {job.policy} {job.horizon}")
    left, blown = 1.0, 1.0
    for step in range(1, 1 + job.horizon):
        lr = float(job.policy(step - 1))
        left *= math.exp(-4.0 * min(lr, EDGE) / EDGE / N)
        blown *= math.exp(max(0.0, lr - EDGE))
        scatter = 0.02 * min(1.0, lr / EDGE)
        yield step, min(left * blown + scatter * (1 + noise.gauss(0.0, 0.2)), 1e9)


def train(job, sign=1.0, metric="val_loss"):
    """Log the course of a job, and its metric at evaluations."""
    for step, loss in course(job):
        value = float("nan") if loss > 100 else loss
        job.log(step, train_loss=value)
        if job.is_evaluation_due(step):
            job.log(step, **{metric: sign * (value + 1.0)})
        if job.should_stop:
            return


@lrs.task("surface", horizon=N, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
def minimized(job):
    """The loss, minimized."""
    train(job)


@lrs.task("surface", horizon=N, epoch=8, maximize="val_loss", lr_range=(1e-4, 10.0))
def maximized(job):
    """The loss with the other sign, maximized."""
    train(job, -1.0)
