"""Ensembles: the mean of several models' class probabilities, such as the snapshots of a cyclic run."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from lrsearch.errors import UsageError
from lrsearch.runs import Metrics
from lrsearch.training.loop import Trainer
from lrsearch.training.training_log import score_split


def score_ensemble(trainer: Trainer, weights: Sequence[Path], *, test: bool = False) -> Metrics:
    r"""Score the mean of the members' class probabilities.

    $p(y \mid x) = \frac{1}{m} \sum_i p_i(y \mid x)$

    Args:
        trainer: the trainer of the task, with its data in memory.
        weights: the members' weights, one file each: 1 or more.
        test: whether to score the test split instead of the validation split.

    Returns:
        `loss` (its cross-entropy) and `top1 top5 ac cd cdac`.

    Raises:
        UsageError: without members.
        TaskError: with `test`, for a task without a test split.

    Source: Huang et al. 2017, "Snapshot Ensembles: Train 1, get M for free", arXiv 1704.00109.
    """
    if not weights:
        raise UsageError("an ensemble has 1 member or more, got none")
    if test:
        trainer.require_test()
    split = (trainer.test_split if test else trainer.validation).to(trainer.device)
    log_probabilities = torch.stack([trainer.predict(path, split).double().log_softmax(1) for path in weights])
    mean = torch.logsumexp(log_probabilities, 0) - math.log(len(weights))
    return {"loss": float(F.nll_loss(mean, split.y)), **score_split(mean, split)}
