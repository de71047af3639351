"""timm: its own models, optimizers, EMA and loss scaler in the loop of its training script, at the policy's LRs."""

import inspect
import subprocess
import sys
import warnings

import pytest
import torch
from torch.nn import functional as F

import lrsearch as lrs
from lrsearch import SchedulerWarning, Task, minimize, parse
from lrsearch.errors import PolicyError, UsageError
from lrsearch.integrations.timm import TimmScheduler
from lrsearch.runs.job import Job
from lrsearch.runs.run import RunSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import timm
    from timm.optim import create_optimizer_v2
    from timm.scheduler.scheduler import Scheduler
    from timm.utils import ModelEmaV3, NativeScaler

POLICIES = [
    parse("WARMUP(policy=HALFCOS(k0=0.003, l=14), l=4)"),
    parse("TRI(k0=0.0001, k1=0.004, l=3)"),
    parse("CM(policy=TRI(k0=0.0001, k1=0.004, l=3), m0=0.95, m1=0.85)"),
    parse("NSTEP(k0=0.002, gamma=0.1, l=[5, 11])"),
]
WARMUP = POLICIES[0]
DRAW = torch.Generator().manual_seed(0)
LOADER = [(torch.randn(4, 1, 16, 16, generator=DRAW), torch.tensor([0, 1, 2, 1])) for _ in range(8)]


def vit() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=12, depth=2, num_heads=2, in_chans=1, num_classes=3
    )


