"""Runs that train together are the runs that train alone."""

import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import ASLR, CM, FIX, HALFCOS, ONECYCLE, STEP, TRI, parse
from lrsearch.tasks import SGD, Adam, Classification, Split, Splits, find_task
from lrsearch.tasks.cifar import CropFlip
from lrsearch.tasks.models import digits_cnn
from lrsearch.training import Trainer
from lrsearch.training.lockstep import _LockstepRuns, iter_lockstep, run_lockstep, train_lockstep, why_not
from lrsearch.training.loop import batches
from lrsearch.training.stacked_models import StackedModels

STEPS = 40
MLP = find_task("digits-mlp")
POLICIES = [
    HALFCOS(k0=0.1, l=STEPS),
    STEP(k0=0.05, gamma=0.3, l=15),
    TRI(k0=0.001, k1=0.2, l=7),
    CM(policy=ONECYCLE(k0=0.02, k1=0.2, l=[15, 30, 40], k2=0.001), m0=0.95, m1=0.7),
]


def noise(dtype: torch.dtype, folder: Path | None) -> Splits:
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        y = torch.tensor(rng.integers(0, 10, n))
        return Split(torch.tensor(rng.normal(size=(n, 1, 8, 8)) + y.numpy()[:, None, None, None] / 5, dtype=dtype), y)

    return Splits(split(300), split(100), split(10), digest="noise")


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def task(build, dtype=torch.float64, **changes) -> Classification:
    given = {
        "name": "noise",
        "data": "noise",
        "model": "m",
        "classes": 10,
        "shape": (1, 8, 8),
        "train_size": 300,
        "validation_size": 100,
        "batch_size": 20,
        "horizon": STEPS,
        "optimizer": SGD(momentum=0.9),
        "load": partial(noise, dtype),
        "build": lambda: build().to(dtype),
    }
    return Classification(**given | changes)


def specs(of: Classification, seeds=(0,), policies=POLICIES, steps=STEPS) -> list[RunSpec]:
    return [RunSpec(of, policy, steps, seed) for seed in seeds for policy in policies]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize(
    ("build", "optimizer", "augment"),
    [
        (flat, SGD(momentum=0.9), None),
        (flat, SGD(momentum=0.9, nesterov=True, weight_decay=0.01), None),
        (flat, SGD(momentum=0, weight_decay=0), None),
        (digits_cnn, SGD(), None),
        (normed, SGD(), None),
        (flat, SGD(), CropFlip()),
    ],
)
def test_in_double_precision_runs_in_lockstep_have_the_logs_of_single_runs(build, optimizer, augment, seeds):
    trainer = Trainer(task(build, optimizer=optimizer, augment=augment), device="cpu")
    wanted = specs(trainer.task, seeds, POLICIES[:3] if optimizer.momentum == 0 else POLICIES)
    assert why_not(trainer, wanted) is None
    for one, many in zip([trainer.train(spec) for spec in wanted], run_lockstep(trainer, wanted), strict=True):
        assert many.state is one.state is RunState.FINISHED
        # losses are noted in float32; equal to its last digit says equal far below it
        assert many.train_losses == pytest.approx(one.train_losses, rel=3e-7)
        assert [(p.step, p.score) for p in many.points] == [(p.step, p.score) for p in one.points]
        assert [p.loss for p in many.points] == pytest.approx([p.loss for p in one.points], rel=1e-6)


