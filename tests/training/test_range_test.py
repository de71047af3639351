"""The LR range test on any loop: nothing of it remains, and what it shows is right."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lrsearch as lrs
from lrsearch.errors import PolicyError, UsageError
from lrsearch.heuristics import Ramp
from lrsearch.schedules import RAMP
from lrsearch.tasks import find_task
from lrsearch.training import RunSpec, Trainer
from lrsearch.training.range_test import RangeTest, train_ramp

CNN = find_task("digits-cnn")


class Odd(nn.Module):
    """Batch norm, dropout, a part in evaluation mode, a buffer that is replaced, one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.frozen = nn.BatchNorm1d(8).eval()
        self.head = nn.Linear(8, 3)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + len(x)
        return self.head(self.frozen(self.body(x)))


def samples(n=120):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=generator)
    return x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long()


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.001)),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


class World:
    """A training that is under way: model, optimizer with two groups, scaler, generators.

    With RMSprop it has not begun. Adam's has no scheduler, whose wrapper an optimizer keeps.
    """

    def __init__(self, kind: str) -> None:
        torch.manual_seed(1)
        self.model = Odd()
        head, rest = list(self.model.head.parameters()), list(self.model.body.parameters())
        self.optimizer = OPTIMIZERS[kind]([{"params": rest}, {"params": head}])
        self.optimizer.param_groups[1]["lr"] = self.optimizer.param_groups[1]["lr"] * 0.1
        self.schedulers = [torch.optim.lr_scheduler.StepLR(self.optimizer, 5)] if kind != "Adam" else []
        self.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        self.generator = torch.Generator().manual_seed(3)
        self.loader = DataLoader(TensorDataset(*samples()), 20, shuffle=True, generator=self.generator)
        for _ in range(3 if kind != "RMSprop" else 0):
            self.update()

    def update(self, poison: bool = False) -> torch.Tensor:
        x, y = next(iter(self.loader))
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), y) * (math.nan if poison else 1.0)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def state(self):
        """All of it, as something that can be compared to the bit."""
        model, optimizer = self.model, self.optimizer
        return [
            [(name, bits(p), bits(p.grad)) for name, p in model.named_parameters()],
            [(name, bits(b)) for name, b in model.named_buffers()],
            [module.training for module in model.modules()],
            [{name: bits(value) for name, value in optimizer.state[p].items()} for p in model.parameters()
             if p in optimizer.state],
            [{name: bits(value) for name, value in group.items() if name != "params"}
             for group in optimizer.param_groups],
            sorted(vars(optimizer)), optimizer.step.__func__ if hasattr(optimizer.step, "__func__") else None,
            [repr(one.state_dict()) for one in self.schedulers], repr(self.scaler.state_dict()),
            bits(self.generator.get_state()),
            bits(torch.get_rng_state()), random.getstate(),
            bits(torch.from_numpy(np.random.get_state()[1].copy())),
        ]

    def test(self, **how) -> RangeTest:
        return lrs.range_test(self.model, self.optimizer, low=1e-5, high=10, steps=40,
                              also=(*self.schedulers, self.scaler, self.generator), **how)


def bits(value):
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().clone().numpy().tobytes()
    return copy.deepcopy(value)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("fault", [None, "nan", "exception", "interrupt"])
def test_everything_is_as_it_was_to_the_bit(kind, fault):
    world = World(kind)
    identities = [id(p) for p in world.model.parameters()], [id(g) for g in world.optimizer.param_groups]
    before, landed = world.state(), []
    try:
        with world.test(weight_decay=0.5) as test:
            while not test.is_over:
                random.random(), np.random.rand()
                world.model.eval() if len(landed) % 2 else world.model.train()
                landed.append(fault)
                if fault in ("exception", "interrupt") and len(landed) == 10:
                    raise RuntimeError("mine") if fault == "exception" else KeyboardInterrupt
                test.step(world.update(poison=fault == "nan" and len(landed) > 9))
            assert world.state() != before
    except (RuntimeError, KeyboardInterrupt) as error:
        assert fault in ("exception", "interrupt"), error
    assert len(landed) >= 10
    assert world.state() == before
    assert identities == ([id(p) for p in world.model.parameters()], [id(g) for g in world.optimizer.param_groups])
    if fault == "nan":
        assert test.is_over
        assert len(test.ramp.losses) == 10
        assert test.ramp.losses[-1] == math.inf


def test_training_goes_on_as_if_there_had_been_no_test():
    tested, plain = World("momentum"), World("momentum")
    torch.manual_seed(5)
    with tested.test() as test:
        test.run(tested.loader)
    ours = [tested.update() for _ in range(5)]
    torch.manual_seed(5)
    assert torch.equal(torch.stack(ours), torch.stack([plain.update() for _ in range(5)]))


