"""What PolicyCallback costs an update of Lightning's loop. Prints ratios; asserts nothing.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_lightning.py

Four Trainers are under way in one process, and take turns of 10 updates: with a scheduler of torch's by interval
"step", with an idle callback beside it, with a policy, and as a job that logs every loss. Printed are the medians of
an update's processor time, and the medians of the ratios of paired turns to the first with their quartiles.
"""

import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset
from turns import Training, show, time_turns

import lrsearch as lrs
from lrsearch.integrations.lightning import PolicyCallback
from lrsearch.runs import RunSpec
from lrsearch.runs.job import Job

TURNS, TURN = 200, 10
N = (TURNS + 1) * TURN  # the last turn is not made: a training's end is not in it
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
LENGTH = {"accelerator": "cpu", "max_epochs": -1, "max_steps": N, "limit_val_batches": 0}
TASK = lrs.Task(name="small", horizon=N, epoch=400, objectives=(lrs.minimize("val_loss"),))
POLICY = lrs.parse(f"HALFCOS(k0=0.01, l={N})")


class Module(L.LightningModule):
    def __init__(self, is_scheduled: bool) -> None:
        super().__init__()
        self.is_scheduled = is_scheduled
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}] if self.is_scheduled else []


class Turns(L.Callback):
    """Pauses after each turn."""

    def __init__(self, pause) -> None:
        self.pause = pause

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step and trainer.global_step % TURN == 0:
            self.pause()


def training(is_scheduled: bool, *callbacks: L.Callback) -> Training:
    loader = DataLoader(TensorDataset(torch.randn(10_000, 64), torch.randn(10_000, 1)), batch_size=25)

    def train(pause) -> None:
        L.Trainer(**QUIET, **LENGTH, callbacks=[*callbacks, Turns(pause)]).fit(Module(is_scheduled), loader)

    return Training(train)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    job = Job(RunSpec(TASK, POLICY, N, 0), is_range_test=True)
    loops = {
        "scheduler": training(True),
        "idle": training(True, L.Callback()),
        "policy": training(False, PolicyCallback(POLICY)),
        "job": training(False, PolicyCallback(job)),
    }
    show(time_turns(loops, TURNS), TURN)
