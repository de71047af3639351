"""Checkpoints: a run that something ended from outside goes on from its last one, as if nothing had happened."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch

EVERY_SECONDS = 30.0
State = dict[str, Any]
"""Tensors and plain values."""


class Part(Protocol):
    """What a run is made of: model, optimizer, scheduler, record."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state: tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take a state up again."""


class Checkpoint:
    """The state of a run in progress, and its file. `steps` are those that need not be trained again.

    A kill leaves the old file or the new one, never half of one. It holds tensors and plain values, and is read as
    such (weights only). A file that cannot be read, or of another run, is as good as none.

    Args:
        path: the file; None to keep none.
        key: the run's.
        parts: what has a state, by name, in the order in which the states are taken up.
        generator: the run's own; torch's random state is kept beside it.
        devices: the accelerators whose random state is kept as well.
    """

    def __init__(
        self,
        path: Path | None,
        key: str,
        parts: Mapping[str, Part],
        generator: torch.Generator,
        devices: Sequence[torch.device],
    ) -> None:
        self.path, self.key, self.parts, self.generator, self.devices = path, key, parts, generator, devices
        self.steps = 0
        self._saved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last one is half a minute old."""
        return self.path is not None and time.monotonic() - self._saved >= EVERY_SECONDS

    def state(self, steps: int) -> State:
        """Give what a run is made of, after so many steps. Its tensors are the run's own, not copies."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        draws = [torch.get_rng_state(), self.generator.get_state(), *map(torch.cuda.get_rng_state, self.devices)]
        return {"key": self.key, "steps": steps, "parts": states, "draws": draws}

    def take(self, state: State) -> None:
        """Take up a state; its steps are done then."""
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        processor, own, *accelerators = state["draws"]
        torch.set_rng_state(processor)
        self.generator.set_state(own)
        for device, draws in zip(self.devices, accelerators, strict=True):
            torch.cuda.set_rng_state(draws, device)
        self.steps = int(state["steps"])

    def save(self, steps: int) -> None:
        """Write the file. A disk that is full costs the checkpoint, not the run."""
        assert self.path is not None
        with suppress(OSError, RuntimeError):
            replace_file(self.path, self.state(steps))
            self.steps = steps
        self._saved = time.monotonic()

    def read(self) -> State | None:
        """Read the file; None if there is none of this run."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a file that is none of torch's can raise anything
            return None
        return found if isinstance(found, dict) and found.get("key") == self.key else None

    def forget(self) -> None:
        """Remove the file: the run has ended for good."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


def replace_file(path: Path, content: Any) -> None:
    """Write tensors and plain values so that a kill leaves the old file or the new one."""
    part = path.with_suffix(f"{path.suffix}.part")
    torch.save(content, part)
    part.replace(path)
