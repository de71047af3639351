"""What PolicyCallback costs an update of Lightning's loop. Prints ratios; asserts nothing.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_lightning.py

Four Trainers are under way in threads of one process, and take turns of 10 updates: with a scheduler of torch's by
interval "step", with an idle callback beside it, with a policy, and as a job that logs every loss. Printed are the
medians of an update by the processor time of its thread, and the ratios to the first with their quartiles over turns.
"""

import statistics
import threading
import time
import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

import lrsearch as lrs
from lrsearch.integrations.lightning import PolicyCallback
from lrsearch.runs import RunSpec
from lrsearch.runs.job import Job

TURNS, TURN = 200, 10
N = TURNS * TURN
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
    """Waits for its turn, and notes what each took."""

    def __init__(self) -> None:
        self.mine, self.done, self.taken, self.began = threading.Event(), threading.Event(), [], 0.0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step % TURN == 0:
            if trainer.global_step:
                self.taken.append(1e6 * (time.thread_time() - self.began) / TURN)
                self.done.set()
            self.mine.wait()
            self.mine.clear()
            self.began = time.thread_time()

    def on_train_end(self, trainer, pl_module) -> None:
        self.taken.append(1e6 * (time.thread_time() - self.began) / TURN)
        self.done.set()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    loader = DataLoader(TensorDataset(torch.randn(10_000, 64), torch.randn(10_000, 1)), batch_size=25)
    job = Job(RunSpec(TASK, POLICY, N, 0), is_range_test=True)
    loops = {"scheduler": [], "idle": [L.Callback()], "policy": [PolicyCallback(POLICY)], "job": [PolicyCallback(job)]}
    turns = {name: Turns() for name in loops}
    for name, callbacks in loops.items():
        trainer = L.Trainer(**QUIET, **LENGTH, callbacks=[*callbacks, turns[name]])
        module = Module(name in ("scheduler", "idle"))
        threading.Thread(target=trainer.fit, args=(module, loader), daemon=True).start()
    for turn in range(TURNS):
        for name in [*list(loops)[turn % 4 :], *list(loops)[: turn % 4]]:
            turns[name].mine.set()
            turns[name].done.wait()
            turns[name].done.clear()
    base = turns["scheduler"].taken
    print(f"scheduler {statistics.median(base):.0f} us an update")
    for name in ("idle", "policy", "job"):
        ratios = [one / other for one, other in zip(turns[name].taken, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name} {statistics.median(turns[name].taken):.0f} us, {middle:.3f} x ({low:.3f} to {high:.3f})")