class Partial(nn.Module):
    """A model with a frozen layer, and one that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.unused = nn.Linear(64, 16), nn.Linear(16, 10), nn.Linear(3, 3)
        self.one.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x.flatten(1)).relu())


RESTING = CM(policy=ONECYCLE(k0=0.02, k1=0.2, l=[15, 30, 40], k2=0.001), m0=0, m1=0.9)


@pytest.mark.parametrize("build", [flat, digits_cnn, normed, Partial])
@pytest.mark.parametrize("optimizer", [SGD(), SGD(nesterov=True, weight_decay=0.01)], ids=lambda o: o.summary)
def test_weights_agree_to_1e_12_in_double_precision(build, optimizer):
    trainer = Trainer(task(build, optimizer=optimizer), device="cpu")
    policies = POLICIES if optimizer.nesterov else [*POLICIES, RESTING]  # torch's Nesterov refuses a momentum of 0
    wanted = specs(trainer.task, (0, 1), policies)
    assert why_not(trainer, wanted) is None
    together = _LockstepRuns(trainer, wanted, lambda step: None)
    assert {run.state for _, run in together.run()} == {RunState.FINISHED}
    for row, spec in enumerate(wanted):
        model = trainer.new_model(spec.seed)
        optimizer = trainer.task.optimizer.build(model)
        scheduler = spec.policy.scheduler(optimizer)
        order = batches(300, 20, spec.seed, torch.device("cpu"))
        for _ in range(STEPS):
            batch = next(order)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(trainer.train_split.x[batch]), trainer.train_split.y[batch]).backward()
            optimizer.step()
            scheduler.step()
        for name, p in model.named_parameters():
            ours = together.rows.parameters[name][row]
            assert torch.linalg.norm(ours - p) <= 1e-12 * torch.linalg.norm(p), (name, spec.policy)


def test_in_single_precision_losses_stay_close_over_hundreds_of_steps():
    trainer = Trainer(MLP, device="cpu")
    wanted = [RunSpec(MLP, HALFCOS(k0=k, l=320), 320, seed) for k in (0.02, 0.1) for seed in (0, 1)]
    for one, many in zip([trainer.train(spec) for spec in wanted], run_lockstep(trainer, wanted), strict=True):
        assert many.loss == pytest.approx(one.loss, rel=1e-3)
        assert many.score == pytest.approx(one.score, abs=2 / 384)
        assert many.metrics.keys() == one.metrics.keys()
        assert many.metrics["end"]["ac"] == pytest.approx(one.metrics["end"]["ac"], rel=1e-3)


@pytest.mark.parametrize("build", [flat, digits_cnn, normed])
def test_a_run_that_blows_up_leaves_its_neighbours_alone_to_the_bit(build):
    trainer = Trainer(task(build, torch.float32), device="cpu")
    sane = [HALFCOS(k0=0.05, l=STEPS), FIX(k0=0.01)]
    wild = run_lockstep(trainer, specs(trainer.task, policies=[sane[0], FIX(k0=1e6), sane[1]]))
    calm = run_lockstep(trainer, specs(trainer.task, policies=[sane[0], FIX(k0=0.02), sane[1]]))
    assert [run.state for run in wild] == [RunState.FINISHED, RunState.DIVERGED, RunState.FINISHED]
    assert wild[1].steps < STEPS
    for one, other in ((wild[0], calm[0]), (wild[2], calm[2])):
        assert replace(one, seconds=0) == replace(other, seconds=0)


@pytest.mark.parametrize("build", [flat, digits_cnn, normed])
def test_a_run_is_the_same_bits_in_any_company(build):
    trainer = Trainer(task(build, torch.float32), device="cpu")
    wanted = specs(trainer.task)
    all_four = run_lockstep(trainer, wanted)
    alone = [run for spec in wanted for run in run_lockstep(trainer, [spec])]
    pairs = run_lockstep(trainer, wanted[:2]) + run_lockstep(trainer, wanted[2:])
    wild = specs(trainer.task, policies=[FIX(k0=1e6), FIX(k0=9e5)])
    beside_wild = [run_lockstep(trainer, [spec, *wild])[0] for spec in wanted]
    for found in (alone, pairs, beside_wild):
        assert [replace(run, seconds=0) for run in found] == [replace(run, seconds=0) for run in all_four]


@pytest.mark.parametrize("build", [flat, normed])
def test_weights_of_full_runs_are_kept(build, tmp_path):
    trainer = Trainer(task(build, torch.float32), device="cpu")
    wanted = [*specs(trainer.task), RunSpec(trainer.task, FIX(k0=1e6), STEPS, 0)]
    runs = run_lockstep(trainer, wanted, folder=tmp_path)
    assert {path.name for path in tmp_path.glob("*.*")} == {f"{spec.key}.pt" for spec in wanted[:-1]}
    for spec, run in list(zip(wanted, runs, strict=True))[:-1]:
        scores = trainer.predict(tmp_path / f"{spec.key}.pt", trainer.validation)
        assert float((scores.argmax(1) == trainer.validation.y).double().mean()) == pytest.approx(run.score)
    run_lockstep(trainer, specs(trainer.task, steps=STEPS // 2, policies=[FIX(k0=0.1)]), folder=tmp_path / "short")
    assert not list((tmp_path / "short").glob("*.*"))


def test_all_may_blow_up():
    trainer = Trainer(task(flat, torch.float32), device="cpu")
    runs = run_lockstep(trainer, specs(trainer.task, policies=[FIX(k0=1e6), FIX(k0=9e5)]))
    assert [run.state for run in runs] == [RunState.DIVERGED] * 2


class Counting(nn.Module):
    """A model that looks at its numbers, which no map over rows can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] * (2.0 if x.sum().item() > 0 else 1.0)


