"""A search whose process is killed from outside, as a script: `python killed_driver.py KIND WORKERS`.

Every update that is really made adds a byte to the file that UPDATES names, whatever process makes it.
"""

import json
import os
import sys
from dataclasses import dataclass, replace

import torch

import lrsearch as lrs
from lrsearch.tasks import SGD, find_task
from lrsearch.training.lockstep import _LockstepRuns

BUDGET = 4.0
LOG = os.open(os.environ["UPDATES"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)


def made(updates=1):
    os.write(LOG, b"u" * updates)


class CountedOptimizer(torch.optim.SGD):
    """SGD that logs each of its updates."""

    def step(self, closure=None):
        loss = super().step(closure)
        made()
        return loss


@dataclass(frozen=True)
class CountedSGD(SGD):
    """Another type than SGD, so its runs train one by one or with a shared prefix."""


def build(self, model, epoch=1.0):
    """Build what logs its updates: for runs that do not train in lockstep."""
    return CountedOptimizer(model.parameters(), lr=1.0, momentum=self.momentum, weight_decay=self.weight_decay)


JUDGE = _LockstepRuns._judge


def judge(self, rows, alive):
    """Log the updates of a step in lockstep, one for each run that has not ended."""
    made(sum(n not in self.results and n < self.count for n in alive))
    return JUDGE(self, rows, alive)


_LockstepRuns._judge, SGD.build = judge, build


@lrs.task("killed", horizon=300, epoch=15, minimize="loss", lr_range=(1e-4, 1.0))
def function(job):
    """A loop with a checkpoint at every fiftieth update."""
    weight, file = torch.nn.Parameter(torch.ones(1)), job.folder / "checkpoint.pt"
    optimizer = CountedOptimizer([weight], lr=1.0)
    scheduler = job.scheduler(optimizer)
    if file.exists():
        saved = torch.load(file, weights_only=True)
        weight.data.copy_(saved["weight"])
        scheduler.load_state_dict(saved["scheduler"])
    for step in range(job.step + 1, job.horizon + 1):
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        optimizer.step()
        scheduler.step()
        job.log(step, train_loss=loss)
        if step % 50 == 0:
            part = file.with_suffix(".part")
            torch.save({"weight": weight.detach(), "scheduler": scheduler.state_dict()}, part)
            part.replace(file)
    return float(weight.detach().square().sum())


MLP = replace(find_task("digits-mlp"), horizon=300)
KINDS = {"function": function, "classification": replace(MLP, optimizer=CountedSGD()), "lockstep": MLP}

if __name__ == "__main__":
    kind, workers = sys.argv[1:]
    result = lrs.search(KINDS[kind], BUDGET, out=os.environ["OUT"], workers=int(workers))
    lost = sum(trial.stored.lost_steps for trial in result.history if trial.stored)
    horizon = result.setup.task.horizon
    print(json.dumps({"steps": result.spent.steps, "lost": lost, "budget": BUDGET, "horizon": horizon}))
