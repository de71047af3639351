"""A small network on the digits of scikit-learn, in Lightning."""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

import lrsearch as lrs
from lrsearch.integrations.lightning import PolicyCallback

EPOCHS, BATCH_SIZE = 8, 64

digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
train_set, val_set = random_split(TensorDataset(images, labels), [0.8, 0.2], torch.Generator().manual_seed(0))


class DigitsModule(L.LightningModule):
    """A classifier of digits."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Log loss and accuracy."""
        x, y = batch
        scores = self.model(x)
        self.log("val_loss", F.cross_entropy(scores, y), prog_bar=True)
        self.log("val_accuracy", (scores.argmax(1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> dict:
        """SGD under a cosine."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9, weight_decay=1e-4)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)}


@lrs.task("lightning-digits", epochs=EPOCHS, epoch=22, minimize="val_loss", optimizer="sgd", batch_size=BATCH_SIZE)
def train(job: lrs.Job) -> None:
    """Train, and print the metrics."""
    train_loader = DataLoader(train_set, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=360)
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PolicyCallback(job)],
    )
    trainer.fit(DigitsModule(), train_loader, val_loader)
    print({name: round(value.item(), 4) for name, value in trainer.callback_metrics.items()})
