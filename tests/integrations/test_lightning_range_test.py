"""Range tests in Lightning's own training: they end by themselves, and leave nothing behind."""

import copy

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, TensorDataset

import lrsearch as lrs
from lrsearch.errors import UsageError
from lrsearch.integrations.lightning import PolicyCallback
from lrsearch.integrations.lightning_range_test import RangeTestCallback

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


def batches() -> DataLoader:
    x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16)


class Module(L.LightningModule):
    """A small regression with buffers, momentum, a scheduler of its own and validation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        self.used, self.validated, self.draws = [], 0, []

    def training_step(self, batch, batch_idx):
        self.used.append(self.optimizer.param_groups[0]["lr"])
        torch.randn(1)
        return torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.validated += 1

    def configure_optimizers(self):
        self.optimizer = torch.optim.Adam(self.parameters(), lr=0.3)
        return [self.optimizer], [torch.optim.lr_scheduler.StepLR(self.optimizer, 1)]

    def on_train_start(self):
        self.draws.append(torch.get_rng_state())
        self.begun = copy.deepcopy(self.optimizer.state_dict())

    def on_train_end(self):
        self.draws.append(torch.get_rng_state())
        self.ended = copy.deepcopy(self.optimizer.state_dict())


def fit(module, callback, **options):
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, **options}, callbacks=[callback])
    trainer.fit(module, batches(), batches())
    return trainer


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_model_and_the_optimizer_are_as_before(tmp_path, accumulate) -> None:
    module, callback = Module(), RangeTestCallback(low=1e-5, high=100.0, steps=60)
    before = copy.deepcopy(module.state_dict())
    fit(module, callback, default_root_dir=tmp_path, accumulate_grad_batches=accumulate)
    assert same(module.state_dict(), before)
    assert module.begun["state"] == {} == module.ended["state"]
    assert torch.equal(*module.draws)
    assert not module.validated
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    rates = list(callback.test.ramp.lrs)
    assert module.used[::accumulate] == rates
    assert callback.advice.verdict == "found"


def test_the_advice_is_that_of_the_plain_range_test() -> None:
    module, plain = Module(), Module()
    callback = RangeTestCallback(low=1e-5, high=100.0, steps=60)
    fit(module, callback)
    (optimizer,), _ = plain.configure_optimizers()
    loss = torch.nn.functional.mse_loss
    with lrs.range_test(plain.layers, optimizer, low=1e-5, high=100.0, steps=60) as test:
        test.run(batches(), loss=loss)
    assert callback.test.ramp.losses == pytest.approx(test.ramp.losses)
    assert callback.advice.default == test.advice.default


def test_a_gradient_scaler_is_restored() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=3)
    fit(Module(), RangeTestCallback(1e-5, 1.0, 20), plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
    assert scaler.get_scale() == 2.0


def test_an_exception_restores_as_well() -> None:
    class Failing(Module):
        def training_step(self, batch, batch_idx):
            if len(self.used) == 7:
                raise RuntimeError("failed")
            return super().training_step(batch, batch_idx)

    module = Failing()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(RuntimeError, match="failed"):
        fit(module, RangeTestCallback(1e-5, 1.0, 20), enable_checkpointing=False)
    assert same(module.state_dict(), before)


def test_what_a_range_test_cannot_read_is_refused() -> None:
    class Silent(Module):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)

    class Two(Module):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self):
            return [torch.optim.SGD(self.parameters(), lr=1.0) for _ in range(2)]

    with pytest.raises(UsageError, match="reads the loss that training_step returns"):
        fit(Silent(), RangeTestCallback(), enable_checkpointing=False)
    with pytest.raises(UsageError, match="is of one optimizer, and this module has 2"):
        fit(Two(), RangeTestCallback(), enable_checkpointing=False)
    with pytest.raises(UsageError, match="there is no advice yet"):
        _ = RangeTestCallback().advice


@pytest.mark.filterwarnings("ignore::lrsearch.SchedulerWarning")
def test_a_policy_beside_it_is_refused() -> None:
    trainer = L.Trainer(
        **QUIET,
        max_epochs=1,
        enable_checkpointing=False,
        callbacks=[PolicyCallback("FIX(k0=0.1)"), RangeTestCallback()],
    )
    with pytest.raises(UsageError, match="leave out PolicyCallback"):
        trainer.fit(Module(), batches(), batches())


@pytest.mark.parametrize("bad", [{"low": 1.0, "high": 0.1}, {"steps": 1}, {"shape": "round"}, {"stpes": 3}])
def test_a_range_that_cannot_be_is_refused_when_it_is_made(bad) -> None:
    with pytest.raises((UsageError, TypeError)):
        RangeTestCallback(**bad)
