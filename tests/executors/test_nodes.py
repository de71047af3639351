"""Machines of a Ray cluster that go: real node processes, killed in the middle of a sweep."""

import os
from pathlib import Path

import pytest

from lrsearch.errors import EngineError
from lrsearch.executors.cluster.workers import RayExecutor
from lrsearch.runs import RunSpec, RunState
from lrsearch.runs.executor import DONE, Group
from lrsearch.runs.lost import Cause
from lrsearch.schedules import FIX

pytestmark = [
    pytest.mark.adapters,
    pytest.mark.ray,
    # Ray leaves pipes and log files to the garbage collector, and warns of its own deprecations.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"),
]
LONG = 200_000_000


@pytest.fixture
def nodes():
    """A cluster without CPUs on its first node, and a function that adds nodes of one CPU."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    memory = {"object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    yield cluster, lambda: cluster.add_node(num_cpus=1, **memory)
    cluster.shutdown()


def group(plain, seed, horizon=20):
    return Group((RunSpec(plain.TASK, FIX(k0=0.1), horizon, seed),))


def test_a_lost_node_costs_an_attempt_and_not_the_run(nodes, plain, tmp_path):
    """One run waits until its first attempt is lost; the node of each worker is told by the pid of its process."""
    cluster, add = nodes
    both = add(), add()
    groups, runs, lost = iter([group(plain, seed) for seed in (plain.WAITS, 0, 1, 2)]), [], []

    def ended(spec, run):
        runs.append((spec.seed, run.state))
        if len(runs) == 3:  # the fourth waits
            waits = int((tmp_path / f"{plain.WAITS}.pid").read_text())
            cluster.remove_node(next(node for node in both if is_on(waits, node)), allow_graceful=False)
            add()

    def heard(attempt):
        lost.append(attempt)
        (tmp_path / f"{plain.MEETS}.pid").touch()

    executor = RayExecutor(plain.PlainSource(), tmp_path / "out", address=cluster.address, workers=2)
    with executor:
        executor.train(lambda: next(groups, DONE), ended, folder=tmp_path, lost=heard)
    assert dict(runs) == dict.fromkeys((plain.WAITS, 0, 1, 2), RunState.FINISHED)
    assert [(attempt.seed, attempt.death.cause) for attempt in lost] == [(plain.WAITS, Cause.NODE)]


def is_on(pid, node):
    """Whether a training process is on a node: its actor is a child of the node's raylet."""
    raylet = node.all_processes["raylet"][0].process.pid
    while pid > 1 and pid != raylet:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == raylet


def test_a_cluster_without_any_machine_left_is_named(nodes, plain, tmp_path):
    cluster, add = nodes
    node, groups = add(), iter([group(plain, 0), group(plain, 1, LONG)])

    def ended(spec, run):
        if spec.seed == 0:
            cluster.remove_node(node, allow_graceful=False)

    executor = RayExecutor(plain.PlainSource(), tmp_path / "out", address=cluster.address, workers=1)
    with executor, pytest.raises(EngineError, match="no machine of the cluster is left that could train"):
        executor.train(lambda: next(groups, DONE), ended, folder=tmp_path)
