"""What a job costs beyond a bare loop: `job.log` of a tensor, and a whole loop. Prints ratios; asserts nothing.

    OMP_NUM_THREADS=1 python studies/benchmarks/jobs.py

1. `job.log(step, train_loss=tensor)`: microseconds a call, its later reading included, on this process's own clock.
2. A small loop (a network of two layers, SGD, 1,000 updates of 25 samples) as a job against the same loop with a bare
   torch scheduler: 60 pairs in one process, each in the other order than the last, the median of the
   ratios of their processor time.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

import lrsearch as lrs
from lrsearch.runs import RunSpec
from lrsearch.runs.job import Job

PAIRS, CALLS, N = 60, 200_000, 1000
TASK = lrs.Task(name="small", horizon=N, epoch=400, objectives=(lrs.minimize("val_loss"),))
X, Y = torch.randn(2000, 64), torch.randn(2000, 1)


def begun() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
    return model, torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)


def loss_of(model: torch.nn.Module, step: int) -> torch.Tensor:
    at = (step * 25) % 1975
    return F.mse_loss(model(X[at : at + 25]), Y[at : at + 25])


def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def bare() -> None:
    """A loop with a bare scheduler of torch's, which reads its loss every 25 updates, as people print it."""
    model, optimizer = begun()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.01)
    for step in range(1, 1 + N):
        loss = loss_of(model, step)
        update(optimizer, loss)
        scheduler.step()
        if step % 25 == 0:
            loss.item()


def job() -> None:
    """The same loop as a job, which logs every loss."""
    model, optimizer = begun()
    made = Job(RunSpec(TASK, lrs.parse("FIX(k0=0.01)"), N, 0))
    scheduler = made.scheduler(optimizer)
    for step in range(1, 1 + N):
        loss = loss_of(model, step)
        update(optimizer, loss)
        scheduler.step()
        made.log(step, train_loss=loss)
        if made.should_stop:
            break


def seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def log() -> None:
    made = Job(RunSpec(lrs.Task(name="many", horizon=CALLS, epoch=CALLS, objectives=TASK.objectives),
                       lrs.parse("FIX(k0=0.01)"), CALLS, 0))
    loss = (torch.randn(3, requires_grad=True) ** 2).mean()
    for step in range(1, 1 + CALLS):
        made.log(step, train_loss=loss)
    assert len(made.values.series["train_loss"]) == CALLS


if __name__ == "__main__":
    torch.set_num_threads(1)
    bare()
    job()
    pairs = []
    for pair in range(PAIRS):
        taken = {work: seconds(work) for work in ((bare, job) if pair % 2 else (job, bare))}
        pairs.append((taken[bare], taken[job]))
    ratios = sorted(own / other for other, own in pairs)
    print(f"job.log of a tensor: {1e6 * min(seconds(log) for _ in range(3)) / CALLS:.2f} us a call, least of 3")
    low, high = ratios[PAIRS // 4], ratios[3 * PAIRS // 4]
    each = 1e6 * statistics.median(other for other, _ in pairs) / N
    print(f"a plain loop as a job / the bare loop: {statistics.median(ratios):.3f} (quartiles {low:.3f} to {high:.3f};"
          f" {each:.0f} us an update)")
