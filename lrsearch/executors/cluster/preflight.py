"""What is checked before a sweep trains: the nodes of the cluster, their software, and their files."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from lrsearch.executors.cluster.checks import ClusterCheck
from lrsearch.executors.cluster.settings import SweepSettings
from lrsearch.words import counted

ANSWER_SECONDS = 10.0
"""For all nodes to answer: a rule. Ray starts a process on each."""
PACKAGES = ("ray", "torch", "lrsearch")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a node answers about itself.

    Args:
        versions: of Python and of packages, by name.
        missing: those of the needed paths that it lacks.
        is_shared: whether it shares the folder of the sweep.
    """

    versions: Mapping[str, str]
    missing: tuple[str, ...]
    is_shared: bool


def check_nodes(settings: SweepSettings) -> list[ClusterCheck]:
    """Check the nodes of the cluster that this process has joined."""
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    names = {key: node["NodeManagerAddress"] for key, node in nodes.items()}
    able = [key for key, node in nodes.items() if _can_host(node["Resources"], settings)]
    checks = [
        ClusterCheck("cluster", True, f"{settings.address}, {counted(len(nodes), 'node')}: {_total(nodes.values())}"),
        _check_resources(settings, [node["Resources"] for node in nodes.values()], len(able)),
    ]
    if not able:
        return checks
    facts, missing = _describe_nodes(able, settings)
    checks += [ClusterCheck("answers", False, f"{names[key]} {why}") for key, why in missing.items()]
    return [*checks, *compare(describe_machine(settings), {names[key]: one for key, one in facts.items()}, settings)]


def describe_machine(settings: SweepSettings) -> MachineFacts:
    """What this machine answers about itself."""
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    missing = tuple(path for path in settings.needed if not Path(path).exists())
    return MachineFacts(versions, missing, Path(settings.mark).exists())


def compare(own: MachineFacts, others: Mapping[str, MachineFacts], settings: SweepSettings) -> list[ClusterCheck]:
    """The checks of what the nodes have answered, beside this machine.

    Args:
        own: of this machine.
        others: of the nodes, by address.
        settings: those of the sweep.
    """
    odd = {
        f"{name} {one.versions[name]} on {address}, {own.versions[name]} here"
        for address, one in others.items()
        for name in own.versions
        if one.versions[name] != own.versions[name]
    }
    same = ", ".join(f"{name} {text}" for name, text in own.versions.items())
    checks = [ClusterCheck("versions", not odd, "; ".join(sorted(odd)) or same)]
    if settings.needed:
        missing = {f"{path} is not on {address}" for address, one in others.items() for path in one.missing}
        checks.append(
            ClusterCheck("files", not missing, "; ".join(sorted(missing)) or f"on each: {', '.join(settings.needed)}")
        )
    apart = sorted(address for address, one in others.items() if not one.is_shared)
    where = f"not shared with {', '.join(apart)}: weights and checkpoints stay there, results come home"
    return [*checks, ClusterCheck("folder", True, where if apart else "shared by all nodes")]


def _describe_nodes(keys: Sequence[str], settings: SweepSettings) -> tuple[dict[str, MachineFacts], dict[str, str]]:
    """What nodes answer, and of those that do not the reason."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    describe = ray.remote(num_cpus=0, max_retries=0)(describe_machine)
    pending = {
        describe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(key, soft=False)).remote(settings): key
        for key in keys
    }
    ready, silent = ray.wait(list(pending), num_returns=len(pending), timeout=ANSWER_SECONDS)
    facts, missing = {}, {pending[answer]: f"did not answer within {ANSWER_SECONDS:g} s" for answer in silent}
    for answer in ready:
        try:
            facts[pending[answer]] = ray.get(answer)
        except RayError as error:  # such as of a node without lrsearch
            missing[pending[answer]] = f"cannot run lrsearch: {str(error).strip().splitlines()[-1][:200]}"
    return facts, missing


def _can_host(resources: Mapping[str, float], settings: SweepSettings) -> bool:
    return resources.get("CPU", 0) >= settings.cpus and resources.get("GPU", 0) >= (settings.gpus or 0)


def _check_resources(settings: SweepSettings, resources: Sequence[Mapping[str, float]], able: int) -> ClusterCheck:
    needs = f"a run needs {counted(settings.cpus, 'CPU', form='g')} and {counted(settings.gpus or 0, 'GPU', form='g')}"
    if able:
        return ClusterCheck("resources", True, f"{needs}: {counted(able, 'node has', 'nodes have')} them")
    most = ", ".join(f"{max((one.get(name, 0) for one in resources), default=0):g} {name}s" for name in ("CPU", "GPU"))
    return ClusterCheck("resources", False, f"{needs}, and no node has them; the most are {most}")


def _total(nodes: Any) -> str:
    sums = {name: sum(node["Resources"].get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    return ", ".join(counted(number, name, form="g") for name, number in sums.items())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
