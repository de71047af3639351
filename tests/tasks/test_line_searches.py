"""Line searches: the papers' algorithms, written again in numpy, take the same steps."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.errors import TaskError
from lrsearch.tasks import L4, SGD, SLS, find_task

EPOCH, UPDATES = 8, 60


class Logistic(nn.Module):
    """Logistic regression without a bias, in double precision, from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(5, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w


def samples():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40 * UPDATES, 5)) * [0.1, 0.5, 1, 3, 10]
    y = np.sign(x @ [5, -1, 1, 0.5, -0.2] + rng.normal(size=len(x)))
    return x.reshape(UPDATES, 40, 5), y.reshape(UPDATES, 40)


def value(w, x, y):
    """Mean log(1 + exp(-y x.w)), and its gradient."""
    margin = y * (x @ w)
    return np.logaddexp(0, -margin).mean(), -(y / (1 + np.exp(margin))) @ x / len(y)


def textbook_sls(x, y, largest, c=0.1, beta=0.9, gamma=2.0):
    """Algorithm 1 with the reset of Algorithm 2, option 2, as the paper prints them."""
    w, eta, path = np.zeros(5), largest, []
    for step in range(UPDATES):
        loss, g = value(w, x[step], y[step])
        eta = min(eta * gamma ** (1 / EPOCH), largest) if step else largest
        while value(w - eta * g, x[step], y[step])[0] > loss - c * eta * (g @ g):
            eta *= beta
        w = w - eta * g
        path.append((eta, w))
    return path


def textbook_l4(x, y, alpha, decay=0.9, gamma=0.9, gamma0=0.75, tau=1000.0):
    """Algorithm 1 of L4 with v = g = the bias-corrected mean gradient."""
    w, mean, path = np.zeros(5), np.zeros(5), []
    lowest = gamma0 * value(w, x[0], y[0])[0]
    for step in range(UPDATES):
        loss, g = value(w, x[step], y[step])
        mean = decay * mean + (1 - decay) * g
        v = mean / (1 - decay ** (step + 1))
        lowest = min(lowest, loss)
        eta = alpha * (loss - gamma * lowest) / (v @ v + 1e-12)
        w, lowest = w - eta * v, lowest * (1 + 1 / tau)
        path.append((eta, w))
    return path


def logistic_closure(model, x, y):
    return lambda: F.softplus(-torch.from_numpy(y) * model(torch.from_numpy(x))).mean()


def ours(search, lr, x, y):
    model = Logistic()
    optimizer = search.build(model, EPOCH)
    optimizer.param_groups[0]["lr"] = lr
    path = []
    for step in range(UPDATES):
        optimizer.zero_grad()
        optimizer.step(logistic_closure(model, x[step], y[step]))
        path.append((optimizer.param_groups[0]["rate"], model.w.detach().numpy().copy()))
    return path


@pytest.mark.parametrize(
    ("search", "textbook", "lr"),
    [(SLS(), textbook_sls, 10.0), (SLS(), textbook_sls, 0.3), (L4(), textbook_l4, 0.15), (L4(), textbook_l4, 0.1)],
)
def test_a_line_search_takes_the_steps_of_its_paper(search, textbook, lr):
    x, y = samples()
    path, wanted = ours(search, lr, x, y), textbook(x, y, lr)
    assert [eta for eta, _ in path] == pytest.approx([eta for eta, _ in wanted], rel=1e-9)
    assert np.allclose([w for _, w in path], [w for _, w in wanted], rtol=1e-9, atol=1e-12)
    assert len({eta for eta, _ in path}) > 20  # it searched


def test_settings_reach_the_algorithms():
    x, y = samples()
    told = {"c": 0.5, "beta": 0.6, "gamma": 8.0}
    assert ours(SLS(**told), 10.0, x, y)[-1][0] == pytest.approx(textbook_sls(x, y, 10.0, **told)[-1][0], rel=1e-9)
    told = {"gamma": 0.5, "gamma0": 0.3, "tau": 10.0}
    wanted = textbook_l4(x, y, 0.1, decay=0.7, **told)[-1][0]
    assert ours(L4(momentum=0.7, **told), 0.1, x, y)[-1][0] == pytest.approx(wanted, rel=1e-9)


def digits(search, lr):
    """A network, its optimizer, and closures of random batches of digits."""
    task = find_task("digits-mlp")
    split = task.load(None).train
    torch.manual_seed(0)
    model = task.build()
    optimizer = search.build(model, task.epoch)
    optimizer.param_groups[0]["lr"] = lr
    batches = [torch.randint(len(split), (32,)) for _ in range(60)]
    return model, optimizer, [lambda b=b: F.cross_entropy(model(split.x[b]), split.y[b]) for b in batches]


def put(model, before, step):
    """Put the parameters where a step along their gradients leads."""
    with torch.no_grad():
        for p, old in zip(model.parameters(), before, strict=True):
            p.copy_(old - step * p.grad)


def test_a_step_satisfies_armijo_s_condition_and_the_one_refused_before_it_does_not():
    model, optimizer, closures = digits(SLS(c=0.3), 10.0)
    refused = 0
    for closure in closures:
        before, start = [p.detach().clone() for p in model.parameters()], optimizer.param_groups[0]["start"]
        optimizer.zero_grad()
        loss = optimizer.step(closure).item()
        step, squares = optimizer.param_groups[0]["rate"], sum(p.grad.square().sum().item() for p in model.parameters())
        reached = [p.detach().clone() for p in model.parameters()]
        assert 0 < step <= 10
        assert closure().item() <= loss - 0.3 * step * squares + 1e-6
        put(model, before, step)
        assert all(map(torch.allclose, model.parameters(), reached))
        if step < 0.99 * min(start, 10):
            put(model, before, step / 0.9)
            assert closure().item() > loss - 0.3 * step / 0.9 * squares - 1e-6
            put(model, before, step)
            refused += 1
    assert refused > 5


