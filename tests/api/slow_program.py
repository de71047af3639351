"""A training that takes its time, goes on from every eighth update, and writes down all that it does.

It is searched as a function, as a program, or by asking and telling; the first argument says which.
"""

import json
import os
import sys
import time

import lrsearch as lrs

GIVEN = {"horizon": 64, "epoch": 8, "minimize": "val_loss", "lr_range": (1e-3, 1.0)}
BUDGET = 12


def note(*words):
    """Add a line to the file that NOTES names: a job that begins, an update, a job that ends."""
    with open(os.environ["NOTES"], "a") as file:  # noqa: PTH123
        file.write(" ".join(map(str, words)) + "\n")


@lrs.task("slow", **GIVEN)
def train(job):
    """Train a job, from its checkpoint on if there is one."""
    note("begun", job.key, os.getpid())
    checkpoint = job.folder / "checkpoint"
    begin, left = map(float, checkpoint.read_text().split()) if checkpoint.exists() else (0, 1.0)
    job.resumed_at(int(begin))
    for step in range(int(begin) + 1, 1 + job.horizon):
        left *= 1 - min(0.5, job.policy(step - 1))
        job.log(step, train_loss=left)
        note("update", job.key)
        if step % 8 == 0:
            part = checkpoint.with_name("part")
            part.write_text(f"{step} {left!r}")
            part.replace(checkpoint)
        time.sleep(0.002)
    job.log(job.horizon, val_loss=left)
    note("ended", job.key)


def search(how, out):
    """Search it to the end."""
    if how != "asked":
        program = lrs.program([sys.executable, __file__, "trained"], "slow", **GIVEN)
        return lrs.search(train if how == "function" else program, BUDGET, out=out)
    with lrs.open_study(train, BUDGET, out=out) as study:
        while jobs := study.open_jobs() or study.ask(most=2):  # what a killed process left out comes first
            for job in jobs:
                os.environ["LRSEARCH_JOB"] = str(job.folder / "job.json")
                train(lrs.job())
                study.tell(job.number, report=True)
        return study.result()


if __name__ == "__main__":
    if sys.argv[1] == "trained":
        train(lrs.job())
    else:
        result = search(*sys.argv[1:])
        print(json.dumps({"cost": result.cost, "steps": result.spent.steps}))
