"""What an executor costs beyond the runs: the seconds from the end of a run to the begin of the next in its process."""

from statistics import fmean, quantiles
from typing import Any

from oracle import gaps
from sandbox import Plan, sandbox


def overhead(executor: str, runs: int) -> dict[str, Any]:
    """Train runs that take no time.

    Args:
        executor: "local", "pool" or "ray".
        runs: their number.
    """
    with sandbox() as box:
        outcome = box.train(Plan(executor, tuple((20, seed) for seed in range(runs)), "instant"))
        waited = sorted(gaps(box.oracle.lines()))
        return {
            "runs": runs,
            "finished": sum(run["state"] == "finished" for run in outcome["runs"]),
            "gaps": len(waited),
            "mean_ms": round(1000 * fmean(waited), 2),
            "p99_ms": round(1000 * quantiles(waited, n=100, method="inclusive")[98], 2),
        }
