"""Means over the ranks of a distributed training: all ranks decide by the same numbers."""

from collections.abc import Sequence

import torch
from torch import distributed


def mean_over_ranks(values: Sequence[float | None], device: torch.device | str = "cpu") -> list[float | None]:
    """Means over all processes of torch's default group; the values themselves where no group is up.

    A collective: all ranks call it equally often, with equally many values. All get the same numbers, so that all
    decide equally. A value that is not finite on one rank is not finite on any.

    Args:
        values: numbers; None where this rank has none: then the mean is that of the others.
        device: the device that sends them: NCCL needs a GPU.

    >>> mean_over_ranks([0.5, None])
    [0.5, None]
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    rows = [[0.0 if value is None else value for value in values], [float(value is not None) for value in values]]
    summed = torch.tensor(rows, dtype=torch.float64, device=device)
    distributed.all_reduce(summed)
    return [total / count if count else None for total, count in zip(*summed.tolist(), strict=True)]
