"""Runs in lockstep against the same runs one by one. Prints medians and ratios; asserts nothing.

    python studies/benchmarks/fused.py

Sixteen policies of one task in one process and one thread, evaluation included; pairs alternate.
"""

import statistics
import time

import numpy as np

from lrsearch.runs import RunSpec
from lrsearch.schedules import HALFCOS
from lrsearch.tasks import find_task
from lrsearch.training import Trainer, own_process
from lrsearch.training.lockstep import run_lockstep

POLICIES = 16
PAIRS = 3
LENGTHS = {"digits-mlp": 1280, "digits-cnn": 320}


def main() -> None:
    """Train, twice each time, and compare."""
    for name, steps in LENGTHS.items():
        task = find_task(name)
        own_process(task, threads=1)
        trainer = Trainer(task, device="cpu")
        specs = [RunSpec(task, HALFCOS(k0=float(k0), l=steps), steps, 0) for k0 in np.geomspace(0.005, 0.2, POLICIES)]
        pairs = []
        for _ in range(PAIRS):
            began = time.perf_counter()
            for spec in specs:
                trainer.train(spec)
            between = time.perf_counter()
            run_lockstep(trainer, specs)
            pairs.append((between - began, time.perf_counter() - between))
        ratio = statistics.median(fused / single for single, fused in pairs)
        single, fused = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{name}, {POLICIES} runs of {steps} steps: single {single:.1f} s, fused {fused:.1f} s, ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
