"""Optuna as the sampler: a normal Optuna study suggests the policies."""

import hashlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lrsearch.errors import EngineError, PolicyError, SpaceError, UsageError, unknown
from lrsearch.runs import Run, RunState
from lrsearch.runs.objective import MAXIMIZE
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import ORIGIN, POLICY, enqueue
from lrsearch.store import Trial

NUMBER, HORIZON, STATE = (f"lrsearch:{name}" for name in ("number", "horizon", "state"))
"""User attributes of Optuna trials."""

STARTUP = 10
"""Trials that Optuna's TPE draws at random before it learns. It is Optuna's default, stated so that reports can
print it."""


class OptunaSampler:
    """Suggests policies by an Optuna study, in which every trial is one run of the search.

    A run over the whole horizon is a COMPLETE trial with its score, in the objective's own unit and sign. A shorter
    one is a PRUNED trial whose intermediate value stands at its number of steps, so that TPE compares runs of one
    length only; a run that diverged reports NaN there. The study is a copy of the ledger's trials, and is refilled from
    them.

    Args:
        name: the Optuna study's name.
        storage: an Optuna storage URL; None for memory.
        seed: the study's seed; suggestion n depends on it, on n, and on the earlier trials.
        horizon: steps of a full run.
        kind: "tpe" or "random".
        direction: "maximize" or "minimize": the objective's.
        make: makes the Optuna sampler of one suggestion from its seed, in place of a `kind`: any of Optuna's own or of
            OptunaHub's, such as `lambda seed: optuna.samplers.CmaEsSampler(seed=seed)`. It learns from the trials of
            the Optuna study alone, so that a stopped study continues as if it had not stopped.
        first: the number that seeds its first trial, where a search makes other trials before.
        known: the number of trials in the ledger. An Optuna study with more trials is a copy of another ledger, and is
            deleted. None keeps any Optuna study.

    Raises:
        EngineError: if Optuna cannot open its storage.
        UsageError: for an unknown kind.
    """

    def __init__(
        self,
        name: str,
        storage: str | None,
        seed: int,
        horizon: int,
        kind: str = "tpe",
        known: int | None = None,
        *,
        first: int = 0,
        direction: str = MAXIMIZE,
        make: Callable[[int], BaseSampler] | None = None,
    ) -> None:
        self._seed, self._horizon, self._direction = seed, horizon, StudyDirection[direction.upper()]
        self._first = first
        if kind not in KINDS:
            raise UsageError(unknown("sampler", kind, KINDS))
        self._make = make or KINDS[kind]
        try:
            self.study = self._open(name, storage)
            numbers = (trial.user_attrs.get(NUMBER, -1) for trial in self.study.trials)
            if storage and known is not None and any(number >= known for number in numbers):
                optuna.delete_study(study_name=name, storage=storage)
                self.study = self._open(name, storage)
        except Exception as error:
            raise EngineError(
                f"Optuna cannot open its storage ({type(error).__name__}): give another with --optuna, such as"
                " sqlite:///optuna.db; what is known is in the store, and fills a new one"
            ) from error
        self._running: dict[int, optuna.Trial] = {}
        self._ended: set[int] = set()
        for trial in self.study.get_trials(deepcopy=False):
            self._restore(trial)

    def suggest(self, number: int, space: Space) -> Policy:
        """Have Optuna suggest a policy."""
        self.study.sampler = self._sampler(number)
        optuna_trial = self.study.ask()
        optuna_trial.set_user_attr(NUMBER, number)
        self._running[number] = optuna_trial
        return space.rounded(space.suggest(optuna_trial))

    def add(self, trial: Trial, space: Space) -> None:
        """Add a trial: label its own suggestion, enqueue any other policy that the space can describe."""
        attributes = {HORIZON: trial.horizon, POLICY: str(trial.policy), ORIGIN: trial.origin}
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

    def _enqueued(self, trial: Trial, space: Space) -> optuna.Trial:
        attributes: dict[str, Any] = {NUMBER: trial.number, HORIZON: trial.horizon}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Fixed parameter")
            enqueue(self.study, space, trial.policy, trial.origin, **attributes)
            self.study.sampler = self._sampler(trial.number)
            optuna_trial = self.study.ask()
            space.suggest(optuna_trial)
        return optuna_trial

    def _open(self, name: str, storage: str | None) -> optuna.Study:
        return optuna.create_study(
            study_name=name, storage=storage, direction=self._direction, load_if_exists=True, sampler=self._sampler(0)
        )

    def _restore(self, trial: FrozenTrial) -> None:
        """Continue an Optuna trial of an earlier call; fail one that the ledger lacks, so that none runs for ever."""
        number = trial.user_attrs.get(NUMBER)
        if trial.state is TrialState.WAITING:
            self.study.tell(self.study.ask(), state=TrialState.FAIL)
        elif trial.state is TrialState.RUNNING and number is not None:
            self._running[number] = optuna.Trial(self.study, trial._trial_id)
        elif trial.state is TrialState.RUNNING:
            self.study.tell(trial.number, state=TrialState.FAIL)
        elif trial.state is not TrialState.FAIL and number is not None:
            self._ended.add(number)

    def _sampler(self, number: int) -> BaseSampler:
        digest = hashlib.sha256(f"{self._seed}:{self._first + number}".encode()).digest()
        return self._make(int.from_bytes(digest[:4], "big"))


def _tpe(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, group=True, n_startup_trials=STARTUP)


KINDS: dict[str, Callable[[int], BaseSampler]] = {"tpe": _tpe, "random": lambda seed: RandomSampler(seed=seed)}
"""Makers of samplers by name, each from a seed."""


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