def test_groups_keep_their_ratio_and_weight_decay_and_momentum_are_set():
    world = World("momentum")
    with world.test(weight_decay=0.25, momentum=(0.95, 0.8)) as test:
        rates = []
        while not test.is_over:
            first, second = world.optimizer.param_groups
            rates.append((first["lr"], second["lr"] / first["lr"], first["weight_decay"], first["momentum"]))
            test.step(world.update())
    assert rates[0] == pytest.approx((1e-5, 0.1, 0.25, 0.95))
    assert rates[-1][1:3] == pytest.approx((0.1, 0.25))
    assert rates[-1][3] <= 0.95
    assert [rate for rate, *_ in rates] == pytest.approx(test.ramp.rates)


def test_the_whole_test_in_one_call_looks_at_validation_batches():
    world = World("momentum")
    with world.test() as test:
        test.run(world.loader, validation=[samples(50)])
    assert len(test.ramp.looks) >= 20
    assert all(0 <= look.score <= 1 for look in test.ramp.looks)
    assert [look.rate for look in test.ramp.looks] == sorted(look.rate for look in test.ramp.looks)


def test_a_loss_without_classes_has_no_accuracy():
    model = nn.Linear(6, 1)
    x, _ = samples()
    with RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1), low=1e-5, high=10, steps=40) as test:
        test.run([(x, x[:, :1])], loss=nn.functional.mse_loss, validation=[(x, x[:, :1])])
    assert {look.score for look in test.ramp.looks} == {None}
    assert test.advice.verdict == "found"


def test_a_blow_up_ends_it_early_and_a_flat_curve_suggests_nothing():
    model = nn.Linear(6, 3)
    x, y = samples()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with RangeTest(model, optimizer, low=1e-3, high=1e5, steps=200) as wild:
        wild.run([(x, y)])
    assert len(wild.ramp.losses) < 200
    with RangeTest(model, optimizer, low=1e-9, high=1e-8, steps=30) as flat:
        flat.run([(x, y)])
    assert (flat.advice.verdict, flat.advice.suggestions) == ("flat", ())


@pytest.mark.parametrize(("how", "says"), [
    ({"low": 1, "high": 0.1}, "goes from a learning rate above 0 to a higher one, got 1 to 0.1"),
    ({"low": 0}, "above 0"), ({"high": math.inf}, "got 1e-06 to inf"), ({"low": math.nan}, "above 0"),
    ({"steps": 3}, "takes 20 updates or more, got 3"), ({"steps": 40.0}, "20 updates or more"),
    ({"shape": "cubic"}, "the shape is exponential or linear, got 'cubic'"),
])
def test_what_cannot_be_is_refused_at_once(how, says):
    model = nn.Linear(2, 2)
    with pytest.raises(UsageError, match=says):
        RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1), **how)


def test_a_momentum_that_the_optimizer_has_not_is_refused_and_leaves_no_trace():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
    before = copy.deepcopy(optimizer.param_groups[0]), sorted(vars(optimizer))
    with pytest.raises(PolicyError, match="has none to set"):
        RangeTest(model, optimizer, momentum=(0.95, 0.85), weight_decay=0.3).__enter__()
    assert (copy.deepcopy(optimizer.param_groups[0])["weight_decay"], sorted(vars(optimizer))) == (
        before[0]["weight_decay"], before[1])


def test_a_step_outside_of_the_context_and_a_loss_below_0_are_refused():
    model = nn.Linear(2, 2)
    test = RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UsageError, match="a range test is a context"):
        test.step(1.0)
    with test, pytest.raises(UsageError, match="add a constant to it"):
        test.step(-1.0)
    assert test.advice.verdict == "flat"


def test_it_can_be_made_again():
    model = nn.Linear(6, 3)
    test = RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=30)
    found = []
    for _ in range(2):
        with test:
            test.run([samples()])
        found.append(test.ramp)
    assert found[0] == found[1]
    assert found[0].losses


def test_an_empty_loader_is_said():
    model = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="the loader gave no batch"), \
            RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1)) as test:
        test.run([])


def test_looks_change_nothing_of_a_task_s_run():
    trainer = Trainer(CNN, device="cpu")
    spec = RunSpec(CNN, RAMP(k0=1e-5, k1=10, l=99), 100, 0)
    run, looks = train_ramp(trainer, spec)
    plain = trainer.train(spec)
    assert (run.train_losses, run.points, run.score) == (plain.train_losses, plain.points, plain.score)
    assert len(looks) >= 20
    assert isinstance(Ramp("r", (), (), looks).looks[0].score, float)
