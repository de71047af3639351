"""Does torch.compile pay on this processor, for a step of a shipped model in one thread?

    TORCHINDUCTOR_FORCE_DISABLE_CACHES=1 python studies/benchmarks/compiled.py [--data-dir DIR] [TASK ...]

Prints for each, in float32 and bfloat16, plain and compiled: the seconds of the first step, which compiles, and the
milliseconds of a later one, the median of five parts. Plain is what a run of ours does: channels_last, the heap kept.
Without that variable, torch takes what an earlier start compiled. Asserts nothing.
"""

import argparse
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from lrsearch.tasks import find_task
from lrsearch.training import Trainer
from lrsearch.training.process import own_process

STEPS = {"digits-mlp": 1500, "digits-cnn": 1500, "mnist-lenet": 150, "cifar10-cnn3": 40}
PARTS = 5


def measure(name: str, precision: str, is_compiled: bool, data_dir: Path | None) -> tuple[float, float]:
    """Give the seconds of the first step, and of a later one."""
    task = replace(find_task(name), precision=precision)
    trainer = Trainer(task, data_dir)
    model = trainer.new_model(seed=0)
    optimizer = task.optimizer.build(model, task.epoch)
    forward = torch.compile(model) if is_compiled else model
    batch = torch.arange(task.batch_size)
    x, y = trainer.train_split.x[batch], trainer.train_split.y[batch]

    def seconds(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            trainer.loss(forward, x, y).backward()
            optimizer.step()
        return (time.perf_counter() - began) / steps

    return seconds(1), statistics.median(seconds(STEPS[name] // PARTS) for _ in range(PARTS))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=list(STEPS))
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("LRSEARCH_DATA") or None)
    given = parser.parse_args()
    for name in given.tasks:
        own_process(find_task(name), threads=1)
        for precision in ("fp32", "bf16"):
            found = [measure(name, precision, is_compiled, given.data_dir) for is_compiled in (False, True)]
            (_, plain), (first, compiled) = found
            print(
                f"{name:14} {precision}: {1e3 * plain:7.2f} ms a step; compiled {first:5.1f} s at first, then"
                f" {1e3 * compiled:7.2f} ms, {compiled / plain:.2f} of it",
                flush=True,
            )


if __name__ == "__main__":
    main()
