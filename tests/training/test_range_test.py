"""The LR range test on any loop: nothing of it remains, and what it shows is right."""

import copy
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lrsearch as lrs
from lrsearch.errors import PolicyError, UsageError
from lrsearch.heuristics import Ramp
from lrsearch.heuristics.evidence import FIRST_RULES
from lrsearch.heuristics.range_test import read_ramp
from lrsearch.runs import RunSpec
from lrsearch.schedules import RAMP
from lrsearch.tasks import find_task
from lrsearch.training import Trainer
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
            [
                {name: bits(value) for name, value in optimizer.state[p].items()}
                for p in model.parameters()
                if p in optimizer.state
            ],
            [
                {name: bits(value) for name, value in group.items() if name != "params"}
                for group in optimizer.param_groups
            ],
            sorted(vars(optimizer)),
            optimizer.step.__func__ if hasattr(optimizer.step, "__func__") else None,
            [repr(one.state_dict()) for one in self.schedulers],
            repr(self.scaler.state_dict()),
            bits(self.generator.get_state()),
            bits(torch.get_rng_state()),
            random.getstate(),
            bits(torch.from_numpy(np.random.get_state()[1].copy())),
        ]

    def test(self, **how) -> RangeTest:
        return lrs.range_test(
            self.model,
            self.optimizer,
            low=1e-5,
            high=10,
            steps=40,
            also=(*self.schedulers, self.scaler, self.generator),
            **how,
        )


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
        assert len(test.ramp.losses) == 12
        assert test.ramp.losses[-3:] == (math.inf,) * 3


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
    assert [lr for lr, *_ in rates] == pytest.approx(test.ramp.lrs)


def test_the_whole_test_in_one_call_evaluates_validation_batches():
    world = World("momentum")
    with world.test() as test:
        test.run(world.loader, validation=[samples(50)])
    assert len(test.ramp.evaluations) >= 20
    assert all(0 <= one.score <= 1 for one in test.ramp.evaluations)
    assert [one.lr for one in test.ramp.evaluations] == sorted(one.lr for one in test.ramp.evaluations)


def test_a_loss_without_classes_has_no_accuracy():
    model = nn.Linear(6, 1)
    x, _ = samples()
    with RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1), low=1e-5, high=10, steps=40) as test:
        test.run([(x, x[:, :1])], loss=nn.functional.mse_loss, validation=[(x, x[:, :1])])
    assert {one.score for one in test.ramp.evaluations} == {None}
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


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"low": 1, "high": 0.1}, "goes from a learning rate above 0 to a higher one, got 1 to 0.1"),
        ({"low": 0}, "above 0"),
        ({"high": math.inf}, "got 1e-06 to inf"),
        ({"low": math.nan}, "above 0"),
        ({"steps": 3}, "takes 20 updates or more, got 3"),
        ({"steps": 40.0}, "20 updates or more"),
        ({"shape": "cubic"}, "the shape is exponential or linear, got 'cubic'"),
    ],
)
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
        before[0]["weight_decay"],
        before[1],
    )


@pytest.mark.parametrize(
    ("loss", "says"),
    [(torch.ones(3), r"got a tensor of shape \(3,\)"), ("2.3", "got '2.3'"), (None, "got None"), (True, "got True")],
)
def test_a_step_outside_of_the_context_and_a_loss_that_is_not_one_number_are_refused(loss, says):
    model = nn.Linear(2, 2)
    test = RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UsageError, match="a range test is a context"):
        test.step(1.0)
    with test, pytest.raises(UsageError, match=says):
        test.step(loss)
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
    with (
        pytest.raises(UsageError, match="the loader gave no batch"),
        RangeTest(model, torch.optim.SGD(model.parameters(), lr=0.1)) as test,
    ):
        test.run([])


def test_evaluations_change_nothing_of_a_tasks_run():
    trainer = Trainer(CNN, device="cpu")
    spec = RunSpec(CNN, RAMP(k0=1e-5, k1=10, l=99), 100, 0)
    run, evaluations = train_ramp(trainer, spec)
    plain = trainer.train(spec)
    assert (run.train_losses, run.points, run.score) == (plain.train_losses, plain.points, plain.score)
    assert len(evaluations) >= 20
    assert isinstance(Ramp("r", (), (), evaluations).evaluations[0].score, float)


