"""Two workers against one, on shipped tasks. Time is from the first run's begin to the last end."""

from statistics import median
from typing import Any

from sandbox import Plan, sandbox


def speed(task: str, runs: int, updates: int, order: tuple[int, ...] = (1, 2, 2, 1, 1, 2, 2, 1)) -> dict[str, Any]:
    """Train the same runs with one worker of a pool and with two, in turns.

    Args:
        task: a shipped task's name.
        runs: their number, even.
        updates: of each.
        order: the number of workers in each turn, so that a load that grows or shrinks hits both alike.
    """
    plan = tuple((updates, seed) for seed in range(runs))
    taken: dict[int, list[float]] = {1: [], 2: []}
    each: list[float] = []
    for workers in order:
        with sandbox() as box:
            ended = box.train(Plan("pool", plan, task, workers))["runs"]
        taken[workers].append(max(run["at"] for run in ended) - min(run["at"] - run["seconds"] for run in ended))
        each += [run["seconds"] for run in ended] if workers == 1 else []
    ratios = [one / two for one, two in zip(taken[1], taken[2], strict=True)]
    return {
        "runs": runs,
        "seconds_of_a_run": round(median(each), 1),
        "seconds_with_1": [round(seconds, 1) for seconds in taken[1]],
        "seconds_with_2": [round(seconds, 1) for seconds in taken[2]],
        "speedup": round(median(ratios), 2),
    }
