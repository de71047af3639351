"""Optimizers as values: torch's own, with settings that are refused where they cannot be."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from lrsearch.errors import TaskError
from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX
from lrsearch.tasks import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop, find_task
from lrsearch.training import Trainer

EVERY = {
    "SGD": (SGD(momentum=0, weight_decay=0), lambda p: torch.optim.SGD(p, lr=0.01)),
    "momentum": (
        SGD(momentum=0.9, weight_decay=0.001),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.001),
    ),
    "Nesterov": (
        SGD(momentum=0.9, weight_decay=0, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    ),
    "Adam": (Adam(beta1=0.8), lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.999))),
    "AdamW": (AdamW(weight_decay=0.1), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
    "RMSprop": (RMSprop(alpha=0.9, momentum=0.5), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.5)),
    "Adagrad": (Adagrad(), lambda p: torch.optim.Adagrad(p, lr=0.01)),
    "Adadelta": (Adadelta(rho=0.8), lambda p: torch.optim.Adadelta(p, lr=0.01, rho=0.8)),
}


@pytest.mark.parametrize("name", EVERY)
def test_an_optimizer_makes_the_updates_of_torch_s(name):
    ours, theirs = EVERY[name]
    made = []
    for build in (ours.build, lambda model: theirs(model.parameters())):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = build(model)
        optimizer.param_groups[0]["lr"] = 0.01
        for _ in range(5):
            optimizer.zero_grad()
            (model(torch.ones(4, 3)) ** 2).sum().backward()
            optimizer.step()
        made.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*made, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_a_task_trains_with_any_optimizer_and_has_a_key_of_its_own(name):
    task = replace(find_task("digits-mlp"), optimizer=EVERY[name][0])
    lr = 0.5 if name == "Adadelta" else 0.003 if name in ("Adam", "AdamW", "RMSprop") else 0.05
    run = Trainer(task, device="cpu").train(RunSpec(task, FIX(k0=lr), 300, 0))
    assert run.state is RunState.FINISHED
    assert run.score > 0.85, run.score
    others = {replace(task, optimizer=other).key for key, (other, _) in EVERY.items() if key != name}
    assert task.key not in others


def test_the_keys_of_the_first_tasks_have_not_moved():
    """Stored runs are found by them."""
    assert asdict(SGD()) == {
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "nesterov": False,
        "family": "sgd",
        "lr_range": (1e-6, 10.0),
    }
    assert find_task("digits-cnn").key == "0ae563abff614697"
    assert find_task("mnist-lenet").key == "26fcebc4ce14ba72"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SGD(momentum=1.0), r"SGD: momentum must be in \[0, 1\), got 1.0"),
        (lambda: SGD(weight_decay=-1e-4), "SGD: weight_decay must be in"),
        (lambda: Adam(beta2=1), "Adam: beta2"),
        (lambda: RMSprop(alpha=True), "RMSprop: alpha"),
        (lambda: Adadelta(lr_range=(1.0, 0.1)), "Adadelta: lr_range must be two rising numbers"),
        (lambda: Adagrad(eps="1"), "Adagrad: eps"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(make, says):
    with pytest.raises(TaskError, match=says):
        make()


def test_an_optimizer_says_what_it_is():
    assert SGD(nesterov=True).summary == "SGD, weight decay 0.0005, momentum 0.9, nesterov"
    assert AdamW().summary == "Adam, weight decay 0.01, beta1 0.9, beta2 0.999, decoupled"