@pytest.mark.parametrize(
    ("of", "policies", "says"),
    [
        (replace(MLP, optimizer=Adam()), POLICIES[:2], "its optimizer is Adam"),
        (MLP, [ASLR(k0=0.1), FIX(k0=0.1)], "a controller's learning rate follows"),
        (
            task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), Counting()), torch.float32),
            POLICIES[:2],
            "its model cannot be mapped over rows: ",
        ),
        (
            task(
                lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 10)),
                torch.float32,
            ),
            POLICIES[:2],
            "its model cannot be mapped over rows: ",
        ),
    ],
)
def test_unsupported_runs_train_one_by_one_and_the_reason_is_known(of, policies, says):
    trainer = Trainer(of, device="cpu")
    wanted = specs(of, policies=policies)
    assert why_not(trainer, wanted).startswith(says)
    for one, many in zip([trainer.train(spec) for spec in wanted], run_lockstep(trainer, wanted), strict=True):
        assert replace(one, seconds=0) == replace(many, seconds=0)


def test_runs_of_several_lengths_do_not_train_in_lockstep():
    trainer = Trainer(MLP, device="cpu")
    wanted = [RunSpec(MLP, FIX(k0=0.1), 20, 0), RunSpec(MLP, FIX(k0=0.1), 30, 0)]
    assert "several lengths" in why_not(trainer, wanted)
    assert [run.steps for run in run_lockstep(trainer, wanted)] == [20, 30]


def test_an_interrupt_ends_every_run_that_was_open(monkeypatch):
    trainer = Trainer(task(flat, torch.float32), device="cpu")

    def interrupt(step: int) -> None:
        if step >= 25:
            raise KeyboardInterrupt

    runs = run_lockstep(trainer, specs(trainer.task), interrupt)
    assert [(run.state, run.steps) for run in runs] == [(RunState.INTERRUPTED, 25)] * len(POLICIES)


def test_an_interrupt_ends_the_runs_that_are_trained_one_by_one():
    trainer = Trainer(replace(MLP, optimizer=Adam()), device="cpu")

    def interrupt(step: int) -> None:
        if step >= 25:
            raise KeyboardInterrupt

    runs = run_lockstep(trainer, specs(trainer.task), interrupt)
    assert [(run.state, run.steps) for run in runs] == [(RunState.INTERRUPTED, n) for n in (25, 0, 0, 0)]


def test_every_policy_is_trained_with_every_seed_at_the_task_s_length():
    waiting = parse("LINEAR(k0=0.1, l=1dur)")
    runs = train_lockstep(MLP, [waiting, FIX(k0=0.01)], [3, 4], horizon=64, device="cpu")
    trainer = Trainer(MLP, device="cpu")
    wanted = [RunSpec(MLP, policy, 64, seed) for policy in (waiting.bind(horizon=64), FIX(k0=0.01)) for seed in (3, 4)]
    assert [run.loss for run in runs] == pytest.approx([trainer.train(spec).loss for spec in wanted], rel=1e-4)
    assert len({run.loss for run in runs}) == 4


def cpu_fails() -> None:
    """Ask a CPU's allocator for what no machine has: it refuses at once, and nothing is exhausted."""
    torch.empty(2**60, dtype=torch.uint8)


def cuda_fails() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def python_fails() -> None:
    raise MemoryError


class Memory:
    """Memory that bears so many rows: beyond them an update fails, from some step of a group on."""

    def __init__(self, monkeypatch, bears: int, fails=cpu_fails, from_step: int = 0) -> None:
        self.landed: list[int] = []
        self.held: list[weakref.ref] = []
        forward, updates = StackedModels.forward, weakref.WeakKeyDictionary()

        def limited(rows: StackedModels, x: torch.Tensor, *, shared: bool) -> torch.Tensor:
            parameters = next(iter(rows.parameters.values()))
            count = len(parameters)
            updates[rows.template] = updates.get(rows.template, 0) + 1
            if updates[rows.template] == 1:  # a group begins
                self.expect_free()
            if count > bears and updates[rows.template] > from_step:
                self.landed.append(count)
                self.held.append(weakref.ref(parameters))
                fails()
            return forward(rows, x, shared=shared)

        monkeypatch.setattr(StackedModels, "forward", limited)

    def expect_free(self) -> None:
        """Expect that nothing is held any more of the groups that failed."""
        assert [ref() for ref in self.held] == [None] * len(self.held)


