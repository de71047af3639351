"""The test set, read once for what a study found."""

import statistics
from pathlib import Path
from typing import Any

from lrsearch.errors import OutputError
from lrsearch.knowledge import Store
from lrsearch.schedules import Policy
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import Trial
from lrsearch.training import Trainer

FORMAT = "top-1 on the test set, read once, mean over the seeds of the reported validation score"


def final_test(result: SearchResult, store: Store, trainer: Trainer, weights: Path) -> dict[str, Any]:
    """Read the test set for the best policy and the default, or give what was read before.

    Args:
        result: the study's result.
        store: keeps the reading with the study, so that it happens once.
        trainer: holds the test set.
        weights: the folder with the weights of the study's full runs.

    Returns:
        `best` and `default` (top-1 in [0, 1]), `policy`, `seeds` and a `note` for people.

    Raises:
        OutputError: if the weights are not there.
    """
    known = store.note(result.key)
    if known is not None:
        return known | {"note": f"{FORMAT}; read by an earlier call"}
    best = _scores(result, result.best.policy, trainer, weights)
    same = result.default.policy == result.best.policy
    default = best if same else _scores(result, result.default.policy, trainer, weights)
    reading = {
        "policy": str(result.best.policy), "best": statistics.fmean(best), "default": statistics.fmean(default),
        "seeds": len(best), "note": FORMAT,
    }
    store.note(result.key, reading)
    return reading


def _scores(result: SearchResult, policy: Policy, trainer: Trainer, weights: Path) -> list[float]:
    return [trainer.test(_weights_of(trial, weights)) for trial in _behind(result, policy)]


def _behind(result: SearchResult, policy: Policy) -> list[Trial]:
    """Give the full runs behind a policy's reported score: on fresh seeds where there are any."""
    full = [
        trial for trial in result.history
        if trial.assignment.policy == policy and trial.assignment.horizon == result.setup.task.horizon
        and trial.run and trial.run.score is not None
    ]
    fresh = [trial for trial in full if trial.assignment.role == "confirm"]
    return fresh or full[:1]


def _weights_of(trial: Trial, weights: Path) -> Path:
    key = trial.stored.key if trial.stored else ""
    path = weights / f"{key}.pt"
    if not path.is_file():
        raise OutputError(f"no weights of run {key} in {weights}; give the --out folder of the search that trained it")
    return path
