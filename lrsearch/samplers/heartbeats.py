"""Heartbeats of Optuna trials under ask and tell, as Optuna itself records them only under `study.optimize`."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages._heartbeat import BaseHeartbeat
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.errors import UsageError, given

log = logging.getLogger(__name__)


def ask(study: optuna.Study) -> optuna.Trial:
    """Fail the trials of processes that died, then ask for a trial, as `study.optimize` does.

    Args:
        study: a study; without heartbeats it is only asked.

    >>> ask(optuna.create_study()).number
    0
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used with")
        optuna.storages.fail_stale_trials(study)
        return study.ask()


@contextmanager
def heartbeat(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Record heartbeats of a trial in its storage while the block runs, by a thread.

    If the process dies, `ask` in another one fails the trial, once it has had no heartbeat for twice the interval. A
    heartbeat that the storage does not take is logged, and the next one tried.

    Args:
        study: a study in a database that was opened with heartbeats.
        trial: a trial that it asked for.

    Raises:
        UsageError: if the study's storage records no heartbeats, or an argument has a wrong type.
    """
    for value, kind in ((study, optuna.Study), (trial, optuna.Trial)):
        if not isinstance(value, kind):
            raise UsageError(f"heartbeat takes an Optuna study and a trial that it asked for, got {given(value)}")
    storage = study._storage
    interval = storage.get_heartbeat_interval() if isinstance(storage, BaseHeartbeat) else None
    if interval is None or not isinstance(storage, BaseHeartbeat):
        raise UsageError(
            "this study's storage records no heartbeats: make it with lrs.optuna.create_study(name, url,"
            " heartbeat=60, ...), in SQLite or PostgreSQL"
        )
    storage.record_heartbeat(trial._trial_id)  # at once: a trial without any heartbeat is never stale
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(storage, trial, interval, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()


def _beat(storage: BaseHeartbeat, trial: optuna.Trial, interval: float, ended: threading.Event) -> None:
    while not ended.wait(interval):
        try:
            storage.record_heartbeat(trial._trial_id)
        except (SQLAlchemyError, StorageInternalError) as error:
            log.warning("trial %d: a heartbeat was not recorded (%s)", trial.number, type(error).__name__)
