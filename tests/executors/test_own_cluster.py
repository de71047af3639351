"""A Ray cluster that a sweep starts itself: it listens on loopback only, wants a token, and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from lrsearch.executors.cluster.workers import RayExecutor
from lrsearch.runs import RunSpec, RunState
from lrsearch.runs.executor import DONE, Group
from lrsearch.schedules import FIX

pytestmark = [pytest.mark.adapters, pytest.mark.ray]
MARK = "LRSEARCH_TEST_MARK"
LISTENS = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an address of IPv6, and ::1, as /proc/net writes them."""


def marked(value):
    """The environments of the processes that inherited a mark."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={value}".encode() in environment and path.name != str(os.getpid()):
            found[path] = environment
    return found


def sockets_of(processes):
    """The addresses at which processes listen."""
    inodes = set()
    for path in processes:
        for descriptor in (path / "fd").glob("*"):
            try:
                inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [fields[1].split(":")[0] for fields in lines if fields[3] == LISTENS and fields[9] in inodes]


def test_it_listens_on_loopback_wants_a_token_and_leaves_nothing(plain, tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv(MARK, tmp_path.name)
    groups, states = iter([Group((RunSpec(plain.TASK, FIX(k0=0.1), 20, seed),)) for seed in range(3)]), []
    with RayExecutor(plain.PlainSource(), tmp_path / "out", workers=2) as executor:
        executor.train(lambda: next(groups, DONE), lambda spec, run: states.append(run.state))
        processes = marked(tmp_path.name)
        addresses = sockets_of(processes)
        folder = Path(executor.workers._temporary)
        assert folder.is_dir()
    assert states == [RunState.FINISHED] * 3
    assert len(addresses) >= 5  # the cluster's server, its node, and each of its processes
    assert set(addresses) <= LOOPBACK
    assert any(b"RAY_AUTH_MODE=token" in environment for environment in processes.values())
    assert not folder.exists()
    assert not list((tmp_path / "t").iterdir())
    assert not marked(tmp_path.name)
