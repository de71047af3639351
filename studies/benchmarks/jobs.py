"""What a job costs beyond a bare loop: `job.log` of a tensor, and a whole loop. Prints ratios; asserts nothing.

    OMP_NUM_THREADS=1 python studies/benchmarks/jobs.py

1. `job.log(step, train_loss=tensor)`: microseconds a call, its later reading included, on this process's own clock.
2. A small loop (a network of two layers, SGD, updates of 25 samples) as a job against the same loop with a bare torch
   scheduler. Both are under way in one process, and take turns of 50 updates, so that they share what else the machine
   does; printed are the ratio of their whole processor time, and its quartiles over tenths of the turns.
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

import lrsearch as lrs
from lrsearch.runs import RunSpec
from lrsearch.runs.job import Job

TURNS, TURN, CALLS = 600, 50, 200_000
N = TURNS * TURN
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


def bare() -> Iterator[None]:
    """A loop with a bare scheduler of torch's, which reads its loss every 25 updates, as people print it."""
    model, optimizer = begun()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.01)
    for step in range(1, 1 + N):
        loss = loss_of(model, step)
        update(optimizer, loss)
        scheduler.step()
        if step % 25 == 0:
            loss.item()
        if step % TURN == 0:
            yield


def job() -> Iterator[None]:
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
        if step % TURN == 0:
            yield


def seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def log() -> None:
    made = Job(
        RunSpec(
            lrs.Task(name="many", horizon=CALLS, epoch=CALLS, objectives=TASK.objectives),
            lrs.parse("FIX(k0=0.01)"),
            CALLS,
            0,
        )
    )
    loss = (torch.randn(3, requires_grad=True) ** 2).mean()
    for step in range(1, 1 + CALLS):
        made.log(step, train_loss=loss)
    assert len(made.values.series["train_loss"]) == CALLS


if __name__ == "__main__":
    torch.set_num_threads(1)
    loops = {"bare": bare(), "job": job()}
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(TURNS):
        for name in loops if turn % 2 else reversed(loops):
            taken[name].append(seconds(lambda name=name: next(loops[name])))
    size = TURNS // 10
    parts = sorted(
        sum(taken["job"][at : at + size]) / sum(taken["bare"][at : at + size]) for at in range(0, TURNS, size)
    )
    each = 1e6 * sum(taken["bare"]) / N
    print(f"job.log of a tensor: {1e6 * min(seconds(log) for _ in range(3)) / CALLS:.2f} us a call, least of 3")
    print(
        f"a plain loop as a job / the bare loop: {sum(taken['job']) / sum(taken['bare']):.3f} (quartiles"
        f" {parts[2]:.3f} to {parts[7]:.3f}; {each:.0f} us an update)"
    )
