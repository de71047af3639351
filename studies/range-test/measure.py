"""How far range tests scatter, and whether the pruned range holds the best constant learning rate.

    python studies/range-test/measure.py TASK [--horizon N] [--data-dir DIR] [--seeds 12] [--out FOLDER] [--tests-only]

12 range tests, each with a seed of its own: every rule's standard deviation. A dense sweep of constant learning rates
over the horizon, five a decade, one seed: the truth. The pruner's range for a constant learning rate, from its probes
alone: does it hold the best of the sweep, and what is as good within noise? The same command goes on where it ended.
Writes TASK.json beside this file, and prints a line for each result.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

from lrsearch import api
from lrsearch.heuristics.advice import SUGGESTING, advise
from lrsearch.schedules import FIX
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks import find_task
from lrsearch.training import own_process

PER_DECADE = 5
LOWEST, HIGHEST = -4, 1
HERE = Path(__file__).parent


def main() -> None:
    """Measure one task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--horizon", type=int)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("lrsearch-runs"))
    parser.add_argument("--tests-only", action="store_true", help="the range tests alone: no sweep, no pruning")
    given = parser.parse_args()
    task = find_task(given.task)
    task = task.with_horizon(given.horizon) if given.horizon else task
    own_process(task, threads=1)
    store = f"sqlite:///{given.out / f'{task.name}.db'}"
    given.out.mkdir(parents=True, exist_ok=True)

    tested = api.range_tests(task, repeats=given.seeds, store=store, data_dir=given.data_dir, out=given.out)[0]
    rules = {rule.name: spread(rule.name, tested.ramps) for rule in SUGGESTING}
    default = rules["bottom"]
    print(
        f"{task.name}, {task.horizon} steps: middle of the bottom {default['lr']:.2g}, sd {default['sd']:.2f}"
        f" decades over {given.seeds} seeds (all within {default['span']:.2f}), {tested.steps} updates each"
    )
    for name, rule in rules.items():
        print(f"  {name:14} {rule['lr']:8.2g}  sd {rule['sd']:.2f}  from end to end {rule['span']:.2f}", flush=True)
    if given.tests_only:
        return
    sweep = truth(task, store, given.data_dir, given.out)
    pruned = api.prune(task, functions=["FIX"], store=store, data_dir=given.data_dir, out=given.out).pruned
    best = max(sweep.values())
    error = math.sqrt(2 * best * (1 - best) / task.validation_size)
    good = [lr for lr, score in sweep.items() if score >= best - max(2 * error, 0.005)]
    top, peak = max(sweep, key=lambda lr: sweep[lr]), pruned.space.peak
    found = {
        "task": task.name,
        "horizon": task.horizon,
        "seeds": given.seeds,
        "rules": rules,
        "sweep": sweep,
        "best": top,
        "good": good,
        "pruned": [peak.low, peak.high],
        "refusal": pruned.refusal,
        "holds_best": peak.low <= top <= peak.high,
        "good_held": sum(peak.low <= lr <= peak.high for lr in good),
        "log_volume": pruned.log_volume,
    }
    (HERE / f"{task.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(
        f"  best constant LR {top:.2g} ({100 * best:.2f} %); as good within noise: {min(good):.2g} .."
        f" {max(good):.2g}; pruned range {peak.low:.2g} .. {peak.high:.2g}, holds the best: {found['holds_best']},"
        f" and {found['good_held']} of {len(good)} good ones",
        flush=True,
    )


def spread(rule: str, ramps) -> dict[str, float]:
    """Give a rule's median rate, standard deviation and span over repeats, the last two in decades."""
    read = [math.log10(one.lr) for ramp in ramps for one in advise([ramp]).suggestions if one.rule == rule]
    return {
        "rate": 10 ** statistics.median(read),
        "sd": statistics.stdev(read),
        "span": max(read) - min(read),
        "found": len(read),
    }


def truth(task, store: str, data_dir: Path | None, out: Path) -> dict[float, float]:
    """Train a constant learning rate at each mark, and give the score of each; 0 where it diverged."""
    marks = range(PER_DECADE * LOWEST, PER_DECADE * HIGHEST)
    rates = [float(f"{10 ** (mark / PER_DECADE):.3g}") for mark in marks]
    table = PolicyTable("sweep", task, tuple(Row(FIX(k0=lr)) for lr in rates), 1, "", task.horizon)
    results = api.run_table(table, store=store, data_dir=data_dir, out=out)
    return {lr: outcome.by_seed.get(0, 0.0) for lr, outcome in zip(rates, results.outcomes, strict=True)}


if __name__ == "__main__":
    main()
