"""Starting a Ray cluster on this machine, or joining one."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import services
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RayError

from lrsearch.errors import EngineError
from lrsearch.executors.cluster.settings import SweepSettings

CONNECT_SECONDS = 5.0
"""For a cluster to answer at its port: a rule."""
STORE_BYTES = 200 * 2**20
"""Shared memory of a cluster that is started, beside twice the source: a rule, as messages are small."""


@contextmanager
def joined(settings: SweepSettings) -> Iterator[None]:
    """Start or join a cluster, and leave it again; the files of a cluster that was started are removed.

    Raises:
        EngineError: if there is no cluster at the address, or it wants another token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {}
    if settings.temporary is not None:
        own = {
            "include_dashboard": False,
            "num_cpus": None if settings.workers is None else max(1, round(settings.workers * settings.cpus)),
            "object_store_memory": STORE_BYTES + 2 * settings.source_bytes,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": settings.temporary,
        }
    try:
        if settings.temporary is None:
            _check(settings.address)
        ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(_unreachable(settings, error)) from error
    try:
        yield
    finally:
        ray.shutdown()
        if settings.temporary is not None:
            shutil.rmtree(settings.temporary, ignore_errors=True)


def _check(address: str) -> None:
    """Raise where no cluster answers at an address, or where it wants another token: Ray itself would try for minutes.

    Raises:
        OSError: if nothing listens there.
        AuthenticationError: if the cluster wants another token.
    """
    bootstrap = services.canonicalize_bootstrap_address(address)
    if bootstrap is None:
        raise ConnectionError("no cluster is known on this machine")
    host, _, port = bootstrap.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    GcsClient(address=bootstrap).check_alive([], timeout=CONNECT_SECONDS)


def _unreachable(settings: SweepSettings, error: Exception) -> str:
    """The error message with advice."""
    lines = str(error).strip().splitlines() or [""]
    cause = f"{type(error).__name__}: {lines[0][:200]}".rstrip(". ")
    way = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what all its machines use"
    if settings.temporary is not None:
        return f"Ray could not start a cluster here: {cause}"
    if isinstance(error, AuthenticationError):
        return f"the Ray cluster at {settings.address} answers, but wants its token: {way}; or use --address local"
    return (
        f"no Ray cluster can be joined at {settings.address}: {cause}. Start one with `ray start --head` and run"
        f" this on one of its machines, or use --address local. If it runs already, it may want its token: {way}"
    )
