"""Nodes of a Ray cluster that are killed: while they train, while their worker idles, and during a probe."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from clusters import Cluster, cluster
from oracle import BEGIN, END, Line, count, open_runs
from sandbox import LEFT_SECONDS, PATIENCE, Plan, Sandbox, sandbox, wait_until
from trainings import is_probe
from workers import training

NODES = 3
JOIN_SECONDS = 5.0
"""In which another node joins: asked for."""


def killed_nodes(runs: int, updates: tuple[int, int], every: float, most: int, seed: int) -> dict[str, Any]:
    """Train a plan on three nodes, undisturbed and then with a node killed every few seconds, and replaced.

    Args:
        runs: their number.
        updates: the fewest and the most of a run; an update takes 10 ms.
        every: seconds between two kills.
        most: kills at most.
        seed: of the lengths of the runs, and of the nodes to kill.
    """
    draw = random.Random(seed)
    planned = tuple((draw.randint(*updates), number) for number in range(runs))
    with sandbox() as box:
        with cluster(box, NODES) as ray:
            plan = Plan("ray", planned, workers=NODES, address=ray.address)
            box.train(plan)
            before = len(box.oracle.lines())
            process = box.start_plan(plan)
            joined = list(_kill_until_it_ends(box, ray, process, draw, every, most))
            outcome = box.outcome()
        undisturbed, lines = _seconds(box.oracle.lines()[:before]), box.oracle.lines()[before:]
        seconds = _seconds(lines)
        return {
            "seed": seed,
            "asked": min(most, max(1, int(seconds / (every + JOIN_SECONDS)))),
            "landed": len(joined),
            "runs": runs,
            "finished": sum(run["state"] == "finished" for run in outcome["runs"]),
            "seconds": round(seconds, 1),
            "undisturbed": round(undisturbed, 1),
            "ratio": round(seconds / undisturbed, 2),
            "join_seconds": round(max(joined, default=0.0), 1),
            **_retries(lines, outcome["lost"]),
            **box.left(),
        }


def _kill_until_it_ends(
    box: Sandbox, ray: Cluster, process: subprocess.Popen[bytes], draw: random.Random, every: float, most: int
) -> Iterator[float]:
    """Kill nodes that train, and add others; the seconds in which each joined. A kill that hits no run is none."""
    before, joined = len(box.oracle.lines()), 0.0
    wait_until(lambda: len(box.oracle.lines()) > before or process.poll() is not None)
    for _ in range(most):
        try:
            process.wait(max(0.0, every - joined))
        except subprocess.TimeoutExpired:
            wait_until(lambda: _busy(box, ray) or process.poll() is not None)
            if not (busy := _busy(box, ray)):
                break
            ray.kill(draw.choice(busy))
            joined = ray.add()
            yield joined
        else:
            return
    process.wait(PATIENCE)


def _busy(box: Sandbox, ray: Cluster) -> list[str]:
    """The nodes that live and train a run."""
    return sorted({line.node for line in open_runs(box.oracle.lines()).values()} & set(ray.nodes))


def _seconds(lines: list[Line]) -> float:
    return lines[-1].at - min(line.at for line in lines)


def _retries(lines: list[Line], lost: list[dict[str, Any]]) -> dict[str, Any]:
    """The attempts beyond the first of each run, and those that the list of lost attempts lacks."""
    begun = Counter(line.key for line in lines if line.what == BEGIN)
    ended = Counter(line.key for line in lines if line.what == END)
    listed = Counter(attempt["key"] for attempt in lost)
    return {
        "retries": sum(begun.values()) - len(begun),
        "lost_listed": len(lost),
        "retries_unlisted": sum(max(0, times - 1 - listed[key]) for key, times in begun.items()),
        "causes": dict(Counter(attempt["cause"] for attempt in lost)),
        "ended_twice": sum(times > 1 for times in ended.values()),
    }


def killed_idle_nodes(times: int) -> dict[str, Any]:
    """Kill a node whose worker has trained and waits, again and again, while another node trains a long run.

    Runs come in waves of two. One ends at once, so that its node idles; the other is held until the node was killed
    and replaced.
    """
    runs = tuple((20, seed) for seed in range(2 * times + 2))
    with sandbox() as box:
        with cluster(box, 2) as ray:
            process = box.start_plan(Plan("ray", runs, "held", address=ray.address, wave=2))
            hits = 0
            for wave in range(times):
                wait_until(lambda: _has_idle_node(box, ray, 2 * wave) or process.poll() is not None)  # noqa: B023
                if process.poll() is not None:
                    break
                ray.kill(next(iter(set(ray.nodes) - {line.node for line in open_runs(box.oracle.lines()).values()})))
                ray.add()
                hits += 1
                (box.folder / f"released-{2 * wave}").touch()
            (box.folder / f"released-{2 * times}").touch()
            process.wait(PATIENCE)
            outcome = box.outcome()
        return {
            "asked": times,
            "landed": hits,
            "runs": len(runs),
            "finished": sum(run["state"] == "finished" for run in outcome["runs"]),
            **_retries(box.oracle.lines(), outcome["lost"]),
            **box.left(),
        }


def _has_idle_node(box: Sandbox, ray: Cluster, ended: int) -> bool:
    """Whether one run is in progress, the other of its wave has ended, and a node idles that has trained."""
    lines = box.oracle.lines()
    busy = {line.node for line in open_runs(lines).values()}
    idle = {line.node for line in lines if line.what == END} & set(ray.nodes) - busy
    return count(lines, END) == ended + 1 and len(busy) == 1 and len(idle) == 1


def killed_in_a_probe(budget: float, horizon: int, seed: int) -> dict[str, Any]:
    """Sweep on two nodes, and kill one that trains a probe; whether the sweep answers.

    Probes are held until all processes of the killed node have ended, so that the kill hits one.

    Args:
        budget: full-run equivalents.
        horizon: updates of a full run, each of 10 ms.
        seed: the study's seed.
    """
    with sandbox() as box:
        with cluster(box, 2) as ray:
            options = ("--budget", str(budget), "--horizon", str(horizon), "--seed", str(seed), "--out", str(box.out))
            command = ("sweep", training("held_probes"), "--address", ray.address, "--workers", "2", *options)
            process = box.start(sys.executable, "-m", "lrsearch", *command, output=box.folder / "swept")
            wait_until(lambda: _open_probe(box, horizon) or process.poll() is not None)
            probe = _open_probe(box, horizon)
            if probe is not None:
                ray.kill(probe.node)
                ray.add()
                wait_until(lambda: not box.processes_of(probe.node), LEFT_SECONDS)
                (box.folder / "released").touch()
            code = process.wait(PATIENCE)
            left = box.left(with_cluster=True)
        lines = box.oracle.lines()
        begun_again = probe is not None and any(
            line.what == BEGIN and line.key == probe.key and line.pid != probe.pid and line.at > probe.at
            for line in lines
        )
        return {
            "seed": seed,
            "asked": 1,
            "landed": int(begun_again),
            "exit_code": code,
            "said": "" if code == 0 else box.log()[-300:],
            **left,
        }


def _open_probe(box: Sandbox, horizon: int) -> Line | None:
    """A probe in progress, which is shorter than a full run, after the first run has ended."""
    lines = box.oracle.lines()
    probes = [line for line in open_runs(lines).values() if is_probe(line.horizon, horizon)]
    return probes[0] if probes and count(lines, END) else None
