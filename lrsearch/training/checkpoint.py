"""Checkpoints: a run whose process was killed resumes from its last one and ends with the same result."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch

EVERY_SECONDS = 30.0
"""Rule: a kill costs half a minute of training at most."""
State = dict[str, Any]
"""Tensors and plain values."""


class Part(Protocol):
    """A part of a run that has a state: model, optimizer, scheduler, training log."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state: tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore a state."""


class Checkpoint:
    """The state of a run in progress, and its file. `steps` counts the steps that need not be trained again.

    A kill leaves the old file or the new one, never half of one. The file holds tensors and plain values, and is loaded
    with `weights_only=True`. A file that cannot be read, or of another run, is ignored.

    Args:
        path: the file; None for a run without a checkpoint.
        key: the run's key.
        parts: the parts by name, in the order in which their states are restored.
        generator: the run's own generator; torch's global random state is saved beside it.
        devices: the accelerators whose random state is saved as well.
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
        """Whether the last checkpoint is half a minute old."""
        return self.path is not None and time.monotonic() - self._saved >= EVERY_SECONDS

    def state(self, steps: int) -> State:
        """Return the state of all parts after `steps` steps. Its tensors are the run's own, not copies."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        draws = [torch.get_rng_state(), self.generator.get_state(), *map(torch.cuda.get_rng_state, self.devices)]
        return {"key": self.key, "steps": steps, "parts": states, "draws": draws}

    def restore(self, state: State) -> None:
        """Restore a state and its number of steps."""
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        cpu_state, generator_state, *gpu_states = state["draws"]
        torch.set_rng_state(cpu_state)
        self.generator.set_state(generator_state)
        for device, gpu_state in zip(self.devices, gpu_states, strict=True):
            torch.cuda.set_rng_state(gpu_state, device)
        self.steps = int(state["steps"])

    def save(self, steps: int) -> None:
        """Write the file. A full disk costs the checkpoint, not the run."""
        assert self.path is not None
        with suppress(OSError, RuntimeError):
            replace_file(self.path, self.state(steps))
            self.steps = steps
        self._saved = time.monotonic()

    def read(self) -> State | None:
        """Read the file; None where there is no readable file of this run."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # torch.load raises many types for a file that torch did not write
            return None
        return state if isinstance(state, dict) and state.get("key") == self.key else None

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
