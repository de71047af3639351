"""Training: lrsearch's own loop, and trainers for users' functions and programs. Torch loads on first use."""

from typing import TYPE_CHECKING

from lrsearch.later import load_later
from lrsearch.runs import TRAINER_VERSION, Point, Run, RunSpec, RunState

if TYPE_CHECKING:
    from lrsearch.training.ensemble import score_ensemble
    from lrsearch.training.lockstep import train_lockstep
    from lrsearch.training.loop import Trainer
    from lrsearch.training.process import own_process

__all__ = [
    "TRAINER_VERSION",
    "Point",
    "Run",
    "RunSpec",
    "RunState",
    "Trainer",
    "own_process",
    "score_ensemble",
    "train_lockstep",
]

__getattr__ = load_later(
    __name__,
    {
        "Trainer": "lrsearch.training.loop",
        "own_process": "lrsearch.training.process",
        "score_ensemble": "lrsearch.training.ensemble",
        "train_lockstep": "lrsearch.training.lockstep",
    },
)
