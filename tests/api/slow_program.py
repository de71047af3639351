"""A program that takes its time, goes on from every eighth update, and writes down all that it does.

The file that it is given gets a line for each job that begins, each update, and each job that ends.
"""

import os
import sys
import time

import lrsearch as lrs


def note(*words):
    with open(sys.argv[1], "a") as file:  # noqa: PTH123
        file.write(" ".join(map(str, words)) + "\n")


if __name__ == "__main__":
    job = lrs.job()
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
