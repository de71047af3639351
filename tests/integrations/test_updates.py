"""The hooks that count the updates of a training."""

import gc

import pytest
import torch

from lrsearch.integrations.updates import UpdateHooks


def optimizers(count: int) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0) for _ in range(count)]


@pytest.fixture
def without_gc():
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("count", [1, 2])
def test_hooks_that_are_removed_count_nothing(count) -> None:
    trained, steps = optimizers(count), []
    hooks = UpdateHooks(trained, lambda: steps.append(1))
    trained[-1].step()
    hooks.remove()
    hooks.end_round()
    for optimizer in trained * 2:
        optimizer.step()
    assert len(steps) == (1 if count == 1 else 0)
    assert not any(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks for optimizer in trained)


def test_the_hooks_go_with_their_object_at_once(without_gc) -> None:
    trained, steps = optimizers(2), []
    hooks = UpdateHooks(trained, lambda: steps.append(1))
    for optimizer in trained:
        optimizer.step()
    del hooks
    assert not trained[0]._optimizer_step_pre_hooks
    assert len(steps) == 1
