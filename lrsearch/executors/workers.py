"""The contract of workers, and their messages: processes that train groups of runs, on this machine or on others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self

from lrsearch.runs import Run, RunSpec, Stop, Task
from lrsearch.runs.executor import Group, Lockstep
from lrsearch.runs.lost import Cause, Death
from lrsearch.schedules import parse


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


@dataclass(frozen=True, slots=True)
class Order:
    """A group of runs as a worker receives it: each run's key, and its policy's text, horizon, seed and stop.

    Args:
        keys: the runs' keys.
        runs: the runs, without their task, which the worker has.
        in_lockstep: whether they train in lockstep.
        folder: for weights of full runs and checkpoints; None to keep none.
    """

    keys: tuple[str, ...]
    runs: tuple[tuple[str, int, int, Stop | None], ...]
    in_lockstep: bool
    folder: str | None

    @classmethod
    def of(cls, group: Group, folder: Path | None) -> Self:
        """The order of a group."""
        runs = tuple((str(spec.policy), spec.horizon, spec.seed, spec.stop) for spec in group.specs)
        keys = tuple(spec.key for spec in group.specs)
        return cls(keys, runs, group.in_lockstep, None if folder is None else str(folder))

    def group(self, task: Task) -> Group:
        """The group, for a worker with the task."""
        specs = (RunSpec(task, parse(policy), horizon, seed, stop) for policy, horizon, seed, stop in self.runs)
        return Group(tuple(specs), self.in_lockstep)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        runs = [[*run, stop.description if stop else {}] for *run, stop in self.runs]
        return {"keys": self.keys, "runs": runs, "in_lockstep": self.in_lockstep, "folder": self.folder}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of `to_json`."""
        runs = tuple((policy, horizon, seed, Stop.of(stop)) for policy, horizon, seed, stop in values["runs"])
        return cls(tuple(values["keys"]), runs, values["in_lockstep"], values["folder"])


Message = Opened | Refused | Stepped | RunEnded | Failed | Died | Gone


class Workers(Protocol):
    """Processes that train one group after the other. They are numbered from 0."""

    def begin(self, worker: int, order: Order) -> None:
        """Send a group to a worker that has none."""

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