class Training:
    """A model of timm's with its optimizer, and the learning rates of all its updates."""

    def __init__(self, layer_decay: float | None = 0.65, model: torch.nn.Module | None = None) -> None:
        self.model = model or vit()
        self.optimizer = create_optimizer_v2(self.model, opt="adamw", lr=0.5, layer_decay=layer_decay)
        self.ema = ModelEmaV3(self.model, decay=0.9)
        self.used: list[list[float]] = []
        self.optimizer.register_step_pre_hook(
            lambda *_: self.used.append([g["lr"] for g in self.optimizer.param_groups])
        )
        self.scales = [group.get("lr_scale", 1.0) for group in self.optimizer.param_groups]

    def epoch(
        self, epoch: int, scheduler: TimmScheduler, accumulate: int = 1, scaler: NativeScaler | None = None
    ) -> None:
        """An epoch of timm's train.py: the last update of a pass may be of fewer batches."""
        num_updates = epoch * -(-len(LOADER) // accumulate)
        for at, (x, y) in enumerate(LOADER, 1):
            need_update = at % accumulate == 0 or at == len(LOADER)
            loss = F.cross_entropy(self.model(x), y) / accumulate
            if scaler:
                scaler(loss, self.optimizer, parameters=self.model.parameters(), need_update=need_update)
            else:
                loss.backward()
                if need_update:
                    self.optimizer.step()
            if not need_update:
                continue
            num_updates += 1
            self.optimizer.zero_grad()
            self.ema.update(self.model, step=num_updates)
            scheduler.step_update(num_updates=num_updates, metric=loss.item())
        scheduler.step(epoch + 1, 0.5)

    def wanted(self, policy: lrs.Policy, steps: range) -> list[list[float]]:
        return [[policy(t) * scale for scale in self.scales] for t in steps]


def job_of(policy: lrs.Policy, horizon: int, folder=None, objective=None) -> Job:
    task = Task(name="vit", horizon=16, epoch=8, objectives=(objective or minimize("loss"),))
    return Job(RunSpec(task, policy, horizon, seed=0), folder=folder)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("layer_decay", [None, 0.65])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("is_job", [False, True])
def test_each_update_has_the_policys_lr(policy, layer_decay, accumulate, is_job) -> None:
    training, updates = Training(layer_decay), 2 * -(-8 // accumulate)
    source = job_of(policy, updates) if is_job else str(policy)
    scheduler = TimmScheduler(source, training.optimizer)
    for epoch in range(2):
        training.epoch(epoch, scheduler, accumulate)
    assert training.used == training.wanted(policy, range(updates))
    assert len(set(training.scales)) == (1 if layer_decay is None else 4)
    if is_job:
        assert (source.step, source.trained, source.changed, source.skipped) == (updates, updates, None, 0)


def test_the_interface_is_that_of_timm() -> None:
    for name in ("step", "step_update", "load_state_dict"):
        theirs, ours = (inspect.signature(getattr(one, name)).parameters for one in (Scheduler, TimmScheduler))
        assert [(p.name, p.default) for p in theirs.values()] == [(p.name, p.default) for p in ours.values()]
    training = Training()
    assert TimmScheduler(WARMUP, training.optimizer).t_in_epochs is False
    assert TimmScheduler(WARMUP, training.optimizer).optimizer is training.optimizer


@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("has_state", [False, True])
def test_a_resumed_training_goes_on_at_its_update(longer, has_state) -> None:
    first = Training()
    scheduler = TimmScheduler(WARMUP, first.optimizer)
    first.epoch(0, scheduler)
    policy = WARMUP.stretch(2) if longer else WARMUP
    second = Training()
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    resumed = TimmScheduler(policy, second.optimizer)
    if has_state and not longer:
        resumed.load_state_dict(scheduler.state_dict())
    resumed.step_update(1 * len(LOADER))
    second.epoch(1, resumed)
    assert second.used == second.wanted(policy, range(8, 16))
    assert resumed.num_updates == 16


def test_a_job_knows_from_where_it_goes_on(tmp_path) -> None:
    first, job = Training(), job_of(WARMUP, 16, tmp_path)
    first.epoch(0, TimmScheduler(job, first.optimizer))
    again, second = job_of(WARMUP, 16, tmp_path), Training()
    assert again.resumed
    scheduler = TimmScheduler(again, second.optimizer)
    scheduler.step_update(8)
    second.epoch(1, scheduler)
    assert second.used == second.wanted(WARMUP, range(8, 16))
    assert (again.step, again.trained, again.lost) == (16, 8, 0)


def test_an_update_that_the_loss_scaler_skips_counts_as_timm_counts_it() -> None:
    training, scaler = Training(), NativeScaler(device="cpu")
    scaler._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # too large for the first updates
    job = job_of(WARMUP, 16)
    scheduler = TimmScheduler(job, training.optimizer)
    for epoch in range(2):
        training.epoch(epoch, scheduler, scaler=scaler)
    assert 0 < job.skipped == 16 - len(training.used)
    steps = iter(training.wanted(WARMUP, range(16)))
    assert all(lrs in steps for lrs in training.used)  # each update has the LR of its own step, in order


def test_the_lrs_are_those_of_timm_where_the_curve_is_the_same() -> None:
    ours, theirs = Training(), Training()
    theirs_scheduler, _ = timm.scheduler.create_scheduler_v2(
        theirs.optimizer, num_epochs=2, step_on_epochs=False, updates_per_epoch=8
    )
    scheduler = TimmScheduler("HALFCOS(k0=0.5, l=16)", ours.optimizer)
    for epoch in range(2):
        ours.epoch(epoch, scheduler)
        theirs.epoch(epoch, theirs_scheduler)
    assert ours.used == [pytest.approx(lrs_of_update, rel=1e-12) for lrs_of_update in theirs.used]


def test_an_epoch_without_counted_updates_is_refused() -> None:
    scheduler = TimmScheduler(WARMUP, Training().optimizer)
    scheduler.step(0)
    with pytest.raises(
        UsageError, match=r"step\(3\) ends an epoch.*start_epoch \* updates_per_epoch.*sched-on-updates"
    ):
        scheduler.step(3)


def test_updates_that_are_miscounted_are_told() -> None:
    training = Training()
    scheduler, job = TimmScheduler(WARMUP, training.optimizer), TimmScheduler(job_of(WARMUP, 16), Training().optimizer)
    training.optimizer.step()
    scheduler.step_update(4)
    scheduler.step_update(4)
    with pytest.warns(SchedulerWarning, match="went from 4 to 8: .* batches that accumulate count once") as seen:
        scheduler.step_update(8)
    assert seen[0].filename == __file__
    assert training.optimizer.param_groups[-1]["lr"] == WARMUP(8)
    job.step_update(4)
    with pytest.raises(UsageError, match="went from 4 to 8"):
        job.step_update(8)


@pytest.mark.parametrize("bad", [None, "3", -1, 2.5, [1]])
def test_no_number_of_updates_is_refused(bad) -> None:
    scheduler = TimmScheduler(WARMUP, Training().optimizer)
    with pytest.raises(UsageError, match="num_updates is a whole number, 0 or more, got"):
        scheduler.step_update(bad)
    with pytest.raises(UsageError, match="epoch is a whole number, 0 or more, got"):
        scheduler.step(bad)


@pytest.mark.parametrize(
    ("source", "why"),
    [(0.1, "from a policy"), ("cosine", "cosine"), ("FIX(k0=-1)", "k0"), ("LINEAR(k0=0.1, l=3ep)", "bind")],
)
def test_what_is_no_policy_is_refused(source, why) -> None:
    with pytest.raises(PolicyError, match=why):
        TimmScheduler(source, Training().optimizer)


def test_arguments_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(PolicyError, match="from a policy, its text or a job, got an object of type AdamW"):
        TimmScheduler(Training().optimizer, WARMUP)
    with pytest.raises(UsageError, match="takes the optimizer second, got an object of type VisionTransformer"):
        TimmScheduler(WARMUP, vit())


@pytest.mark.parametrize("maximize", [False, True])
def test_a_controller_learns_from_the_metric_of_an_epoch(maximize) -> None:
    training = Training(None)
    plateau = parse("PLATEAU(k0=0.1, gamma=0.1, patience=0)")
    scheduler = TimmScheduler(plateau, training.optimizer, maximize=maximize)
    lr_after = []
    for epoch, metric in enumerate([1.0, 2.0, 3.0, None, 1.0], 1):
        scheduler.step_update(epoch)
        scheduler.step(epoch, metric)
        lr_after.append(training.optimizer.param_groups[0]["lr"])
    falls = [0, 0, 0, 0, 1] if maximize else [0, 1, 2, 2, 3]
    assert lr_after == pytest.approx([0.1 * 0.1**fall for fall in falls])
    resumed = TimmScheduler(plateau, Training(None).optimizer)
    with pytest.raises(PolicyError, match=r"load its state.*before step_update\(5\)"):
        resumed.step_update(5)
    resumed.load_state_dict(scheduler.state_dict())
    resumed.step_update(5)
    assert resumed.optimizer.param_groups[0]["lr"] == lr_after[-1]


def small(job: lrs.Job) -> None:
    """A small network in a loop of timm's form."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    optimizer = create_optimizer_v2(model, opt="sgd", lr=1.0)
    scheduler = TimmScheduler(job, optimizer)
    for num_updates, (x, y) in enumerate(job.batches(LOADER), 1):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step_update(num_updates, metric=loss)
        if job.is_evaluation_due():
            scheduler.step(num_updates // 8, F.cross_entropy(model(LOADER[0][0]), LOADER[0][1]))


TASK = lrs.task("small", horizon=64, epoch=8, minimize="val_loss")(small)


def test_a_job_logs_both_metrics() -> None:
    run = lrs.train(TASK, "TRI(k0=0.001, k1=0.01, l=8)")
    assert (run.state, run.applied, run.steps, len(run.train_losses)) == ("finished", "yes", 64, 64)
    assert [point.step for point in run.points] == list(range(8, 65, 8))
    assert run.score == run.points[-1].score


RANKS = """
import os, torch, timm
from timm.optim import create_optimizer_v2
import lrsearch as lrs
from lrsearch.integrations.timm import TimmScheduler
torch.distributed.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))
optimizer = create_optimizer_v2(model, opt="sgd", lr=1.0)
policy, used = lrs.parse("TRI(k0=0.01, k1=0.1, l=3)"), []
optimizer.register_step_pre_hook(lambda *_: used.append(optimizer.param_groups[0]["lr"]))
scheduler = TimmScheduler(policy, optimizer)
for num_updates in range(1, 13):
    optimizer.zero_grad()
    model(torch.randn(2, 4)).square().mean().backward()
    optimizer.step()
    scheduler.step_update(num_updates)
assert used == [policy(t) for t in range(12)], used
os.write(1, f"rank {os.environ['RANK']} has the LRs\\n".encode())  # in one piece, as two ranks share the output
"""


@pytest.mark.adapters
def test_two_ranks_have_the_policys_lrs(tmp_path) -> None:
    (tmp_path / "ranks.py").write_text(RANKS)
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ranks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(ended.stdout.split("\n"))[1:] == ["rank 0 has the LRs", "rank 1 has the LRs"], ended.stderr
