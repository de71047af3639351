"""Single, fused and graphed training loops on one GPU. Prints a table, writes JSON; asserts nothing.

    python studies/gpu/loops.py [--out FILE] [--steps N] [--runs 4,16,64] [--tasks NAME,NAME]

Updates a second, summed over the runs, on made-up samples of each task's shape, which take no data set:

    single    `Trainer.train`, one run after the other, TF32 products
    bf16      the same with bfloat16 products
    graph     the same update captured once as a CUDA graph, the LR in a tensor; one run after the other
    fused     `run_lockstep`: all runs in lockstep

**It has not run on a GPU yet.** On a CPU (`--device cpu`, a few steps) it shows that it runs, and nothing else.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX
from lrsearch.tasks import SGD, Split, Splits, Task, find_task
from lrsearch.tasks.in_memory import InMemory
from lrsearch.training import Trainer
from lrsearch.training.lockstep import run_lockstep, why_not

ROUNDS = 3
SAMPLES = 20_000
WARM_UP = 11
"""Updates before a graph is captured, as torch's own examples have it."""


def made_up(name: str, precision: str, samples: int) -> Task:
    """The task on samples drawn at random; validation is small, so that looks cost little."""
    task, draw = find_task(name), torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, *task.shape, generator=draw), torch.randint(task.classes, (n,), generator=draw))

    splits = Splits(split(samples), split(100), split(100), "made up")
    return replace(task, precision=precision, train_size=samples, validation_size=100, load=InMemory(splits))


def specs(task: Task, steps: int, runs: int) -> list[RunSpec]:
    return [RunSpec(task, FIX(k0=0.001 * (n + 1)), steps, n) for n in range(runs)]


def single(trainer: Trainer, steps: int, runs: int) -> None:
    for spec in specs(trainer.task, steps, runs):
        trainer.train(spec)


def fused(trainer: Trainer, steps: int, runs: int) -> None:
    run_lockstep(trainer, specs(trainer.task, steps, runs))


def graphed(trainer: Trainer, steps: int, runs: int) -> None:
    """A loop of replays: the batch and the LR are written into the graph's own tensors."""
    for spec in specs(trainer.task, steps, runs):
        _replay(trainer, spec)
    torch.cuda.synchronize(trainer.device)


def _replay(trainer: Trainer, spec: RunSpec) -> None:
    task, device, settings = trainer.task, trainer.device, trainer.task.optimizer
    assert isinstance(settings, SGD)
    model, lr = trainer.new_model(spec.seed), torch.tensor(1.0, device=device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        foreach=True,
    )
    rates = torch.tensor(spec.policy.curve(spec.horizon), device=device, dtype=torch.float32)
    split, index = trainer.train_split, torch.zeros(task.batch_size, dtype=torch.int64, device=device)

    def update() -> None:
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(model(split.x[index]).float(), split.y[index]).backward()
        optimizer.step()

    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            update()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    order = torch.randint(len(split), (spec.horizon, task.batch_size), device=device)
    for step in range(spec.horizon):
        index.copy_(order[step])
        lr.copy_(rates[step])
        graph.replay()


def updates_a_second(loop: Callable[[Trainer, int, int], None], trainer: Trainer, steps: int, runs: int) -> float:
    """The median of a few rounds, after one that does not count."""
    rates = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        loop(trainer, steps, runs)
        rates.append(steps * runs / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def measure(name: str, counts: list[int], steps: int, samples: int, device: str) -> dict[str, Any]:
    """Give updates a second of each loop; None with the reason where a loop does not apply."""
    trainers = {precision: Trainer(made_up(name, precision, samples), device=device) for precision in ("fp32", "bf16")}
    plain = trainers["fp32"]
    found: dict[str, Any] = {
        "single": updates_a_second(single, plain, steps, 1),
        "bf16": updates_a_second(single, trainers["bf16"], steps, 1),
    }
    found["graph"] = updates_a_second(graphed, plain, steps, 1) if plain.device.type == "cuda" else None
    for runs in counts:
        reason = why_not(plain, specs(plain.task, steps, runs))
        found[f"fused {runs}"] = updates_a_second(fused, plain, steps, runs) if reason is None else None
        if reason:
            found[f"why not fused {runs}"] = reason
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("loops.json"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--runs", default="4,16,64")
    parser.add_argument("--tasks", default="mnist-lenet,cifar10-cnn3,cifar10-resnet32")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    counts, names = [int(n) for n in given.runs.split(",")], given.tasks.split(",")
    on = torch.cuda.get_device_name() if given.device == "cuda" else platform.processor() or platform.machine()
    rows = {name: measure(name, counts, given.steps, given.samples, given.device) for name in names}
    given.out.write_text(
        json.dumps({"device": on, "torch": torch.__version__, "steps": given.steps, "rows": rows}, indent=1) + "\n"
    )
    print(f"{on}, torch {torch.__version__}, {given.steps} steps: updates a second over all runs, and over single")
    for name, row in rows.items():
        for loop, lr in row.items():
            if isinstance(lr, float) and math.isfinite(lr):
                print(f"{name:18} {loop:10} {lr:10.1f} {lr / row['single']:7.2f}")


if __name__ == "__main__":
    main()
