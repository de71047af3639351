"""Training: runs, and the loop that trains them."""

from lrsearch.runs import TRAINER_VERSION, Point, Run, RunSpec, RunState
from lrsearch.training.ensemble import score_ensemble
from lrsearch.training.fused import train_fused
from lrsearch.training.loop import Trainer
from lrsearch.training.pool import Pool
from lrsearch.training.process import own_process

__all__ = ["TRAINER_VERSION", "Point", "Pool", "Run", "RunSpec", "RunState", "Trainer", "own_process",
           "score_ensemble", "train_fused"]