@pytest.mark.parametrize("fails", [cpu_fails, cuda_fails, python_fails])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("build", [flat, digits_cnn, normed])
def test_where_memory_runs_out_runs_train_in_fewer_rows_and_are_the_same_bits(build, seeds, fails, monkeypatch, caplog):
    trainer = Trainer(task(build, torch.float32), device="cpu")
    wanted = specs(trainer.task, seeds, [*POLICIES, FIX(k0=0.02), FIX(k0=0.03), FIX(k0=0.04)])
    roomy = run_lockstep(trainer, wanted)
    memory = Memory(monkeypatch, 3, fails)
    cramped = run_lockstep(trainer, wanted)
    assert memory.landed == ([7, 4] if len(seeds) == 1 else [14, 7, 4])
    assert [replace(run, seconds=0) for run in cramped] == [replace(run, seconds=0) for run in roomy]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"noise: memory ran out at step 0 of {len(wanted)} runs in lockstep: those that have not ended"
        " begin anew, half as many at a time"
    ]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_two_rows_do_not_fit_into_trains_one_by_one(count, monkeypatch):
    trainer = Trainer(task(flat, torch.float32), device="cpu")
    wanted = specs(trainer.task, policies=POLICIES[:count])
    alone = [trainer.train(spec) for spec in wanted]
    memory, train = Memory(monkeypatch, 1), trainer.train

    def in_free_memory(*given) -> Run:
        memory.expect_free()
        return train(*given)

    monkeypatch.setattr(trainer, "train", in_free_memory)
    monkeypatch.setattr("lrsearch.training.lockstep.why_not", lambda trainer, specs: None)
    found = run_lockstep(trainer, wanted)
    assert memory.landed == {1: [2], 2: [2], 3: [3, 2]}[count]
    assert [replace(run, seconds=0) for run in found] == [replace(run, seconds=0) for run in alone]


def test_what_ended_before_memory_ran_out_stays_and_is_told_once(monkeypatch, tmp_path):
    trainer = Trainer(task(flat, torch.float32), device="cpu")
    wanted = specs(trainer.task, policies=[*POLICIES, FIX(k0=1e6)])
    roomy = run_lockstep(trainer, wanted)
    memory, told = Memory(monkeypatch, 3, from_step=30), []
    for n, run in iter_lockstep(trainer, wanted, folder=tmp_path):
        told.append((n, replace(run, seconds=0, lost=0)))
        assert run.lost == (0 if n == 4 else 30)  # what was trained before memory ran out
    assert memory.landed == [4]  # the fifth had blown up
    assert told[0][0] == 4
    assert sorted(told, key=lambda one: one[0]) == [(n, replace(run, seconds=0)) for n, run in enumerate(roomy)]
    assert len(list(tmp_path.glob("*.pt"))) == len(POLICIES)


def test_an_interrupt_after_memory_ran_out_ends_those_that_wait_as_well(monkeypatch):
    trainer = Trainer(task(flat, torch.float32), device="cpu")
    memory, interrupts = Memory(monkeypatch, 2), []

    def interrupt(step: int) -> None:
        if not interrupts:
            interrupts.append(step)
            raise KeyboardInterrupt

    runs = run_lockstep(trainer, specs(trainer.task), interrupt)
    assert memory.landed == [4]
    assert [(run.state, run.steps) for run in runs] == [(RunState.INTERRUPTED, n) for n in (25, 25, 0, 0)]


def test_another_error_fails_the_runs_and_nothing_begins_anew(monkeypatch):
    trainer = Trainer(task(flat, torch.float32), device="cpu")

    def other() -> None:
        raise RuntimeError("the weather")

    memory = Memory(monkeypatch, 3, other)
    runs = run_lockstep(trainer, specs(trainer.task))
    assert memory.landed == [4]
    assert [(run.state, run.error) for run in runs] == [(RunState.FAILED, "RuntimeError: the weather")] * len(POLICIES)
