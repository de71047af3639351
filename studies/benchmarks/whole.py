"""A whole table of policies, start-up and evaluation included, against scripts as they are usually written.

    python studies/benchmarks/whole.py [--tasks digits-mlp,digits-cnn] [--rounds 3] [--data-dir DIR]

16 policies, a seed each, all trained to the end:

    usual   16 scripts in turn, a process each: a DataLoader over a Dataset, default threads
    fair    16 in-memory loops in processes of one thread, as many at a time as there are cores
    ours    one `run_table` with the workers that `lrsearch study run` takes by itself

Prints the cost of ours over the two others, medians over rounds that alternate; asserts nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

POLICIES = 16
STEPS = {"digits-mlp": 600, "digits-cnn": 500, "mnist-lenet": 100}
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
from pathlib import Path
from lrsearch.api import run_table
from lrsearch.schedules import HALFCOS
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks import find_task
from lrsearch.training.process import default_workers, own_process
if __name__ == "__main__":
    name, steps, out, data = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    rates = [float(rate) for rate in sys.argv[5:]]
    task = find_task(name).with_horizon(steps)
    own_process(task)
    table = PolicyTable("whole", task, tuple(Row(HALFCOS(k0=rate, l=steps)) for rate in rates), 1, "", steps)
    results = run_table(table, workers=default_workers(task), out=out, data_dir=data or None)
    assert not results.missing
"""
RATES = [0.001 * 1.4**n for n in range(POLICIES)]


def run(program: str, *words: object) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(program)
        file.flush()
        subprocess.run([sys.executable, file.name, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def usual(name: str, steps: int, data: str) -> float:
    began = time.perf_counter()
    for rate in RATES:
        run(SCRIPT, name, steps, rate, "usual", data)
    return time.perf_counter() - began


def fair(name: str, steps: int, data: str) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda rate: run(SCRIPT, name, steps, rate, "fair", data), RATES))
    return time.perf_counter() - began


def ours(name: str, steps: int, data: str) -> float:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        run(OURS, name, steps, out, data, *RATES)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", default="digits-mlp,digits-cnn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", default=os.environ.get("LRSEARCH_DATA", ""))
    given = parser.parse_args()
    print(f"{POLICIES} policies, {CORES} cores, medians of {given.rounds} rounds")
    for name in given.tasks.split(","):
        steps = STEPS[name]
        rounds = [(usual(name, steps, given.data_dir), fair(name, steps, given.data_dir),
                   ours(name, steps, given.data_dir)) for _ in range(given.rounds)]
        seconds = [statistics.median(round_[n] for round_ in rounds) for n in range(3)]
        over_usual, over_fair = (statistics.median(r[2] / r[n] for r in rounds) for n in (0, 1))
        print(f"{name:12} {steps:4} steps: usual {seconds[0]:.1f} s, fair {seconds[1]:.1f} s, ours {seconds[2]:.1f} s;"
              f" ours over usual {over_usual:.2f}, over fair {over_fair:.2f}", flush=True)


if __name__ == "__main__":
    main()
