"""The test set, read once for what a study found."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.errors import WorkError
from lrsearch.runs import Metrics, RunSpec, RunState
from lrsearch.runs.objective import finite_cost
from lrsearch.runs.roles import Role
from lrsearch.schedules import Policy
from lrsearch.store import Store, StoredRun, Trial
from lrsearch.study.result import SearchResult
from lrsearch.tasks import find_classification
from lrsearch.training.files import files
from lrsearch.training.metrics import means
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.training import Trainer

READING = "top-1 on the test set, read once, mean over the seeds of the reported validation score"


def final_test(result: SearchResult, store: Store, trainer: "Trainer", weights: Path) -> dict[str, Any]:
    """Read the test set for the answer and the default, or give what was read before.

    Args:
        result: the study's result.
        store: keeps the reading with the study, so that it happens once.
        trainer: holds the test set.
        weights: the folder with the weights of the study's full runs. A run whose weights are not there is trained
            once more: the same run, to the bit on the same machine, outside of the budget; the note says so.

    Returns:
        `best`, the answer, and `default` (top-1 in [0, 1], None where all its runs diverged), `policy`, `seeds`,
        `retrained_steps`, a `note` for people, and `metrics` of both: means of `loss top1 top5 ac cd cdac`, and `ld`,
        the loss less the training loss.

    Raises:
        TaskError: for a task that a function of somebody's own trains: only that knows its test set.
    """
    find_classification(result.setup.task)
    known = _read_before(result, store.note(result.key))
    if known is not None:
        return known | {"note": f"{known['note']}; read by an earlier call"}
    trainer.require_test()
    behind = {policy: _behind(result, policy) for policy in (result.best.policy, result.default.policy)}
    missing = [trial for trials in behind.values() for trial in trials if not _file(trial, weights).is_file()]
    again = sum(_train_again(trial.spec(result.setup.task), trainer, weights) for trial in missing)
    read = {policy: [_read(trial, trainer, weights) for trial in trials] for policy, trials in behind.items()}
    best, default = (
        means(some, some[0] if some else ()) for some in (read[result.best.policy], read[result.default.policy])
    )
    reading = {
        "policy": str(result.best.policy),
        "best": best.get("top1"),
        "default": default.get("top1"),
        "seeds": len(read[result.best.policy]),
        "retrained_steps": again,
        "metrics": {"best": best, "default": default},
        "note": READING + (f"; {counted(len(missing), 'run')} trained again for their weights" if again else ""),
    }
    store.note(result.key, reading)
    return reading


def _read_before(result: SearchResult, known: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give an earlier reading where it is of the answer.

    Earlier versions gave the best found as the answer on a tie: of such a reading the default's part holds.
    """
    if known is None or known["policy"] == str(result.best.policy):
        return known
    if not result.decision.is_default:
        return None
    metrics = known.get("metrics", {}).get("default", {})
    return known | {
        "policy": str(result.best.policy),
        "best": known["default"],
        "metrics": {"best": metrics, "default": metrics},
    }


def _train_again(spec: RunSpec, trainer: "Trainer", weights: Path) -> int:
    """Train a run for its weights, and give its steps.

    Raises:
        KeyboardInterrupt: when interrupted; it goes on from its checkpoint.
        WorkError: if it leaves no weights.
    """
    run = trainer.train(spec, None, *files(weights, spec))
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if not (weights / f"{spec.key}.pt").is_file():
        raise WorkError(
            f"training {spec.policy} again for its weights left none in {weights}: {run.error or run.state.meaning}"
        )
    return run.trained


def best_runs(result: SearchResult, k: int, weights: Path) -> list[StoredRun]:
    """Give the k full runs of a study with the best validation scores, of those whose weights are there.

    Raises:
        TaskError: for a task that a function of somebody's own trains.
    """
    objective = find_classification(result.setup.task).objective
    full = {
        trial.stored.key: trial.stored
        for trial in result.history
        if trial.stored
        and trial.stored.horizon == result.setup.task.horizon
        and trial.stored.run.score is not None
        and (weights / f"{trial.stored.key}.pt").is_file()
    }
    return sorted(full.values(), key=lambda stored: (finite_cost(objective, stored.run.score), stored.key))[:k]


def _read(trial: Trial, trainer: "Trainer", weights: Path) -> Metrics:
    """Give the metrics of a run on the test set, with the loss above that of its last epoch of training."""
    found = trainer.test(_file(trial, weights))
    end = trial.run.metrics.get("end", {}) if trial.run else {}
    loss, chosen_by, deviation = found["loss"], end.get("loss"), end.get("ld")
    known = loss is not None and chosen_by is not None and deviation is not None
    return {**found, "ld": loss - (chosen_by - deviation) if known else None}  # type: ignore[operator]


def _behind(result: SearchResult, policy: Policy) -> list[Trial]:
    """Give the full runs behind a policy's reported score: on fresh seeds where there are any."""
    full = [
        trial
        for trial in result.history
        if trial.policy == policy
        and trial.horizon == result.setup.task.horizon
        and trial.run
        and trial.run.score is not None
    ]
    fresh = [trial for trial in full if trial.role == Role.CONFIRM]
    return fresh or full[:1]


def _file(trial: Trial, weights: Path) -> Path:
    return weights / f"{trial.stored.key if trial.stored else ''}.pt"