def reported(losses, low=1e-5, high=10.0, steps=300):
    """A test in whose loop nothing is trained: the loss is a function of the update and its learning rate."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with RangeTest(model, optimizer, low=low, high=high, steps=steps) as test:
        update = 0
        while not test.is_over:
            update += 1
            optimizer.step()
            test.step(losses(update, optimizer.param_groups[0]["lr"]))
    return test


def sigmoid_fall(lr):
    return 2.3 - 2 / (1 + math.exp(-4 * (math.log10(lr) + 2))) + max(0.0, (lr / 0.5) ** 3 - 1)


@pytest.mark.parametrize("first", [None, math.inf, math.nan, 230.0, 1e9])
def test_an_absurd_loss_at_the_first_update_moves_nothing_and_is_told(first):
    test = reported(lambda update, lr: first if update == 1 and first is not None else sigmoid_fall(lr))
    assert test.advice.verdict == "found"
    assert abs(math.log10(test.advice.default.lr / 0.127)) < 0.1
    assert 200 < len(test.ramp.losses) < 300
    assert test.advice.notes == (
        ()
        if first is None
        else (
            f"1 of {len(test.ramp.losses)} losses before the lowest are not finite or far outside of the others and"
            " were left out (number 1)",
        )
    )


def test_losses_that_are_absurd_again_and_again_are_told_and_end_nothing():
    test = reported(lambda update, lr: math.nan if update in (1, 50, 51, 150) else sigmoid_fall(lr))
    assert abs(math.log10(test.advice.default.lr / 0.127)) < 0.1
    assert "4 of" in test.advice.notes[0]
    assert test.advice.notes[0].endswith("(number 1, 50, 51, 150)")


def test_losses_that_stay_infinite_end_it_at_once():
    test = reported(lambda update, lr: math.nan if lr > 0.3 else sigmoid_fall(lr))
    assert sum(lr > 0.3 for lr in test.ramp.lrs) == 3
    assert test.advice.verdict == "found"


@pytest.mark.parametrize("high", [1e-2, 0.1])
def test_a_range_that_ends_before_the_loss_turns_is_an_edge(high):
    advice = reported(lambda update, lr: sigmoid_fall(lr), high=high).advice
    assert (advice.verdict, advice.edge, advice.default) == ("edge", "high", None)


def test_a_negative_loss_is_read_like_any_other():
    below = reported(lambda update, lr: sigmoid_fall(lr) - 3)
    assert abs(math.log10(below.advice.default.lr / 0.127)) < 0.1
    assert below.ramp.lrs[-1] < 1


@pytest.mark.parametrize("seed", range(4))
def test_the_noise_of_a_squared_error_is_no_bottom(seed):
    torch.manual_seed(seed)
    x = torch.randn(2000, 20)
    y = (x @ torch.randn(20) + x[:, 0] * x[:, 1] + torch.randn(2000))[:, None]
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    with RangeTest(model, optimizer, low=1e-6, high=10, steps=100) as test:
        test.run(DataLoader(TensorDataset(x, y), 32, shuffle=True), loss=nn.functional.mse_loss)
    assert test.advice.verdict == "found"
    assert 0.02 < test.advice.default.lr < 0.3
    assert 80 <= len(test.ramp.losses) < 100


def test_the_mark_of_a_small_convolutional_net_is_where_its_loss_is_back_at_its_start():
    trainer = Trainer(CNN, device="cpu")
    run, _ = train_ramp(trainer, RunSpec(CNN, RAMP(k0=1e-6, k1=10, l=299), 300, 0))
    spec = RunSpec(CNN, RAMP(k0=1e-6, k1=10, l=299), 300, 0)
    rates = tuple(spec.policy((np.arange(len(run.train_losses)) + 0.5) * run.stride).tolist())
    curve = Ramp("digits-cnn", rates, tuple(math.inf if loss is None else loss for loss in run.train_losses))
    now, before = read_ramp(curve), read_ramp(curve, FIRST_RULES)
    assert now.optimum == before.optimum
    assert 0.3 < now.blown_up < 0.5 < before.blown_up
    assert now.smoothed[rates.index(now.blown_up)] > np.mean(now.smoothed[:15])


def test_a_scheduler_that_is_left_on_in_the_loop_is_found_out():
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    mine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1.0)
    x, y = samples()
    with (
        pytest.raises(
            UsageError,
            match=r"update 2 was not made at the learning rate of the range test \(on this rank:"
            r" 1.0\d*e-05 was set, 0.01 is there\). Something else sets it",
        ),
        RangeTest(model, optimizer, low=1e-5, high=10, steps=300, also=[mine]) as test,
    ):
        while not test.is_over:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            test.step(loss)
            mine.step()
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert len(test.ramp.losses) == 1


PLAIN = torch.zeros(4, 6), torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([dict(zip("xy", PLAIN, strict=True))], "got a dict of 2: make the loop yourself"),
        ([(*PLAIN, PLAIN[0])], "got a tuple of 3: make the loop yourself"),
        ([PLAIN[0]], "got a Tensor: make the loop yourself"),
        ([(PLAIN[0], [0, 1])], r"batches of two tensors, \(inputs, labels\), and got a tuple of 2"),
        ([{"x"}], "got a set"),
        (iter([PLAIN] * 5), "the loader is an iterator that ended after update 5 of 40"),
        (iter([]), "ended after update 0 of 40"),
    ],
)
def test_batches_that_run_cannot_take_are_refused_with_what_would_do_and_leave_no_trace(batches, says):
    world = World("momentum")
    before = world.state()
    with pytest.raises(UsageError, match=says), world.test() as test:
        test.run(batches)
    assert world.state() == before


def test_a_validation_batch_that_is_no_pair_is_refused_too():
    world = World("momentum")
    with pytest.raises(UsageError, match="got a tuple of 3"), world.test() as test:
        test.run(world.loader, validation=[(*PLAIN, PLAIN[0])])


def test_a_loss_that_is_no_mean_is_refused():
    world = World("momentum")
    with (
        pytest.raises(UsageError, match=r"one number, a mean over the batch, got a tensor of shape \(20,\)"),
        world.test() as test,
    ):
        test.run(world.loader, loss=nn.CrossEntropyLoss(reduction="none"))


def test_an_optimizer_that_wants_a_closure_is_refused_by_run_and_served_by_a_loop_of_ones_own():
    model = nn.Linear(6, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1)
    x, y = samples()
    before = copy.deepcopy(model.state_dict())
    with RangeTest(model, optimizer, low=1e-5, high=10, steps=40) as test:
        with pytest.raises(UsageError, match=r"LBFGS.step wants a closure.*optimizer.step\(closure\)"):
            test.run([(x, y)])

        def closure():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        while not test.is_over:
            test.step(optimizer.step(closure))
    assert len(test.ramp.losses) >= 10
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not optimizer.state


def test_a_lazy_module_is_refused_before_it_has_seen_a_batch():
    model = nn.Sequential(nn.LazyLinear(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match="weight of the model has no shape yet"):
        RangeTest(model, optimizer)
    model(samples()[0])
    assert RangeTest(model, optimizer).steps == 300


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"model": lambda x: x}, "takes a torch.nn.Module first, got function"),
        ({"optimizer": "sgd"}, "takes a torch optimizer second, got str"),
        ({"also": [3]}, r"takes what has state_dict\(\) and load_state_dict\(\), or a torch.Generator, got int"),
        ({"low": "1e-5"}, "got '1e-5' to 10.0"),
        ({"high": True}, "to True"),
    ],
)
def test_what_is_no_model_optimizer_or_number_is_refused_at_once(how, says):
    model = nn.Linear(2, 2)
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), **how}
    with pytest.raises(UsageError, match=says):
        RangeTest(given.pop("model"), given.pop("optimizer"), **given)


def change_gradients(model):
    for parameter in model.parameters():
        parameter.requires_grad_(not parameter.requires_grad)


def change_type(model):
    model.double()


def change_parts(model):
    model.extra = nn.Linear(2, 2)
    model.head = nn.Linear(8, 3)
    model.body[0].register_parameter("gain", nn.Parameter(torch.ones(3)))


def change_attributes(model):
    model.body[3].p = 0.9
    model.calls = 7
    model.body.eval()


@pytest.mark.parametrize("change", [change_gradients, change_type, change_parts, change_attributes])
def test_what_a_loop_changes_of_the_model_itself_is_put_back(change):
    world = World("momentum")
    world.model.body[0].bias.requires_grad_(False)

    def shape():
        return [
            [
                (name, id(p), p.requires_grad, p.dtype, bits(p), p.data_ptr())
                for name, p in world.model.named_parameters()
            ],
            [name for name, _ in world.model.named_modules()],
            [(name, b.dtype) for name, b in world.model.named_buffers()],
            [
                {name: value for name, value in vars(module).items() if isinstance(value, bool | int | float | str)}
                for module in world.model.modules()
            ],
        ]

    before, state = shape(), world.state()
    with world.test() as test:
        test.step(world.update())
        change(world.model)
        assert shape() != before
    assert shape() == before
    assert world.state() == state


def test_two_ranks_read_one_test_and_end_it_at_the_same_update(tmp_path):
    script = Path(__file__).with_name("range_test_of_a_rank.py")
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), "2", str(tmp_path / "meeting")],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    ended = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    first, second = (json.loads(out) for out, _ in ended)
    refused = first.pop("refused"), second.pop("refused")
    assert first == second
    assert first["advice"]["verdict"] == "found"
    assert len(first["losses"]) < 60
    assert first["evaluations"] > 20
    assert first["plateau"] == [0.4, 0.4, 0.2, 0.1]
    assert "update 1 was not made at the learning rate of the range test (on another rank)" in refused[0]
    assert "(on this rank: 1e-05 was set, 0.5 is there)" in refused[1]
