"""A search that kills its own process in the middle of each full run: as a script, which is started again and again.

Every update that is really made adds a letter to the file that UPDATES names.
"""

import json
import os
import signal
from pathlib import Path

import torch

import lrsearch as lrs


@lrs.task("killed", horizon=160, epoch=8, minimize="loss", lr_range=(1e-4, 1.0))
def train(job):
    """Go on from the checkpoint of every twentieth update, and be killed at the seventieth."""
    weight, file = torch.nn.Parameter(torch.ones(1)), job.folder / "checkpoint.pt"
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = job.scheduler(optimizer)
    if file.exists():
        saved = torch.load(file, weights_only=True)
        weight.data.copy_(saved["weight"])
        scheduler.load_state_dict(saved["scheduler"])
    for step in range(job.step + 1, job.horizon + 1):
        loss = weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        job.log(step, train_loss=loss)
        with Path(os.environ["UPDATES"]).open("a") as file_of_updates:
            file_of_updates.write("u")
        if step % 20 == 0:
            torch.save({"weight": weight.detach(), "scheduler": scheduler.state_dict()}, file)
        if job.horizon == 160 and step == 70 and not job.resumed:
            os.kill(os.getpid(), signal.SIGKILL)
    return float(weight.square().sum())


if __name__ == "__main__":
    result = lrs.search(train, 3, out=os.environ["OUT"])
    print(
        json.dumps(
            {
                "steps": result.spent.steps,
                "score": result.best.score,
                "lost": [trial.stored.lost_steps for trial in result.history if trial.horizon == 160],
            }
        )
    )
