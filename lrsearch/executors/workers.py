"""The contract of workers, and their messages: processes that train groups of runs, on this machine or on others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from lrsearch.runs import Run
from lrsearch.runs.executor import Group, Lockstep
from lrsearch.runs.lost import Cause, Death


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker has opened the source and can train."""

    worker: int
    lockstep: Lockstep


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker cannot open the source, and never will; `why` is for people."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Stepped:
    """The steps done of a run in progress."""

    worker: int
    key: str
    steps: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run of the worker's group has ended."""

    worker: int
    key: str
    run: Run


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker's trainer raised an exception outside of a run: the training itself is wrong."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Died:
    """A worker's process has ended, and the runs of its group that have not are lost. Another process starts."""

    worker: int
    death: Death


@dataclass(frozen=True, slots=True)
class Gone:
    """All workers are gone, and no other can be started."""

    why: str


Message = Opened | Refused | Stepped | RunEnded | Failed | Died | Gone


class Workers(Protocol):
    """Processes that train one group after the other. They are numbered from 0."""

    def begin(self, worker: int, group: Group, folder: Path | None) -> None:
        """Send a group to a worker that has none.

        Args:
            worker: its number.
            group: the runs.
            folder: for weights of full runs and checkpoints; None to keep none.
        """

    def receive(self, seconds: float) -> Message | None:
        """Return the next message; None if there is none within some seconds."""

    def stop(self) -> None:
        """Stop the open runs at their next check; they end as interrupted."""

    def close(self, seconds: float) -> None:
        """End all workers and their child processes, after some seconds in which runs may stop."""


def to_json(message: Message) -> dict[str, Any]:
    """A message as plain JSON values.

    >>> to_json(Stepped(0, "3f2a", 20))
    {'kind': 'Stepped', 'worker': 0, 'key': '3f2a', 'steps': 20}
    """
    plain: dict[type, Callable[[Any], Any]] = {
        Run: Run.to_text,
        Lockstep: lambda lockstep: [lockstep.rows, lockstep.reason],
        Death: lambda death: [str(death.cause), death.why],
    }
    values = {field.name: getattr(message, field.name) for field in fields(message)}
    return {"kind": type(message).__name__} | {
        name: plain.get(type(value), lambda value: value)(value) for name, value in values.items()
    }


def from_json(values: Mapping[str, Any]) -> Message:
    """Read the values of `to_json`.

    >>> message = Died(1, Death(Cause.EXITED, "it exited with 5"))
    >>> from_json(to_json(message)) == message
    True
    """
    kinds: dict[str, type[Any]] = {kind.__name__: kind for kind in Message.__args__}
    read: dict[str, Callable[[Any], Any]] = {
        "run": Run.from_text,
        "lockstep": lambda lockstep: Lockstep(*lockstep),
        "death": lambda death: Death(Cause(death[0]), death[1]),
    }
    plain = {name: read.get(name, lambda value: value)(value) for name, value in values.items() if name != "kind"}
    message: Message = kinds[values["kind"]](**plain)
    return message
