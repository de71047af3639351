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

STARTUP = 10
"""Trials that Optuna's TPE draws at random before it learns: its own default, given so that we can say so."""


class OptunaSampler:
    """Suggests policies by an Optuna study, in which every trial is one run of the search.

    A run over the whole horizon is a COMPLETE trial with its score, in the objective's own unit and sign. A shorter
    one is a PRUNED trial whose intermediate value stands at its number of steps, so that TPE compares runs of one
    length only; a run that diverged reports NaN there. The study is a copy of what the ledger knows, and is filled up
    from it.

    Args:
        name: the Optuna study's name.
        storage: an Optuna storage URL; None for memory.
        seed: the study's seed; suggestion n depends on it, on n, and on the trials before.
        horizon: steps of a full run.
        kind: "tpe" or "random".
        direction: "maximize" or "minimize": the objective's.
        make: makes the Optuna sampler of one suggestion from its seed, in place of a `kind`: any of Optuna's own or of
            OptunaHub's, such as `lambda seed: optuna.samplers.CmaEsSampler(seed=seed)`. It learns from the trials of
            the Optuna study alone, so that a study that was stopped goes on as one that was not.
        first: the number that its first asked counts as, where a search makes others before it.
        known: askeds that the ledger knows. An Optuna study with more of them is a copy of another ledger:
            it is made anew. None to take what is there.

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
            if storage and known is not None and any(t.user_attrs.get(NUMBER, -1) >= known for t in self.study.trials):
                optuna.delete_study(study_name=name, storage=storage)
                self.study = self._open(name, storage)
        except Exception as error:
            raise EngineError(
                f"Optuna cannot open its storage ({type(error).__name__}): give another with --optuna, such as"
                " sqlite:///optuna.db; what is known is in the store, and fills a new one"
            ) from error
        self._live: dict[int, optuna.Trial] = {}
        self._ended: set[int] = set()
        for trial in self.study.get_trials(deepcopy=False):
            self._find_again(trial)

    def suggest(self, number: int, space: Space) -> Policy:
        """Let Optuna suggest a policy."""
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        trial.set_user_attr(NUMBER, number)
        self._live[number] = trial
        return space.rounded(space.suggest(trial))

    def given(self, asked: Trial, space: Space) -> None:
        """Enqueue a policy that was chosen elsewhere; one that Optuna's space cannot hold stays outside it."""
        marks = {HORIZON: asked.horizon, POLICY: str(asked.policy), ORIGIN: asked.origin}
        if asked.number in self._live:
            for name, value in marks.items():
                self._live[asked.number].set_user_attr(name, value)
        elif asked.number not in self._ended and _has_place(asked.policy, space):
            self._live[asked.number] = self._enqueued(asked, space)

    def tell(self, asked: Trial, run: Run) -> None:
        """Finish the asked's trial."""
        trial = self._live.pop(asked.number, None)
        if trial is None:
            return
        self._ended.add(asked.number)
        if run.state is not RunState.FINISHED:
            trial.set_user_attr(STATE, str(run.state))
        if run.state is RunState.FAILED:
            self._ended.discard(asked.number)  # the next start tries it again, as another trial
            self.study.tell(trial, state=TrialState.FAIL)
        elif run.score is not None and asked.horizon == self._horizon:
            trial.report(run.score, asked.horizon)
            self.study.tell(trial, run.score)
        else:
            at = run.steps if run.score is None else asked.horizon  # a run that was stopped early is of its rung
            trial.report(math.nan if run.score is None else run.score, at)
            self.study.tell(trial, state=TrialState.PRUNED)

    def _enqueued(self, asked: Trial, space: Space) -> optuna.Trial:
        marks: dict[str, Any] = {NUMBER: asked.number, HORIZON: asked.horizon}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Fixed parameter")
            enqueue(self.study, space, asked.policy, asked.origin, **marks)
            self.study.sampler = self._sampler(asked.number)
            trial = self.study.ask()
            space.suggest(trial)
        return trial

    def _open(self, name: str, storage: str | None) -> optuna.Study:
        return optuna.create_study(
            study_name=name, storage=storage, direction=self._direction, load_if_exists=True, sampler=self._sampler(0)
        )

    def _find_again(self, trial: FrozenTrial) -> None:
        """Take up a trial of an earlier start; fail one that never reached the ledger, so that none runs for ever."""
        number = trial.user_attrs.get(NUMBER)
        if trial.state is TrialState.WAITING:
            self.study.tell(self.study.ask(), state=TrialState.FAIL)
        elif trial.state is TrialState.RUNNING and number is not None:
            self._live[number] = optuna.Trial(self.study, trial._trial_id)
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


def _has_place(policy: Policy, space: Space) -> bool:
    """Tell whether a policy can be described by the space's values, inside the ranges or not."""
    try:
        space.values(policy)
    except (PolicyError, SpaceError):
        return False
    return True
