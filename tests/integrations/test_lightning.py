"""Policies in Lightning's own training: the LR of each update is the policy's, exactly."""

import contextlib
import warnings

import lightning as L
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, TensorDataset

from lrsearch import SchedulerWarning, parse
from lrsearch.errors import PolicyError, UsageError
from lrsearch.integrations.lightning import PolicyCallback
from lrsearch.schedules.torch import PolicyScheduler

POLICY = parse("WARMUP(policy=HALFCOS(k0=0.1, l=16), l=4)")
LONGER = parse("WARMUP(policy=HALFCOS(k0=0.1, l=36), l=4)")
BATCHES = 10
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch"),
]


def batches(size: int = 1) -> DataLoader:
    x = torch.randn(BATCHES * size, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=size)


class RecordingSGD(torch.optim.SGD):
    """Records the LRs of the groups at each update, after all hooks."""

    def __init__(self, used, groups, **options) -> None:
        super().__init__(groups, **options)
        self.used = used

    def step(self, closure=None):
        self.used.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


class Module(L.LightningModule):
    """Two layers, whose LRs are 1 : 0.25."""

    def __init__(self, lrs=(1.0, 0.25), scheduler=None) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 1) for _ in lrs)
        self.lrs, self.scheduler, self.used = lrs, scheduler, []

    def groups(self):
        return [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(self.layers, self.lrs, strict=True)]

    def loss(self, batch):
        return torch.nn.functional.mse_loss(sum(layer(batch[0]) for layer in self.layers), batch[1])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        optimizer = RecordingSGD(self.used, self.groups(), lr=1.0, momentum=0.9)
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


class Adversaries(Module):
    """Two optimizers, 1 : 4; the second makes `rounds` updates a batch. Both record into `used` by name."""

    def __init__(self, rounds=1, every=1, scheduler=None) -> None:
        super().__init__((1.0, 0.25), scheduler)
        self.automatic_optimization = False
        self.rounds, self.every, self.seen = rounds, every, {"g": [], "d": []}

    def training_step(self, batch, batch_idx):
        generator, critic = self.optimizers()
        for optimizer in [critic] * self.rounds + [generator]:
            loss = self.loss(batch) / self.every
            self.manual_backward(loss)
            if (batch_idx + 1) % self.every == 0:
                optimizer.step()
                optimizer.zero_grad()
        self.log("train_loss", loss)
        if self.scheduler is not None:
            self.lr_schedulers().step()

    def configure_optimizers(self):
        made = [RecordingSGD(used, [group]) for used, group in zip(self.seen.values(), self.groups(), strict=True)]
        return made if self.scheduler is None else (made, [self.scheduler(made[0])])


def fit(module, callback, *, ckpt_path=None, loader=None, trainer=L.Trainer, callbacks=(), **options):
    made = trainer(**{**QUIET, "max_epochs": 2, **options}, callbacks=[callback, *callbacks])
    made.fit(module, loader or batches(), batches(), ckpt_path=ckpt_path)
    return made


def lrs_of(policy, steps, start=0):
    return [[policy(t), 0.25 * policy(t)] for t in range(start, steps)]


@pytest.mark.parametrize("source", [POLICY, str(POLICY)])
def test_each_update_has_the_policys_lr(source) -> None:
    module = Module()
    fit(module, PolicyCallback(source))
    assert module.used == lrs_of(POLICY, 20)


def test_the_older_package_takes_the_callback_too() -> None:
    class Older(pytorch_lightning.LightningModule):
        training_step, validation_step, loss = Module.training_step, Module.validation_step, Module.loss
        groups, configure_optimizers = Module.groups, Module.configure_optimizers

    module = Older()
    module.layers = torch.nn.ModuleList(torch.nn.Linear(4, 1) for _ in range(2))
    module.lrs, module.scheduler, module.used = (1.0, 0.25), None, []
    fit(module, PolicyCallback(POLICY), trainer=pytorch_lightning.Trainer)
    assert module.used == lrs_of(POLICY, 20)


def test_a_step_is_an_update_where_gradients_are_accumulated() -> None:
    module = Module()
    fit(module, PolicyCallback(POLICY), accumulate_grad_batches=3)  # 3 + 3 + 3 + 1 batches of an epoch
    assert module.used == lrs_of(POLICY, 8)


def test_an_update_that_the_scaler_skips_is_none() -> None:
    class Spoiled(Module):
        def training_step(self, batch, batch_idx):
            return self.loss(batch) * (torch.inf if batch_idx == 3 else 1.0)

    module = Spoiled()
    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0))
    trainer = fit(module, PolicyCallback(POLICY), plugins=[plugin])
    assert trainer.global_step == 20
    assert module.used == lrs_of(POLICY, 18)


