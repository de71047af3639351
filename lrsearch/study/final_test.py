"""The final test: the test set, read once for the answer of a search and for the default."""

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
from lrsearch.training.charges import settle
from lrsearch.training.files import files
from lrsearch.training.metrics import means
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.training import Trainer

READING = "top-1 on the test set, read once, mean over the seeds of the reported validation score"


def final_test(result: SearchResult, store: Store, trainer: "Trainer", weights: Path) -> dict[str, Any]:
    """Read the test set for the answer and the default, or return the stored reading.

    Args:
        result: the study's result.
        store: keeps the reading with the study, so that the test set is read once.
        trainer: has the test set.
        weights: the folder with the weights of the study's full runs. A run without weights is trained once more,
            outside of the budget, and equal to the bit on the same machine; the note says so.

    Returns:
        `best`, the answer, and `default` (top-1 in [0, 1], None where all its runs diverged), `policy`, `seeds`,
        `retrained_steps`, a `note` for people, and `metrics` of both: means of `loss top1 top5 ac cd cdac`, and `ld`,
        the loss less the training loss.

    Raises:
        TaskError: for a task that a user's function trains: only the function has the test set.
    """
    find_classification(result.setup.task)
    known = _read_before(result, store.note(result.key))
    if known is not None:
        return known | {"note": f"{known['note']}; read by an earlier call"}
    trainer.require_test()
    reported = {policy: _reported(result, policy) for policy in (result.best.policy, result.default.policy)}
    missing = [trial for trials in reported.values() for trial in trials if not _file(trial, weights).is_file()]
    again = sum(_train_again(trial.spec(result.setup.task), trainer, weights) for trial in missing)
    metrics = {policy: [_read(trial, trainer, weights) for trial in trials] for policy, trials in reported.items()}
    of_best, of_default = metrics[result.best.policy], metrics[result.default.policy]
    best, default = (means(of_runs, of_runs[0] if of_runs else ()) for of_runs in (of_best, of_default))
    reading = {
        "policy": str(result.best.policy),
        "best": best.get("top1"),
        "default": default.get("top1"),
        "seeds": len(of_best),
        "retrained_steps": again,
        "metrics": {"best": best, "default": default},
        "note": READING + (f"; {counted(len(missing), 'run')} trained again for their weights" if again else ""),
    }
    store.note(result.key, reading)
    return reading


def _read_before(result: SearchResult, known: dict[str, Any] | None) -> dict[str, Any] | None:
    """An earlier reading, where it is of the answer.

    Earlier versions answered a tie with the best other policy. Of such a reading the default's part still holds.
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
    """Train a run again for its weights. Returns its steps.

    Raises:
        KeyboardInterrupt: when interrupted; the next call continues from its checkpoint.
        WorkError: if it leaves no weights.
    """
    run = trainer.train(spec, None, *files(weights, spec))
    settle(weights, spec, run)
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if not (weights / f"{spec.key}.pt").is_file():
        raise WorkError(
            f"training {spec.policy} again for its weights left none in {weights}: {run.error or run.state.meaning}"
        )
    return run.trained


def best_runs(result: SearchResult, k: int, weights: Path) -> list[StoredRun]:
    """The k full runs of a study with the best validation scores, among those with stored weights.

    Raises:
        TaskError: for a task that a user's function trains.
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
    """The metrics of a run on the test set; `ld` is the loss less the training loss of its last epoch."""
    metrics = trainer.test(_file(trial, weights))
    end = trial.run.metrics.get("end", {}) if trial.run else {}
    loss, validation_loss, deviation = metrics["loss"], end.get("loss"), end.get("ld")
    known = loss is not None and validation_loss is not None and deviation is not None
    return {**metrics, "ld": loss - (validation_loss - deviation) if known else None}  # type: ignore[operator]


def _reported(result: SearchResult, policy: Policy) -> list[Trial]:
    """The full runs behind the reported score of a policy: those on fresh seeds where there are any."""
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
