"""A Lightning training of two ranks under torchrun: a range test, a policy by itself, and a job."""

import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

import lrsearch as lrs
from lrsearch.integrations.lightning import PolicyCallback
from lrsearch.integrations.lightning_range_test import RangeTestCallback

QUIET = {
    "accelerator": "cpu",
    "devices": 2,
    "strategy": "ddp",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 3,
}


class RecordingSGD(torch.optim.SGD):
    """Records the LR of each update."""

    def step(self, closure=None):
        USED.append(self.param_groups[0]["lr"])
        return super().step(closure)


class Module(L.LightningModule):
    """A small regression."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)

    def loss(self, batch):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def configure_optimizers(self):
        return RecordingSGD(self.parameters(), lr=1.0)


def fit(callback) -> Module:
    USED.clear()
    x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)
    module = Module()
    L.Trainer(**QUIET, callbacks=[callback]).fit(module, loader, loader)
    return module


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    USED: list[float] = []
    job = lrs.job()
    begun = Module().layer.weight
    weight = fit(test := RangeTestCallback(1e-4, 100.0, 40)).layer.weight
    print(f"range test: {torch.equal(weight, begun)} {test.advice.default}\n", end="", flush=True)
    fit(PolicyCallback(job.policy))
    print(f"policy: {len(USED)} {max(abs(lr - job.policy(t)) for t, lr in enumerate(USED))}\n", end="", flush=True)
    fit(PolicyCallback(job))
    print(f"job: {len(USED)} {max(abs(lr - job.policy(t)) for t, lr in enumerate(USED))}\n", end="", flush=True)
