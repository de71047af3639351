"""The logged values of a run. Tensors are read later, so that logging costs no device sync per step."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lrsearch.errors import UsageError, given
from lrsearch.runs.run import Curve

MOST_POINTS = 1000
"""Rule: points of a stored curve. A longer one keeps every n-th point, n a power of 2, and the last."""
MOST_MEANS = 200
"""Rule: stored training losses, as means over equal strides of updates."""
FLUSH_AT = 512
"""Rule: values that are read together; each reading synchronizes the device once."""
NUMBERS = ("nan", "inf", "-inf", "infinity", "-infinity", "+inf")


class Log:
    """The values that a training logged, by name, each with its step.

    A tensor of a GPU is stored without its gradient. `read` reads all of them at once, because each reading waits for
    the device. A tensor that was changed in place after it was logged is an error then.
    """

    __slots__ = ("_pending", "series")

    def __init__(self) -> None:
        self._pending: list[tuple[int, str, Any, int | None]] = []
        self.series: dict[str, list[tuple[int, float]]] = {}

    def add(self, step: int, name: str, value: Any) -> None:
        """Log a value. A tensor of a CPU is converted now, other values in `read`."""
        if type(value) is not float and hasattr(value, "detach"):
            if value.is_cpu and value.numel() == 1:
                self._pending.append((step, name, value.item(), None))
            else:
                self._pending.append((step, name, value.detach(), value._version))
        else:
            self._pending.append((step, name, value, None))
        if len(self._pending) >= FLUSH_AT:
            self.read()

    def read(self) -> None:
        """Convert all pending values to numbers.

        Raises:
            UsageError: for a value that is not a number.
        """
        pending, self._pending = self._pending, []
        for (step, name, _, _), value in zip(pending, _numbers(pending), strict=True):
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
        return next((value for at, value in reversed(points) if at == step), None)

    def curve(self, name: str) -> Curve:
        """The points of a name, at most `MOST_POINTS` and the last."""
        points = self.series.get(name, [])
        every = 1
        while len(points) > MOST_POINTS * every:
            every *= 2
        thinned = points[::every]
        return (*thinned, *(points[-1:] if points and thinned[-1] is not points[-1] else ()))

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
        means = [sum(strides[at]) / len(strides[at]) for at in range(count)]
        return stride, tuple(mean if math.isfinite(mean) else None for mean in means)


def number_of(name: str, value: Any) -> float:
    """A value as a float: a number, an array or tensor of one number, or a text such as "nan".

    Raises:
        UsageError: for anything else; it names the metric.

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


def _numbers(pending: Sequence[tuple[int, str, Any, int | None]]) -> Iterable[float]:
    tensors = [value for _, _, value, version in pending if version is not None]
    changed = next(
        (name for _, name, value, version in pending if version is not None and value._version != version), None
    )
    if changed is not None:
        raise UsageError(
            f"the tensor that was logged as {changed} was changed in place afterwards: log its clone(),"
            " or float(...) of it"
        )
    read = iter(_read_tensors(tensors))
    return [next(read) if version is not None else number_of(name, value) for _, name, value, version in pending]


def _read_tensors(tensors: list[Any]) -> list[float]:
    """Read tensors of one element: those of one device at once, because each reading waits for it."""
    odd = next((tensor for tensor in tensors if tensor.numel() != 1), None)
    if odd is not None:
        raise UsageError(f"a tensor of shape {tuple(odd.shape)} was logged: log one number, such as its mean()")
    if len({tensor.device for tensor in tensors}) != 1:
        return [float(tensor) for tensor in tensors]
    import torch

    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.double() for tensor in tensors]
    values: list[float] = torch.stack([tensor.reshape(()) for tensor in tensors]).double().tolist()
    return values
