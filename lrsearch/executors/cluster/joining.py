"""Starting a Ray cluster on this machine, or joining one."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from lrsearch.errors import EngineError
from lrsearch.executors.cluster.settings import Settings

CONNECT_SECONDS = 5.0
"""For a cluster to answer at its port: a rule."""
STORE_BYTES = 200 * 2**20
"""Shared memory of a cluster that is started: a rule, as only the source and small messages lie in it."""


@contextmanager
def joined(settings: Settings) -> Iterator[None]:
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
            "object_store_memory": STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": settings.temporary,
        }
    try:
        _check_port(settings.address)
        ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(_unreachable(settings, error)) from error
    try:
        yield
    finally:
        ray.shutdown()
        if settings.temporary is not None:
            shutil.rmtree(settings.temporary, ignore_errors=True)


def _check_port(address: str) -> None:
    """Raise OSError where nothing listens at host:port: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _unreachable(settings: Settings, error: Exception) -> str:
    """The error message with advice; Ray itself does not report a wrong token."""
    lines = str(error).strip().splitlines() or [""]
    cause = f"{type(error).__name__}: {lines[0][:200]}".rstrip(". ")
    if settings.temporary is not None:
        return f"Ray could not start a cluster here: {cause}"
    if _is_port_answered(settings.address):
        return (
            f"the Ray cluster at {settings.address} does not let this process in: {cause}. Its port answers, so it"
            " probably wants its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what"
            " all its machines use"
        )
    return (
        f"no Ray cluster can be joined at {settings.address}: {cause}. Start one with `ray start --head` and run"
        " this on one of its machines, or use --address local. If it runs already, it may want its token: set"
        " RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what all its machines use"
    )


def _is_port_answered(address: str) -> bool:
    try:
        _check_port(address)
    except OSError:
        return False
    return address.rpartition(":")[2].isdigit()
