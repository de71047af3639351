"""A copy of a search's Optuna study in a storage, for the Optuna Dashboard and for Optuna's own tools.

The search samples from a study in memory, which the ledger fills, so a storage that is slow or away stops no search.
Several processes of one search write the same copy: under the lock of the storage, each adds the trials that it lacks.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.errors import EngineError
from lrsearch.samplers.storages import open_storage, storage_lock
from lrsearch.spaces.optuna import POLICY
from lrsearch.store.database import reason

NUMBER = "lrsearch:number"
"""The user attribute of a trial's number in the search."""
PATIENCE_SECONDS = 10.0
"""How long the last writing waits for that of another process: a rule."""
AWAY = (EngineError, SQLAlchemyError, StorageInternalError, KeyError)
"""Errors of a storage that is away, or from which the study was deleted meanwhile."""
log = logging.getLogger(__name__)


class Mirror:
    """The copy of an Optuna study in a storage.

    Args:
        name: the study's name.
        url: the storage's URL.
        known: returns how many trials the ledger has. A copy with more is of another ledger, and is made anew.

    Raises:
        EngineError: if the storage cannot be opened.
    """

    def __init__(self, name: str, url: str, known: Callable[[], int] | None = None) -> None:
        self._name, self._url, self._known = name, url, known
        try:
            self._storage: BaseStorage = open_storage(url)
        except EngineError as error:
            raise EngineError(
                f"{error}; give another with --optuna, such as sqlite:///optuna.db: what is known is in the store, and"
                " fills a new one"
            ) from None
        self._has_warned = False

    def update(self, source: optuna.Study) -> None:
        """Copy what the storage lacks, unless another process is writing: then that, or a later call, copies it."""
        with self.written(source, patience=0):
            pass

    @contextmanager
    def written(self, source: optuna.Study, patience: float = PATIENCE_SECONDS) -> Iterator[optuna.Study | None]:
        """Copy what the storage lacks, and yield the copy, under the storage's lock; None where it is not to be had.

        Errors of the storage are logged once, not raised.
        """
        with ExitStack() as stack:
            copy = None
            try:
                if stack.enter_context(storage_lock(self._url, patience)):
                    copy = self._copied(source)
                yield copy
            except AWAY as error:
                self._warn(error)
                if copy is None:
                    yield None

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            why = reason(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            log.warning("the Optuna study %s in its storage is not up to date: %s", self._name, why)

    def _copied(self, source: optuna.Study) -> optuna.Study:
        study, own = self._open(source), _latest(source)
        copied = _latest(study)
        if self._is_of_another_ledger(copied, own):
            optuna.delete_study(study_name=self._name, storage=self._storage)
            study, copied = self._open(source), {}
        for number, trial in own.items():
            before = copied.get(number)
            if before is None or (before.state is TrialState.FAIL and trial.state is not TrialState.FAIL):
                self._storage.create_new_trial(study._study_id, trial)
            elif not before.state.is_finished():
                self._go_on(before, trial)
        return study

    def _open(self, source: optuna.Study) -> optuna.Study:
        try:
            return optuna.load_study(study_name=self._name, storage=self._storage)
        except KeyError:
            return optuna.create_study(study_name=self._name, storage=self._storage, direction=source.direction)

    def _is_of_another_ledger(self, copied: Mapping[int, FrozenTrial], own: Mapping[int, FrozenTrial]) -> bool:
        known = self._known() if self._known is not None else math.inf
        return any(
            number >= known or (number in own and trial.user_attrs[POLICY] != own[number].user_attrs[POLICY])
            for number, trial in copied.items()
        )

    def _go_on(self, copied: FrozenTrial, trial: FrozenTrial) -> None:
        """Write what has come to a trial since it was copied."""
        for name, value in trial.user_attrs.items():
            if copied.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(copied._trial_id, name, value)
        for step, value in trial.intermediate_values.items():
            if step not in copied.intermediate_values:
                self._storage.set_trial_intermediate_value(copied._trial_id, step, value)
        if trial.state.is_finished():
            self._storage.set_trial_state_values(copied._trial_id, trial.state, trial.values)


def _latest(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The trials of a study by their numbers in the search.

    A number comes again where its run failed and was tried again, and where another process was first with another
    policy: then the later trial counts.
    """
    trials = study.get_trials(deepcopy=False)
    numbered = ((trial.user_attrs.get(NUMBER), trial) for trial in trials if POLICY in trial.user_attrs)
    return {number: trial for number, trial in numbered if number is not None}
