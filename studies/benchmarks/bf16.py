"""Does bfloat16 keep the order of policies? Rank correlations; asserts nothing.

    OMP_NUM_THREADS=1 python studies/benchmarks/bf16.py TASK [--steps N] [--seeds K] [--data-dir DIR]

The same policies, seeds and steps in float32 and in bfloat16. Its rank correlation between the two precisions, of mean
validation scores, means something only beside that of float32 with itself over other seeds: what noise alone leaves.
A policy that diverged counts as the worst.
"""

import argparse
import os
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np

from lrsearch.compare.reproduction import rank_correlation
from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX, HALFCOS, WARMUP, Policy, parse
from lrsearch.tasks import find_task
from lrsearch.training import Trainer, own_process

PEAKS = (0.003, 0.01, 0.03, 0.1, 0.2)


def policies(steps: int) -> list[Policy]:
    """Policies from poor to good: constant, cosine with a warm-up, and triangles, at peaks half a decade apart."""
    warm = max(1, steps // 20)
    return [
        *(FIX(k0=peak) for peak in PEAKS),
        *(WARMUP(policy=HALFCOS(k0=peak, l=steps - warm), l=warm) for peak in PEAKS),
        *(parse(f"TRI(k0={peak / 6:g}, k1={peak}, l={steps / 4:g})") for peak in PEAKS),
    ]


def scores(name: str, precision: str, steps: int, seeds: range, data_dir: Path | None) -> tuple[np.ndarray, float]:
    """Validation scores, shape (policies, seeds), and the seconds that they took."""
    task = replace(find_task(name), precision=precision)
    own_process(task, threads=1)
    trainer = Trainer(task, data_dir)
    runs = [[trainer.train(RunSpec(task, policy, steps, seed)) for seed in seeds] for policy in policies(steps)]
    found = np.array([[run.score or 0.0 for run in row] for row in runs])
    return found, statistics.median(run.seconds for row in runs for run in row)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--seeds", type=int, default=3)
    default = os.environ.get("LRSEARCH_DATA")
    parser.add_argument("--data-dir", type=Path, default=Path(default) if default else None)
    given = parser.parse_args()
    seeds = range(given.seeds)
    single, seconds = scores(given.task, "fp32", given.steps, seeds, given.data_dir)
    half, half_seconds = scores(given.task, "bf16", given.steps, seeds, given.data_dir)
    print(f"{given.task}, {given.steps} steps, {len(single)} policies, {given.seeds} seeds")
    print(f"time of a run, bf16 over fp32: {half_seconds / seconds:.2f} ({half_seconds:.1f} s, {seconds:.1f} s)")
    print(f"rank correlation of means, bf16 with fp32:      {rank_correlation(half.mean(1), single.mean(1)):.3f}")
    each = [rank_correlation(half[:, n], single[:, n]) for n in seeds]
    print(f"  by seed, bf16 with fp32 of the same seed:     {', '.join(f'{one:.3f}' for one in each)}")
    apart = [rank_correlation(single[:, a], single[:, b]) for a in seeds for b in seeds if a < b]
    print(f"  fp32 with fp32 of another seed:               {', '.join(f'{one:.3f}' for one in apart)}")
    gap = 100 * (half - single).mean(1)
    print(f"mean score, bf16 less fp32, in points: {gap.mean():+.2f}, by policy {gap.min():+.2f} to {gap.max():+.2f}")
    best = int(single.mean(1).argmax())
    print(f"fp32's best policy is number {1 + int((half.mean(1) > half.mean(1)[best]).sum())} of bf16's")


if __name__ == "__main__":
    main()