@pytest.mark.parametrize("every", [1, 2])
def test_two_optimizers_keep_their_ratio_in_manual_optimization(every) -> None:
    module = Adversaries(every=every)
    fit(module, PolicyCallback(POLICY))
    assert module.seen == {
        "g": [[POLICY(t)] for t in range(20 // every)],
        "d": [[0.25 * POLICY(t)] for t in range(20 // every)],
    }


def test_a_round_ends_when_an_optimizer_updates_again() -> None:
    module = Adversaries(rounds=3)
    fit(module, PolicyCallback(LONGER), max_epochs=1)
    assert module.seen["d"] == [[0.25 * LONGER(t)] for t in range(30)]
    assert module.seen["g"] == [[LONGER(t)] for t in range(2, 30, 3)]


def test_the_modules_scheduler_is_replaced_and_said_so() -> None:
    module = Module(scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1))
    with pytest.warns(SchedulerWarning, match="takes the place of StepLR of configure_optimizers$"):
        fit(module, PolicyCallback(POLICY))
    assert module.used == lrs_of(POLICY, 20)


def test_a_momentum_that_a_replaced_scheduler_has_set_is_said() -> None:
    module = Module(scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20))
    with (
        warnings.catch_warnings(record=True) as seen,
        pytest.warns(SchedulerWarning, match="It has set the momentum as well"),
    ):
        fit(module, PolicyCallback(POLICY))
    assert not [warning for warning in seen if warning.category is SchedulerWarning]
    assert [used[0] for used in module.used] == [POLICY(t) for t in range(20)]


@pytest.mark.filterwarnings("ignore::lrsearch.SchedulerWarning")
def test_a_scheduler_step_of_the_module_counts_for_nothing() -> None:
    def scheduler(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 1)

    class Stepping(Module):
        def lr_scheduler_step(self, scheduler, metric):
            scheduler.step(epoch=self.current_epoch)

    automatic, manual = Stepping(scheduler=scheduler), Adversaries(scheduler=scheduler)
    manual.lr_schedulers = lambda: type(manual).__mro__[2].lr_schedulers(manual)[0]
    fit(automatic, PolicyCallback(POLICY))
    fit(manual, PolicyCallback(POLICY))
    assert automatic.used == lrs_of(POLICY, 20)
    assert manual.seen["g"] == [[POLICY(t)] for t in range(20)]


def test_the_learning_rate_monitor_sees_the_policy(tmp_path) -> None:
    monitor, module = LearningRateMonitor(), Module()
    fit(module, PolicyCallback(POLICY), callbacks=[monitor], logger=CSVLogger(tmp_path), log_every_n_steps=1)
    assert monitor.lrs["lr-RecordingSGD/pg1"] == [POLICY(t) for t in range(20)]


@pytest.mark.parametrize("every", [4, 10, 13], ids=["mid-epoch", "end of epoch", "second epoch"])
@pytest.mark.parametrize("module", [Module, Adversaries])
def test_a_resumed_training_goes_on_exactly(tmp_path, module, every) -> None:
    saving = ModelCheckpoint(tmp_path, filename="at", every_n_train_steps=every * (2 if module is Adversaries else 1))
    fit(module(), PolicyCallback(POLICY), callbacks=[saving], enable_checkpointing=True, max_epochs=1 + every // 11)
    resumed = module()
    path = sorted(tmp_path.glob("at*.ckpt"))[0]
    start = torch.load(path, weights_only=True)["lr_schedulers"][0]["last_epoch"]
    assert start % every == 0
    assert start
    fit(resumed, PolicyCallback(POLICY), ckpt_path=path)
    if module is Module:
        assert resumed.used == lrs_of(POLICY, 20, start)
    else:
        assert resumed.seen == {
            name: [[lr * POLICY(t)] for t in range(start, 20)] for name, lr in (("g", 1), ("d", 0.25))
        }


@pytest.mark.parametrize("module", [Module, Adversaries])
def test_a_longer_policy_adopts_a_checkpoint(tmp_path, module) -> None:
    fit(module(), PolicyCallback(POLICY), max_epochs=1).save_checkpoint(tmp_path / "ten.ckpt")
    with pytest.raises(PolicyError, match=r"one of WARMUP.*l=16.* not of WARMUP.*l=36.* adopt=True\) takes its number"):
        fit(module(), PolicyCallback(LONGER), ckpt_path=tmp_path / "ten.ckpt")
    adopting = module()
    with pytest.warns(SchedulerWarning, match="adopted at step 10"):
        fit(adopting, PolicyCallback(LONGER, adopt=True), ckpt_path=tmp_path / "ten.ckpt", max_epochs=4)
    if module is Module:
        assert adopting.used == lrs_of(LONGER, 40, 10)
    else:
        assert adopting.seen["d"] == [[0.25 * LONGER(t)] for t in range(10, 40)]


@pytest.mark.filterwarnings("ignore:.*takes the place of OneCycleLR")
@pytest.mark.parametrize("is_scheduled", [False, True])
def test_a_checkpoint_without_a_policy_is_adopted_at_its_global_step(tmp_path, is_scheduled) -> None:
    def one_cycle(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.1, 0.025], total_steps=20)

    scheduler = one_cycle if is_scheduled else None
    fit(Module(scheduler=scheduler), L.Callback(), max_epochs=1).save_checkpoint(tmp_path / "ten.ckpt")
    with pytest.raises(PolicyError, match=r"made without PolicyCallback. .*adopt=True\) goes on at update 10"):
        fit(Module(), PolicyCallback(POLICY), ckpt_path=tmp_path / "ten.ckpt")
    module = Module(scheduler=scheduler)
    with pytest.warns(SchedulerWarning, match="goes on at update 10"):
        fit(module, PolicyCallback(POLICY, adopt=True), ckpt_path=tmp_path / "ten.ckpt")
    assert module.used == lrs_of(POLICY, 20, 10)


def test_a_checkpoint_without_a_policy_of_two_optimizers_is_refused(tmp_path) -> None:
    fit(Adversaries(), L.Callback(), max_epochs=1).save_checkpoint(tmp_path / "ten.ckpt")
    with pytest.raises(UsageError, match="counts the updates of all its optimizers in one"):
        fit(Adversaries(), PolicyCallback(POLICY, adopt=True), ckpt_path=tmp_path / "ten.ckpt")


class Cached(Module):
    """Returns one optimizer, however often it is fitted."""

    def __init__(self) -> None:
        super().__init__()
        self.optimizer = RecordingSGD(self.used, self.groups(), lr=1.0)

    def configure_optimizers(self):
        return self.optimizer


def test_an_optimizer_that_is_fitted_again_has_the_second_policys_lr() -> None:
    module, first = Cached(), PolicyCallback(POLICY)  # held, as a Trainer holds it
    fit(module, first)
    module.used.clear()
    fit(module, PolicyCallback(LONGER))
    assert module.used == lrs_of(LONGER, 20)


def test_a_callback_that_is_fitted_again_begins_anew() -> None:
    module, callback = Cached(), PolicyCallback(POLICY)
    fit(module, callback)
    fit(module, callback)
    assert module.used == lrs_of(POLICY, 20) * 2


@pytest.mark.parametrize("ends", [False, True], ids=["raises", "ends"])
def test_the_lr_stays_where_a_training_left_it(ends) -> None:
    class Broken(Cached):
        def training_step(self, batch, batch_idx):
            if batch_idx == 5 and not ends:
                raise RuntimeError("cut")
            return super().training_step(batch, batch_idx)

    module, callback = Broken(), PolicyCallback(LONGER)
    with contextlib.nullcontext() if ends else pytest.raises(RuntimeError, match="cut"):
        fit(module, callback)
    lr = module.optimizer.param_groups[0]["lr"]
    module.optimizer.step()
    assert module.optimizer.param_groups[0]["lr"] == lr == LONGER(20 if ends else 5)


def test_weights_can_be_validated_with_the_callback(tmp_path) -> None:
    fit(Module(), L.Callback(), max_epochs=1).save_checkpoint(tmp_path / "ten.ckpt")
    trainer = L.Trainer(**QUIET, callbacks=[PolicyCallback(POLICY)])
    assert trainer.validate(Module(), batches(), ckpt_path=tmp_path / "ten.ckpt", verbose=False)


def test_a_controller_learns_from_the_monitored_metric() -> None:
    module = Module((1.0,))
    fit(module, PolicyCallback("PLATEAU(k0=1e-9, gamma=0.5, patience=0)", monitor="val_loss"), max_epochs=4)
    lrs = [used[0] for used in module.used]
    assert lrs[:10] == [1e-9] * 10
    assert lrs == sorted(lrs, reverse=True)
    with pytest.raises(UsageError, match="no 'val_los', which the policy learns from; logged were: val_loss"):
        fit(Module((1.0,)), PolicyCallback("PLATEAU(k0=0.1, gamma=0.5, patience=0)", monitor="val_los"))


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(PolicyError, match="come from a policy, its text or a job"):
        PolicyCallback(0.1)
    with pytest.raises(PolicyError, match="monitor='val_loss'"):
        PolicyCallback("PLATEAU(k0=0.1, gamma=0.5, patience=0)")
    with pytest.raises(UsageError, match="leave out adopt"):
        PolicyCallback("PLATEAU(k0=0.1, gamma=0.5, patience=0)", monitor="val_loss", adopt=True)
    with pytest.raises(UsageError, match="takes one PolicyCallback"):
        fit(Module(), PolicyCallback(POLICY), callbacks=[PolicyCallback(POLICY)])
    with pytest.raises(PolicyError, match="bind"):
        PolicyCallback("TRI(k0=0.1, k1=0.2, l=0.1dur)")


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_a_module_without_an_optimizer_is_refused() -> None:
    class Still(Module):
        def configure_optimizers(self):
            return None

    with pytest.raises(UsageError, match="configure_optimizers returned none"):
        fit(Still(), PolicyCallback(POLICY))


def test_the_policys_own_scheduler_in_the_module_is_the_same_checkpoint(tmp_path) -> None:
    class Own(Module):
        def configure_optimizers(self):
            optimizer = RecordingSGD(self.used, self.groups())
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": PolicyScheduler(optimizer, POLICY), "interval": "step"},
            }

    fit(Own(), L.Callback(), max_epochs=1).save_checkpoint(tmp_path / "ten.ckpt")
    module = Module()
    fit(module, PolicyCallback(POLICY), ckpt_path=tmp_path / "ten.ckpt")
    assert module.used == lrs_of(POLICY, 20, 10)
