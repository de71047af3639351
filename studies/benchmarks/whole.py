"""A whole table of policies, start-up and evaluation included, against scripts as they are usually written.

    python studies/benchmarks/whole.py [--tasks digits-mlp,digits-cnn] [--rounds 3] [--precisions fp32,bf16]
        [--steps N] [--policies 16] [--data-dir DIR]

16 policies, or as many as are given, a seed each, all trained to the end:

    usual   a script for each in turn, a process each: a DataLoader over a Dataset, default threads
    fair    an in-memory loop for each in processes of one thread, as many at a time as there are cores
    ours    one `run_table` with the workers that `lrsearch study run` takes by itself, in each of the precisions

The scripts are float32 always. Prints the cost of ours over the two others, medians over rounds that alternate, in
seconds and in CPU seconds, on which others' work tells less. Then the seconds net of start-up and evaluation: those of
a script that trains nothing are taken once from ours, once a policy from the usual scripts, and once for each core's
share from the fair ones. Asserts nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

STEPS = {"digits-mlp": 600, "digits-cnn": 500, "mnist-lenet": 300, "cifar10-cnn3": 60}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

SCRIPT = """
import sys, torch
from pathlib import Path
from torch.nn import functional as F
from lrsearch.tasks import find_task
name, steps, rate, kind, data = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
task = find_task(name)
splits = task.load(Path(data) if data else None)
if kind == "fair":
    torch.set_num_threads(1)
torch.manual_seed(0)
model = task.build()
optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=0.0005)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return len(splits.train)
    def __getitem__(self, n):
        return splits.train.x[n] * 1.0, splits.train.y[n]

def usual():
    while True:
        yield from torch.utils.data.DataLoader(Samples(), task.batch_size, shuffle=True, drop_last=True)

def fair():
    while True:
        order = torch.randperm(len(splits.train))
        for batch in torch.split(order, task.batch_size)[: len(order) // task.batch_size]:
            yield splits.train.x[batch], splits.train.y[batch]

batches = fair() if kind == "fair" else usual()
for _ in range(steps):
    x, y = next(batches)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    scheduler.step()
model.eval()
with torch.no_grad():
    parts = [model(x) for x in torch.split(splits.validation.x, 2000)]
print(float((torch.cat(parts).argmax(1) == splits.validation.y).float().mean()))
"""
OURS = """
import sys
from dataclasses import replace
from lrsearch.api import run_table
from lrsearch.schedules import HALFCOS
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks import find_task
from lrsearch.training.process import default_workers, own_process
if __name__ == "__main__":
    name, steps, precision, out, data = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
    rates = [float(rate) for rate in sys.argv[6:]]
    task = replace(find_task(name), precision=precision).with_horizon(steps)
    own_process(task)
    table = PolicyTable("whole", task, tuple(Row(HALFCOS(k0=rate, l=steps)) for rate in rates), 1, "", steps)
    results = run_table(table, workers=default_workers(task), out=out, data_dir=data or None)
    assert not results.missing
"""
RATES = [0.001 * 1.4**n for n in range(16)]


class Cost(NamedTuple):
    """Seconds of the clock, and of all cores."""

    wall: float
    cpu: float


Round = dict[str, Cost]


def run(program: str, *words: object) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(program)
        file.flush()
        subprocess.run([sys.executable, file.name, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def cost(what: Callable[..., None], *given: object) -> Cost:
    began, before = time.perf_counter(), os.times()
    what(*given)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Cost(time.perf_counter() - began, cpu)


def usual(name: str, steps: int, rates: list[float], data: str) -> None:
    for lr in rates:
        run(SCRIPT, name, steps, lr, "usual", data)


def fair(name: str, steps: int, rates: list[float], data: str) -> None:
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda lr: run(SCRIPT, name, steps, lr, "fair", data), rates))


def ours(name: str, steps: int, rates: list[float], data: str, precision: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        run(OURS, name, steps, precision, out, data, *rates)


def measure(name: str, steps: int, rates: list[float], precisions: list[str], data: str) -> Round:
    """One round: the cost of each; `bare` is a script that trains nothing."""
    return {
        "bare": cost(fair, name, 0, rates[:1], data),
        "usual": cost(usual, name, steps, rates, data),
        "fair": cost(fair, name, steps, rates, data),
        **{precision: cost(ours, name, steps, rates, data, precision) for precision in precisions},
    }


def report(rounds: list[Round], policies: int, precision: str) -> str:
    """Medians of the seconds, and of the quotients within a round."""
    kinds = (("usual", policies), ("fair", policies / CORES))
    totals = ", ".join(
        f"{kind} {statistics.median(r[kind].wall for r in rounds):.1f} s"
        f" ({statistics.median(r[kind].cpu for r in rounds):.1f})"
        for kind in ("usual", "fair", "bare", precision)
    )
    wall = [statistics.median(r[precision].wall / r[kind].wall for r in rounds) for kind, _ in kinds]
    cpu = [statistics.median(r[precision].cpu / r[kind].cpu for r in rounds) for kind, _ in kinds]
    net = [
        statistics.median(
            (r[precision].wall - r["bare"].wall) / (r[kind].wall - starts * r["bare"].wall) for r in rounds
        )
        for kind, starts in kinds
    ]
    return (
        f"{totals}; ours over usual {wall[0]:.2f}, over fair {wall[1]:.2f}; CPU seconds {cpu[0]:.2f}, {cpu[1]:.2f};"
        f" net of start-up {net[0]:.2f}, {net[1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", default="digits-mlp,digits-cnn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", default="fp32")
    parser.add_argument("--steps", type=int, help="of each run; what suits the task where it is left out")
    parser.add_argument("--policies", type=int, default=len(RATES))
    parser.add_argument("--data-dir", default=os.environ.get("LRSEARCH_DATA", ""))
    given = parser.parse_args()
    rates, precisions = RATES[: given.policies], given.precisions.split(",")
    print(f"{len(rates)} policies, {CORES} cores, medians of {given.rounds} rounds", flush=True)
    for name in given.tasks.split(","):
        steps = given.steps or STEPS[name]
        rounds = [measure(name, steps, rates, precisions, given.data_dir) for _ in range(given.rounds)]
        for precision in precisions:
            print(f"{name:12} {precision} {steps:4} steps: {report(rounds, len(rates), precision)}", flush=True)


if __name__ == "__main__":
    main()
