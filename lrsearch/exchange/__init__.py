"""Policies in the formats of other tools: torch, transformers, Caffe, LRBench. Inexact conversions are refused.

>>> print(convert("TRI(k0=0.001, k1=0.006, l=2000)", "lrsearch", "lrbench"))
lrPolicy_TRI+k0_0.001+k1_0.006+l_2000
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.caffe import from_caffe, to_caffe
from lrsearch.exchange.call import Call
from lrsearch.exchange.huggingface import from_huggingface, to_huggingface
from lrsearch.exchange.huggingface_source import schedule_of
from lrsearch.exchange.lrbench import from_lrbench, to_lrbench
from lrsearch.exchange.numbers import number
from lrsearch.exchange.source import torch_call
from lrsearch.exchange.torch import from_torch, to_torch
from lrsearch.schedules import Policy, from_json, parse, to_json

__all__ = [
    "FORMATS",
    "Call",
    "convert",
    "from_caffe",
    "from_huggingface",
    "from_lrbench",
    "from_torch",
    "to_caffe",
    "to_huggingface",
    "to_lrbench",
    "to_torch",
]


def convert(
    text: str,
    source: str,
    target: str,
    *,
    lr: float | None = None,
    steps: int | None = None,
    epoch: float | None = None,
) -> str:
    """Convert a policy from one format to another.

    Args:
        text: the policy; for "torch" and "huggingface" Python source of one call, which is read and never run.
        source: "lrsearch" (the policy's text), "json", "torch", "huggingface", "caffe" or "lrbench".
        target: one of the same.
        lr: the optimizer's learning rate, which a call of torch or transformers does not contain.
        steps: the steps of the run; needed for the targets "huggingface" and "caffe", and for durations such as 0.1dur.
        epoch: the steps of an epoch; needed for durations such as 3ep.

    Raises:
        PolicyError: if the text is not in the source's format, or the target has no such policy.

    >>> convert("StepLR(step_size=30, gamma=0.1)", "torch", "lrsearch", lr=0.1)
    'STEP(k0=0.1, gamma=0.1, l=30)'
    >>> convert("cosine(num_warmup_steps=10, num_training_steps=110)", "huggingface", "lrsearch", lr=0.001)
    'WARMUP(policy=COS(k0=0, k1=0.001, l=100), l=10)'
    """
    for name in (source, target):
        if not isinstance(name, str) or name not in FORMATS:
            raise PolicyError(unknown("format", str(name), FORMATS))
    if FORMATS[source].needs_lr and lr is None:
        raise PolicyError(f"the optimizer's learning rate is not in a call of {source}: give lr=..., or --lr")
    if FORMATS[target].needs_steps and steps is None:
        raise PolicyError(f"{target} has to know the steps of the run: give steps=..., or --steps")
    policy = FORMATS[source].read(text, lr)
    bound = policy.bind(horizon=steps, epoch=epoch) if steps or epoch else policy
    return FORMATS[target].write(bound, steps)


@dataclass(frozen=True, slots=True)
class Format:
    """The two directions of a format: `read`, (text, lr) -> policy, and `write`, (policy, steps) -> text."""

    read: Callable[[str, Any], Policy]
    write: Callable[[Policy, Any], str]
    needs_lr: bool = False
    needs_steps: bool = False


def _from_torch_source(text: str, lr: float) -> Policy:
    """Make the real scheduler on an optimizer of one weight, and read it."""
    from torch import zeros
    from torch.nn import Parameter
    from torch.optim import SGD

    call = torch_call(text, _positive(lr))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = call.build(SGD([Parameter(zeros(1))], lr=call.lr, momentum=0.9))
    return from_torch(scheduler)


def _from_huggingface_source(text: str, lr: float) -> Policy:
    name, arguments = schedule_of(text)
    return from_huggingface(name, _positive(lr), **arguments)


def _positive(lr: Any) -> float:
    value = number(lr, "lr")
    if not value > 0:
        raise PolicyError(f"lr must be above 0, got {value!r}")
    return value


FORMATS: dict[str, Format] = {
    "lrsearch": Format(lambda text, lr: parse(text), lambda policy, steps: str(policy)),
    "json": Format(lambda text, lr: from_json(text), lambda policy, steps: to_json(policy)),
    "torch": Format(_from_torch_source, lambda policy, steps: str(to_torch(policy, steps)), needs_lr=True),
    "huggingface": Format(
        _from_huggingface_source,
        lambda policy, steps: str(to_huggingface(policy, steps)),
        needs_lr=True,
        needs_steps=True,
    ),
    "caffe": Format(lambda text, lr: from_caffe(text), to_caffe, needs_steps=True),
    "lrbench": Format(lambda text, lr: from_lrbench(text), lambda policy, steps: to_lrbench(policy)),
}
