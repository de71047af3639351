"""Optuna as the sampler: a normal Optuna study suggests the policies."""

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from lrsearch.errors import PolicyError, SpaceError, UsageError, unknown
from lrsearch.runs import Run, RunState
from lrsearch.runs.objective import MAXIMIZE
from lrsearch.samplers.mirror import NUMBER, Mirror
from lrsearch.samplers.named import made
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import ORIGIN, POLICY, enqueue
from lrsearch.store import Trial

HORIZON, STATE = "lrsearch:horizon", "lrsearch:state"
"""User attributes of Optuna trials."""

KINDS = ("tpe", "random")
"""The kinds of samplers of a search."""


class OptunaSampler:
    """Suggests policies by an Optuna study, in which every trial is one run of the search.

    A run over the whole horizon is a COMPLETE trial with its score, in the objective's own unit and sign. A shorter
    one is a PRUNED trial whose intermediate value stands at its number of steps, so that TPE compares runs of one
    length only; a run that diverged reports NaN there. The study is in memory, and is filled from the ledger's trials.

    Args:
        name: the Optuna study's name.
        mirror: the copy of the study in a storage; None for none.
        seed: the study's seed; suggestion n depends on it, on n, and on the earlier trials.
        horizon: steps of a full run.
        kind: "tpe" or "random".
        direction: "maximize" or "minimize": the objective's.
        make: makes the Optuna sampler of one suggestion from its seed, in place of a `kind`: any of Optuna's own or of
            OptunaHub's, such as `lambda seed: optuna.samplers.GPSampler(seed=seed)`. A stopped study continues as if it
            had not stopped where the sampler learns from the trials alone; CMA-ES and QMC begin anew.
        first: the number that seeds its first trial, where a search makes other trials before.

    Raises:
        UsageError: for an unknown kind.
    """

    def __init__(
        self,
        name: str,
        mirror: Mirror | None,
        seed: int,
        horizon: int,
        kind: str = "tpe",
        *,
        first: int = 0,
        direction: str = MAXIMIZE,
        make: Callable[[int], BaseSampler] | None = None,
    ) -> None:
        self._seed, self._horizon, self._first = seed, horizon, first
        if kind not in KINDS:
            raise UsageError(unknown("sampler", kind, KINDS))
        self._make = make or partial(made, kind)
        self.study = optuna.create_study(
            study_name=name, direction=StudyDirection[direction.upper()], sampler=self._sampler(0)
        )
        self.mirror = mirror
        self._running: dict[int, optuna.Trial] = {}
        self._ended: set[int] = set()
        self._suggested: dict[int, Policy] = {}

    def suggest(self, number: int, space: Space) -> Policy:
        """Have Optuna suggest a policy."""
        self.study.sampler = self._sampler(number)
        optuna_trial = self.study.ask()
        optuna_trial.set_user_attr(NUMBER, number)
        self._running[number] = optuna_trial
        self._suggested[number] = space.rounded(space.suggest(optuna_trial))
        return self._suggested[number]

    def add(self, trial: Trial, space: Space) -> None:
        """Add a trial: label its own suggestion, enqueue any other policy that the space can describe."""
        attributes = {HORIZON: trial.horizon, POLICY: str(trial.policy), ORIGIN: trial.origin}
        suggested = self._suggested.pop(trial.number, trial.policy)
        if suggested != trial.policy:  # another process was first with its own suggestion
            self.study.tell(self._running.pop(trial.number), state=TrialState.FAIL)
        if trial.number in self._running:
            for name, value in attributes.items():
                self._running[trial.number].set_user_attr(name, value)
        elif trial.number not in self._ended and _is_describable(trial.policy, space):
            self._running[trial.number] = self._enqueued(trial, space)

    def tell(self, trial: Trial, run: Run) -> None:
        """Finish the Optuna trial of a trial."""
        optuna_trial = self._running.pop(trial.number, None)
        if optuna_trial is None:
            return
        self._ended.add(trial.number)
        if run.state is not RunState.FINISHED:
            optuna_trial.set_user_attr(STATE, str(run.state))
        if run.state is RunState.FAILED:
            self._ended.discard(trial.number)  # the next call trains it again, as another Optuna trial
            self.study.tell(optuna_trial, state=TrialState.FAIL)
        elif run.score is not None and trial.horizon == self._horizon:
            _report(optuna_trial, run.score, trial.horizon)
            self.study.tell(optuna_trial, run.score)
        else:
            step = run.steps if run.score is None else trial.horizon  # a run that stopped early belongs to its rung
            _report(optuna_trial, math.nan if run.score is None else run.score, step)
            self.study.tell(optuna_trial, state=TrialState.PRUNED)

    def save(self) -> None:
        """Copy the study to its storage."""
        if self.mirror is not None:
            self.mirror.update(self.study)

    @contextmanager
    def written(self) -> Iterator[optuna.Study | None]:
        """The study as its storage has it, to write a note; None where the storage is not to be had."""
        if self.mirror is None:
            yield self.study
            return
        with self.mirror.written(self.study) as copy:
            yield copy

    def _enqueued(self, trial: Trial, space: Space) -> optuna.Trial:
        attributes: dict[str, Any] = {NUMBER: trial.number, HORIZON: trial.horizon}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Fixed parameter")
            enqueue(self.study, space, trial.policy, trial.origin, **attributes)
            self.study.sampler = self._sampler(trial.number)
            optuna_trial = self.study.ask()
            space.suggest(optuna_trial)
        return optuna_trial

    def _sampler(self, number: int) -> BaseSampler:
        digest = hashlib.sha256(f"{self._seed}:{self._first + number}".encode()).digest()
        return self._make(int.from_bytes(digest[:4], "big"))


def _is_describable(policy: Policy, space: Space) -> bool:
    """Whether the space's parameters can describe a policy, inside their ranges or not."""
    try:
        space.values(policy)
    except (PolicyError, SpaceError):
        return False
    return True


def _report(trial: optuna.Trial, value: float, step: int) -> None:
    """Report a value, once more where the search was killed before the trial was finished."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The reported value is ignored")
        trial.report(value, step)
