"""The share of the time in which as many distinct processes train as there are workers."""

from typing import Any

from clusters import cluster
from oracle import BEGIN, count, training_share
from sandbox import Plan, Sandbox, sandbox

WORKERS = 2


def utilization(kind: str, runs: int, updates: int) -> dict[str, Any]:
    """Train a plan that always offers runs, and read from the oracle how many processes trained.

    Args:
        kind: "pool", "ray" for a cluster that the executor starts, "cluster" for one that was started by hand.
        runs: their number.
        updates: of each; an update takes 10 ms.
    """
    with sandbox() as box:
        plan = tuple((updates, seed) for seed in range(runs))
        if kind == "cluster":
            with cluster(box, WORKERS) as ray:
                return _measured(box, Plan("ray", plan, address=ray.address))
        return _measured(box, Plan(kind, plan))


def _measured(box: Sandbox, plan: Plan) -> dict[str, Any]:
    outcome = box.train(plan)
    lines = box.oracle.lines()
    return {
        "runs": len(plan.runs),
        "finished": sum(run["state"] == "finished" for run in outcome["runs"]),
        "processes": len({line.pid for line in lines}),
        "begun": count(lines, BEGIN),
        "share": round(training_share(lines, WORKERS), 4),
        "lost": len(outcome["lost"]),
    }
