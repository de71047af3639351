"""The test set, read once for what a study found."""

import statistics
from pathlib import Path
from typing import Any

from lrsearch.knowledge import Store
from lrsearch.schedules import Policy
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import Trial
from lrsearch.training import Trainer

READING = "top-1 on the test set, read once, mean over the seeds of the reported validation score"


def final_test(result: SearchResult, store: Store, trainer: Trainer, weights: Path) -> dict[str, Any]:
    """Read the test set for the best policy and the default, or give what was read before.

    Args:
        result: the study's result.
        store: keeps the reading with the study, so that it happens once.
        trainer: holds the test set.
        weights: the folder with the weights of the study's full runs. A run whose weights are not there is trained
            once more: the same run, to the bit on the same machine, outside of the budget; the note says so.

    Returns:
        `best` and `default` (top-1 in [0, 1]), `policy`, `seeds`, `retrained_steps` and a `note` for people.
    """
    known = store.note(result.key)
    if known is not None:
        return known | {"note": f"{known['note']}; read by an earlier call"}
    behind = {policy: _behind(result, policy) for policy in (result.best.policy, result.default.policy)}
    missing = [trial for trials in behind.values() for trial in trials if not _file(trial, weights).is_file()]
    for trial in missing:
        trainer.train(trial.assignment.spec(result.setup.task), keep=_file(trial, weights))
    scores = {policy: [trainer.test(_file(trial, weights)) for trial in trials] for policy, trials in behind.items()}
    again = sum(trial.assignment.horizon for trial in missing)
    reading = {
        "policy": str(result.best.policy), "best": statistics.fmean(scores[result.best.policy]),
        "default": statistics.fmean(scores[result.default.policy]), "seeds": len(scores[result.best.policy]),
        "retrained_steps": again,
        "note": READING + (f"; {len(missing)} runs trained again for their weights" if again else ""),
    }
    store.note(result.key, reading)
    return reading


def _behind(result: SearchResult, policy: Policy) -> list[Trial]:
    """Give the full runs behind a policy's reported score: on fresh seeds where there are any."""
    full = [
        trial for trial in result.history
        if trial.assignment.policy == policy and trial.assignment.horizon == result.setup.task.horizon
        and trial.run and trial.run.score is not None
    ]
    fresh = [trial for trial in full if trial.assignment.role == "confirm"]
    return fresh or full[:1]


def _file(trial: Trial, weights: Path) -> Path:
    return weights / f"{trial.stored.key if trial.stored else ''}.pt"