def test_l4_at_alpha_1_comes_down_to_its_estimate_of_the_minimum_where_the_loss_is_linear():
    model = nn.Linear(4, 1, bias=False).double()
    optimizer = L4(gamma=0.8, gamma0=0.5).build(model)

    def loss():
        return 7 + model.weight @ torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)

    before = optimizer.step(lambda: loss().sum()).item()
    assert loss().item() == pytest.approx(0.8 * 0.5 * before, rel=1e-12)


class Counted:
    """A closure that counts, with a loss of its own once its first call is over."""

    def __init__(self, model, later):
        self.model, self.later, self.calls = model, later, 0

    def __call__(self):
        self.calls += 1
        loss = self.model(torch.ones(1, 3)).square().sum()
        return loss if self.calls == 1 else loss * 0 + self.later


@pytest.mark.parametrize("later", [1e9, math.nan, math.inf])
def test_a_search_that_nothing_satisfies_ends_and_leaves_the_parameters_as_they_were(later):
    model = nn.Linear(3, 1)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = SLS().build(model)
    closure = Counted(model, later)
    optimizer.step(closure)
    assert closure.calls == 101
    assert optimizer.param_groups[0]["rate"] == 0
    assert all(map(torch.equal, model.parameters(), before))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_not_searched(loss):
    model = nn.Linear(3, 1)
    optimizer, closure = SLS().build(model), Counted(model, 0.0)
    optimizer.step(lambda: closure() * loss)
    assert closure.calls == 1
    assert optimizer.param_groups[0]["rate"] == 0


def test_the_lr_caps_the_step_and_a_low_one_leaves_no_trace():
    """A warm-up from 0 must not hold the search down once it is over."""
    _, optimizer, closures = digits(SLS(), 0.0)
    rates = []
    for cap, closure in zip([0.0, 0.001, 0.01, 10.0, 10.0], closures, strict=False):
        optimizer.param_groups[0]["lr"] = cap
        optimizer.zero_grad()
        optimizer.step(closure)
        rates.append(optimizer.param_groups[0]["rate"])
    assert rates[:3] == [0.0, 0.001, 0.01]
    assert min(rates[3:]) > 0.1


@pytest.mark.parametrize(("search", "lr"), [(SLS(), 10.0), (L4(), 0.15)])
def test_a_search_goes_on_from_its_state_as_if_it_had_not_stopped(search, lr):
    model, optimizer, closures = digits(search, lr)
    for closure in closures[:20]:
        optimizer.zero_grad()
        optimizer.step(closure)
    weights, state = {k: v.clone() for k, v in model.state_dict().items()}, deepcopy(optimizer.state_dict())
    other, again, theirs = digits(search, lr)
    other.load_state_dict(weights)
    again.load_state_dict(state)
    for mine, their in zip(closures[20:30], theirs[20:30], strict=True):
        for each, closure in ((optimizer, mine), (again, their)):
            each.zero_grad()
            each.step(closure)
        assert again.param_groups[0]["rate"] == optimizer.param_groups[0]["rate"]


@pytest.mark.parametrize(("search", "lr"), [(SLS(), 10.0), (L4(), 0.15)])
def test_parameters_that_do_not_learn_and_those_that_are_not_used_are_left(search, lr):
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.Linear(3, 3) for name in ("frozen", "used", "unused")})
    model["frozen"].requires_grad_(False)
    before = {name: layer.weight.clone() for name, layer in model.items()}
    optimizer = search.build(model)
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step(lambda: model["used"](model["frozen"](torch.ones(2, 3))).square().mean())
    assert [name for name, old in before.items() if not torch.equal(model[name].weight, old)] == ["used"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SLS(c=1.0), r"SLS: c must be in \[0, 1\), got 1.0"),
        (lambda: SLS(beta=0.0), "SLS: beta must be in"),
        (lambda: SLS(gamma=0.5), "SLS: gamma"),
        (lambda: L4(momentum=1), "L4: momentum"),
        (lambda: L4(tau=0), "L4: tau"),
        (lambda: L4(gamma=1.0), "L4: gamma must"),
        (lambda: L4(gamma0=-0.1), "L4: gamma0"),
        (lambda: L4(eps="0"), "L4: eps"),
        (lambda: SLS(weight_decay=0.1), "SLS: weight_decay must be 0, got 0.1: the loss that is searched has no part"),
        (lambda: L4(weight_decay=1e-4), "L4: weight_decay must be 0"),
        (lambda: L4(lr_range=(1.0, 0.1)), "L4: lr_range"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(make, says):
    with pytest.raises(TaskError, match=says):
        make()


def test_only_line_searches_search_and_each_makes_a_task_of_its_own():
    assert SLS.searches
    assert L4.searches
    assert not SGD.searches
    tasks = [replace(find_task("digits-mlp"), optimizer=search) for search in (SLS(), SLS(c=0.2), L4(), SGD())]
    assert len({task.key for task in tasks}) == 4
