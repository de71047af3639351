"""What a run of a program costs beyond the program itself.

A program that takes no time: as a job and bare, in turns, 200 times, and by a search. A script that imports torch, 40
runs of 50 updates: a process for each run, and `lrs.jobs()` in one.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import lrsearch as lrs
from lrsearch.runs import RunSpec, RunState

TURNS, RUNS, UPDATES = 200, 40, 50
AT_ONCE = """echo '{"loss": 1}' >> "$1" """
SCRIPT = """
import torch
import lrsearch as lrs

for job in lrs.jobs() if {many} else [lrs.job()]:
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = job.scheduler(optimizer)
    for step in range(1, 1 + job.horizon):
        loss = weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        job.log(step, train_loss=loss)
    job.log(step, loss=loss)
"""


def timed(call):
    """Seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def train(trainer, seed, horizon):
    """One run, which must finish."""
    run = trainer.train(RunSpec(trainer.task, lrs.parse("FIX(k0=0.01)"), horizon, seed))
    assert run.state is RunState.FINISHED, run.error


def beyond_a_program(folder):
    """(seconds as a job, seconds bare) of each turn."""
    source = lrs.program(["bash", "-c", AT_ONCE, "it", "{report}"], "at once", horizon=UPDATES, minimize="loss")
    bare = ["bash", "-c", AT_ONCE, "it", str(folder / "report")]
    with closing(source.open()) as trainer:
        train(trainer, 0, UPDATES)
        return [
            (timed(partial(train, trainer, seed, UPDATES)), timed(partial(subprocess.run, bare, check=True)))
            for seed in range(TURNS)
        ]


def of_a_search(folder):
    """Seconds that each run of a search of the same program takes, all that the search does included."""
    source = lrs.program(["bash", "-c", AT_ONCE, "it", "{report}"], "at once", horizon=1000, minimize="loss")
    lrs.search(source, 2, out=folder / "first")  # what is imported is paid for here
    found = []
    seconds = timed(lambda: found.append(lrs.search(source, 12, out=folder / "search")))
    return seconds / found[0].spent.trained_runs


def of_many_runs(folder, many):
    """Seconds of all runs of a script that imports torch."""
    script = folder / f"train_{many}.py"
    script.write_text(SCRIPT.format(many=many))
    source = lrs.program([sys.executable, str(script)], "torch", horizon=UPDATES, minimize="loss")
    with closing(source.open()) as trainer:
        return timed(lambda: [train(trainer, seed, UPDATES) for seed in range(RUNS)])


def main():
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        turns = beyond_a_program(folder)
        beyond = statistics.quantiles([1000 * (job - bare) for job, bare in turns], n=4)
        print(
            f"a run beyond its program: {beyond[1]:.1f} ms (quartiles {beyond[0]:.1f} to {beyond[2]:.1f},"
            f" {TURNS} turns)"
        )
        bare = statistics.median(bare for _, bare in turns)
        print(f"a run of a search beyond it: {1000 * (of_a_search(folder) - bare):.1f} ms")
        apart, together = (of_many_runs(folder, many) for many in (False, True))
        print(
            f"{RUNS} runs of {UPDATES} updates with torch: {apart:.1f} s apart, {together:.1f} s by lrs.jobs():"
            f" {apart / together:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
