"""What lrsearch costs beyond the training itself. Prints ratios; asserts nothing.

    python studies/benchmarks/overhead.py [--data-dir DIR]

1. A training step against the same step in a bare PyTorch loop over in-memory tensors: pairs in one process,
   alternating, medians. `mnist-lenet` where its data are at hand.
2. A trial's overhead beyond its training: a budget-4 search of digits-mlp on the default store and Optuna
   study (SQLite files): wall time less the runs' own seconds, over the number of trials.
3. `lrsearch --help`, start to end.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import optuna
import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.api import search
from lrsearch.errors import DataError
from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX
from lrsearch.tasks import find_task
from lrsearch.training import Trainer, own_process
from lrsearch.training.loop import evaluate

PAIRS = 7


def bare_loop(trainer: Trainer, build: Callable[[], nn.Module], batch: int, steps: int) -> float:
    """A loop as one would write it by hand, with the same data, model, optimizer and memory format."""
    torch.manual_seed(0)
    model = build()
    if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        model = model.to(memory_format=torch.channels_last)
    x, y = trainer.train_split.x, trainer.train_split.y
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005, fused=True)
    began = time.perf_counter()
    order = torch.randperm(len(y))
    at = 0
    for _ in range(steps):
        if at + batch > len(y):
            order, at = torch.randperm(len(y)), 0
        index = order[at : at + batch]
        at += batch
        optimizer.zero_grad()
        F.cross_entropy(model(x[index]), y[index]).backward()
        optimizer.step()
    return (time.perf_counter() - began) / steps


def our_loop(trainer: Trainer, steps: int, seed: int) -> float:
    """The same steps by the trainer; its looks at the validation split are timed beside it and taken out."""
    run = trainer.train(RunSpec(trainer.task, FIX(k0=0.01), steps, seed))
    model = trainer.new_model(seed)
    began = time.perf_counter()
    for _ in run.points:
        evaluate(model, trainer.validation)
    return (run.seconds - (time.perf_counter() - began)) / steps


def compare_steps(name: str, steps: int, data_dir: Path | None) -> None:
    task = find_task(name)
    own_process(task)
    try:
        trainer = Trainer(task, data_dir)
    except DataError as error:
        print(f"{name:12} skipped: {error}")
        return
    pairs = []
    for pair in range(PAIRS + 1):
        ours, bare = our_loop(trainer, steps, pair), bare_loop(trainer, task.build, task.batch_size, steps)
        pairs.append((ours, bare))
    kept = pairs[1:]
    ratio = statistics.median(ours / bare for ours, bare in kept)
    ours_ms, bare_ms = (1000 * statistics.median(pair[i] for pair in kept) for i in (0, 1))
    print(f"{name:12} step: ours {ours_ms:.2f} ms, bare {bare_ms:.2f} ms, median ratio of {PAIRS} pairs {ratio:.3f}")


def trial_overhead() -> None:
    with tempfile.TemporaryDirectory() as folder:
        own_process(find_task("digits-mlp"))
        search("digits-mlp", budget=1.6, out=folder, seed=1)
        ends: list[float] = []
        began = time.perf_counter()
        result = search("digits-mlp", budget=4, out=folder, watch=lambda study, trial: ends.append(time.perf_counter()))
        wall = time.perf_counter() - began
    spans = [after - before for before, after in pairwise(ends)]
    seconds = [trial.run.seconds for trial in result.history[1:] if trial.run]
    overheads = [1000 * (span - trained) for span, trained in zip(spans, seconds, strict=True)]
    print(
        f"trial overhead: median {statistics.median(overheads):.0f} ms, highest {max(overheads):.0f} ms over"
        f" {len(overheads)} trials; search {wall:.1f} s, of which training {sum(seconds):.1f} s"
    )


def help_time() -> None:
    times = []
    for _ in range(PAIRS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lrsearch", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    print(f"lrsearch --help: median {statistics.median(times):.2f} s of {PAIRS}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    default = os.environ.get("LRSEARCH_DATA")
    parser.add_argument("--data-dir", type=Path, default=Path(default) if default else None)
    chosen = parser.parse_args().data_dir
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"torch {torch.__version__}")
    threads = torch.get_num_threads()
    help_time()
    trial_overhead()
    torch.set_num_threads(threads)
    compare_steps("mnist-lenet", 60, chosen)
    compare_steps("digits-cnn", 400, None)
