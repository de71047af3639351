"""What a run logged: values are kept as they came and read later, so that a tensor costs no device sync per step."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lrsearch.errors import UsageError, given
from lrsearch.runs.run import Curve

MOST_POINTS = 1000
"""Of a curve that is kept; every n-th beyond, with n doubled as often as it takes, and the last."""
MOST_MEANS = 200
"""Of training losses that are kept: means over equal strides of updates."""
FLUSH_AT = 512
NUMBERS = ("nan", "inf", "-inf", "infinity", "-infinity", "+inf")


class Log:
    """The values that a training logged, by name, each with its step.

    A tensor of a GPU is kept without its gradient and read when `read` is called, all of them at once: reading one
    waits for the device. One that was changed in place since it was logged is refused then.
    """

    __slots__ = ("_waiting", "series")

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str, Any, int | None]] = []
        self.series: dict[str, list[tuple[int, float]]] = {}

    def add(self, step: int, name: str, value: Any) -> None:
        """Take a value; a tensor of a GPU is read later, all others are numbers at once or when they are read."""
        if type(value) is not float and hasattr(value, "detach"):
            if value.is_cpu and value.numel() == 1:
                self._waiting.append((step, name, value.item(), None))
            else:
                self._waiting.append((step, name, value.detach(), value._version))
        else:
            self._waiting.append((step, name, value, None))
        if len(self._waiting) >= FLUSH_AT:
            self.read()

    def read(self) -> None:
        """Read what waits as numbers.

        Raises:
            UsageError: for what is none.
        """
        waiting, self._waiting = self._waiting, []
        for (step, name, _, _), value in zip(waiting, _numbers(waiting), strict=True):
            points = self.series.setdefault(name, [])
            if points and points[-1][0] == step:
                points[-1] = (step, value)
            elif not points or step > points[-1][0]:
                points.append((step, value))

    def last(self, name: str) -> tuple[int, float] | None:
        """The last (step, value) of a name; None where it was never logged."""
        points = self.series.get(name)
        return points[-1] if points else None

    def at(self, name: str, step: int) -> float | None:
        """The value of a name at a step; None where it has none."""
        points = self.series.get(name, ())
        return next((value for found, value in reversed(points) if found == step), None)

    def curve(self, name: str) -> Curve:
        """A name's points, thinned where there are many."""
        points = self.series.get(name, [])
        every = 1
        while len(points) > MOST_POINTS * every:
            every *= 2
        kept = points[::every]
        return (*kept, *(points[-1:] if points and kept[-1] is not points[-1] else ()))

    def means(self, name: str, steps: int) -> tuple[int, tuple[float | None, ...]]:
        """(stride, means) of a name over equal strides of updates, none of them empty; None where not finite."""
        points = self.series.get(name, [])
        if not points or not steps:
            return 1, ()
        stride = max(1, math.ceil(steps / MOST_MEANS))
        while True:
            strides: dict[int, list[float]] = {}
            for step, value in points:
                strides.setdefault(max(step - 1, 0) // stride, []).append(value)
            count = max(strides) + 1
            if len(strides) == count:
                break
            stride *= 2
        found = [sum(strides[at]) / len(strides[at]) for at in range(count)]
        return stride, tuple(value if math.isfinite(value) else None for value in found)


def number_of(name: str, value: Any) -> float:
    """Read a number, also as a text of one that is not finite, or an array or tensor of one.

    Raises:
        UsageError: if it is none; it names the metric.

    >>> number_of("loss", "NaN"), number_of("loss", 2)
    (nan, 2.0)
    """
    if isinstance(value, str) and value.strip().lower() in NUMBERS:
        return float(value)
    if not isinstance(value, str | bytes | bytearray | bool):
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            pass
    raise UsageError(f"{name} is a number, or a tensor or array of one, got {given(value)}")


def _numbers(waiting: Sequence[tuple[int, str, Any, int | None]]) -> Iterable[float]:
    tensors = [value for _, _, value, version in waiting if version is not None]
    changed = next(
        (name for _, name, value, version in waiting if version is not None and value._version != version), None
    )
    if changed is not None:
        raise UsageError(
            f"the tensor that was logged as {changed} was changed in place afterwards: log its clone(),"
            " or float(...) of it"
        )
    read = iter(_together(tensors))
    return [next(read) if version is not None else number_of(name, value) for _, name, value, version in waiting]


def _together(tensors: list[Any]) -> list[float]:
    """Read tensors of one element; those of a GPU at once, for each reading waits for it."""
    odd = next((tensor for tensor in tensors if tensor.numel() != 1), None)
    if odd is not None:
        raise UsageError(f"a tensor of shape {tuple(odd.shape)} was logged: log one number, such as its mean()")
    if len({tensor.device for tensor in tensors}) != 1:
        return [float(tensor) for tensor in tensors]
    import torch

    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.double() for tensor in tensors]
    found: list[float] = torch.stack([tensor.reshape(()) for tensor in tensors]).double().tolist()
    return found
