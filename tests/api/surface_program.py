"""The training of `surface` as a program: of one job, or with `--jobs` of all that it is given."""

import os
import sys

import lrsearch as lrs

if __name__ == "__main__":
    import surface

    for job in lrs.jobs() if "--jobs" in sys.argv else [lrs.job()]:
        print("trained by", os.getpid(), flush=True)
        surface.train(job)
