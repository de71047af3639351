"""A study in progress: the ledger has its history, the strategy its next trials, and an executor trains them."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol

from lrsearch.errors import WorkError
from lrsearch.heuristics.evidence import FIRST_RULES
from lrsearch.recommendation import Recommendation, recommend
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.executor import DONE, WAIT, NoRun
from lrsearch.runs.roles import SEARCHED, Role
from lrsearch.runs.task import EVALUATIONS
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.store import Store, StoredRun, Trial
from lrsearch.study.strategy import Proposal, Setup, Strategy, committed
from lrsearch.words import counted

Watch = Callable[["Study", Trial], None]


class Sampler(Protocol):
    """Suggests policies, and learns from the runs of all searched policies."""

    def suggest(self, number: int, space: Space) -> Policy:
        """Suggest a policy from a space, for the study's trial of this number."""

    def add(self, trial: Trial, space: Space) -> None:
        """Add a trial, whether the sampler suggested its policy or not. Adding it twice changes nothing."""

    def tell(self, trial: Trial, run: Run) -> None:
        """Record the run of a trial. Recording it twice changes nothing."""


class Study:
    """One search in progress.

    `ask` returns the next trial, `tell` records its run. Both write to the store before they return, so a study that
    was killed continues where it was.

    Args:
        setup: its setup.
        strategy: the way to search.
        store: the ledger.
        sampler: makes the sampler from the study's name and the number of trials in the ledger. By them the sampler
            finds its own state, and checks that it belongs to this ledger.
        watch: called with the study and every trial that ends.
        cold: whether it starts without the store's recommendations.

    Raises:
        BudgetError: if the budget is too small.
    """

    def __init__(
        self,
        setup: Setup,
        strategy: Strategy,
        store: Store,
        sampler: Callable[[str, int], Sampler],
        watch: Watch | None = None,
        cold: bool = False,
    ) -> None:
        strategy.check(setup)
        self.strategy, self.store = strategy, store
        self.key = study_key(setup, strategy, cold)
        self.name = f"{setup.task.name}-{self.key[:8]}"
        frozen = store.begun(self.key) or self._begin(setup, cold)  # recommending takes seconds, and is done once
        self.setup = replace(
            setup,
            recommended=tuple(map(Recommendation.from_json, frozen["recommended"])),
            rules=frozen.get("rules", FIRST_RULES),
        )
        self.history = store.history(self.key)
        self._watch = watch or (lambda study, trial: None)
        self._claimed: set[int] = set()
        self._training: set[str] = set()
        self._open_numbers: set[int] = set()
        self.sampler = sampler(self.name, len(self.history))
        for trial in self.history:
            self._restore(trial)

    def _begin(self, setup: Setup, cold: bool) -> dict[str, Any]:
        """Record the study and its setup, unless another process has done so meanwhile."""
        recommended = [] if cold else recommend(setup.task, self.store)
        return self.store.open_study(
            self.key,
            self.name,
            setup.task,
            _description(setup, self.strategy, cold),
            {
                "recommended": [recommendation.to_json() for recommendation in recommended],
                "functions": setup.raw.forms,
                "rules": setup.rules,
                "peak": [setup.raw.peak.low, setup.raw.peak.high],
                **_own(setup.task),
            },
        )

    def ask(self) -> Trial | NoRun:
        """The next trial; WAIT while trials in training must end first, DONE when none is left.

        All trials that the strategy can propose by now are written down before the first is trained. So the search is
        the same on any number of workers. A run that is stored or in training is not returned.
        """
        while (trial := self._unclaimed() or self._propose_all()) is not None:
            key = trial.spec(self.setup.task).key
            self._claimed.add(trial.number)
            stored = self.store.find(key)
            if stored is None or not stored.run.state.is_final:
                self._training.add(key)
                self._open_numbers.add(trial.number)
                return trial
            self._settle(trial, stored, reused=True)
        return WAIT if self._open_numbers else DONE

    def ask_all(self) -> list[Trial] | NoRun:
        """All trials that can be trained by now, the same on any number of workers; WAIT or DONE where none can."""
        trials: list[Trial] = []
        while not isinstance(trial := self.ask(), NoRun):
            trials.append(trial)
        return trials or trial

    def tell(self, trial: Trial, run: Run) -> Trial:
        """Record the run of a trial, and return the ended trial; raise as `require_sound` does."""
        ended = self.record(trial, run)
        self.require_sound(trial, run)
        return ended

    def require_sound(self, trial: Trial, run: Run) -> None:
        """Check that a recorded run lets the study go on.

        Raises:
            WorkError: if the default failed, for a search has no answer without it. Also if the first run of a task
                failed: then the training itself is wrong.
        """
        spec = trial.spec(self.setup.task)
        if run.state is RunState.FAILED and (trial.role == Role.DEFAULT or self._is_first(trial, spec)):
            raise WorkError(f"training {spec.policy} on {spec.task.name} failed:{run.why}")
        if run.state is RunState.DIVERGED and trial.role == Role.CHECK:
            name = spec.task.objective.name
            done = counted(spec.horizon, "update")
            raise WorkError(
                f"{spec.task.name}: {name} is not finite after {done} at the lowest learning rate,"
                f" {spec.policy}: look at what the training returns or logs as {name}"
            )

    def record(self, trial: Trial, run: Run) -> Trial:
        """Record the run of a trial as `tell` does, but never raise for a failed run."""
        spec = trial.spec(self.setup.task)
        self.store.record(spec, run)
        self._open_numbers.discard(trial.number)
        if run.state is not RunState.INTERRUPTED:  # an interrupted attempt may be repeated
            self._training.discard(spec.key)
        stored = self.store.find(spec.key)
        assert stored is not None
        return self._settle(trial, stored, reused=False)

    def charge(self, trial: Trial, run: Run) -> bool:
        """Record an interrupted attempt of a trial: its steps count.

        Returns:
            Whether the budget pays for another attempt.
        """
        spec = trial.spec(self.setup.task)
        self.store.record(spec, run)
        self.history[trial.number] = replace(trial, stored=self.store.find(spec.key))
        return committed(self.history) <= self.setup.cap  # an open trial is counted in full

    def set_claimed(self, numbers: Collection[int]) -> None:
        """Set which trials others train: `ask` returns none of these, and may return any other open trial."""
        self._claimed, self._open_numbers = set(numbers), set(numbers)
        self._training = {self.history[number].spec(self.setup.task).key for number in numbers}

    @property
    def is_done(self) -> bool:
        """Whether no trial is left that the budget still pays for."""
        return self._unclaimed() is None and self._affordable() is None

    @property
    def open_trials(self) -> Sequence[Trial]:
        """The trials that have not ended."""
        return [trial for trial in self.history if trial.run is None]

    def _is_first(self, trial: Trial, spec: RunSpec) -> bool:
        """Whether no run before it can show that the training is sound: none has ended, and none is in training.

        So on several workers the same failures end a search as on one.
        """
        return not self._has_trained(spec) and not any(number < trial.number for number in self._open_numbers)

    def _has_trained(self, spec: RunSpec) -> bool:
        """Whether any run of the task has ended by itself, in this study or in the store."""
        own = any(trial.run is not None and trial.run.state.is_final for trial in self.history)
        return own or any(
            stored.run.state.is_final and stored.task_key == spec.task_key
            for stored in self.store.runs(task=spec.task.name, trusted=True)
        )

    def _unclaimed(self) -> Trial | None:
        """The first open trial of an earlier call that nobody trains now, if the budget still pays for it."""
        spent = committed(self.history)
        for trial in self.history:
            done = trial.stored is not None and trial.stored.run.state.is_final
            again = trial.horizon if trial.run else 0  # `spent` counts an open trial in full already
            if (
                not done
                and trial.number not in self._claimed
                and spent + again <= self.setup.cap
                and trial.spec(self.setup.task).key not in self._training
            ):
                return trial
        return None

    def _affordable(self) -> Proposal | None:
        """The next proposal of the strategy, if the budget pays for it."""
        proposal = self.strategy.next(self.setup, self.history)
        if proposal is None or committed(self.history) + proposal.horizon > self.setup.cap:
            return None
        return proposal

    def _propose_all(self) -> Trial | None:
        """Record all proposals of the strategy, and return the first trial that nobody trains."""
        while self._propose() is not None:
            pass
        return self._unclaimed()

    def _propose(self) -> Trial | None:
        proposal = self._affordable()
        if proposal is None:
            return None
        number = len(self.history)
        policy = proposal.policy or self.sampler.suggest(number, proposal.space)
        trial = Trial(number, proposal.role, proposal.origin, policy, proposal.horizon, proposal.seed)
        self.store.assign(self.key, trial, trial.spec(self.setup.task))
        self.history.append(trial)
        if _is_searched(trial):
            self.sampler.add(trial, proposal.space)
        return trial

    def _settle(self, trial: Trial, stored: StoredRun, reused: bool) -> Trial:
        ended = replace(trial, stored=stored, reused=reused)
        self.history[ended.number] = ended
        if ended.run and _is_searched(ended):
            self.sampler.tell(ended, ended.run)
        self._watch(self, ended)
        return ended

    def _restore(self, trial: Trial) -> None:
        """Add a trial of the ledger to the sampler again, with its run."""
        if _is_searched(trial):
            before = self.history[: trial.number]
            self.sampler.add(trial, self.strategy.space(self.setup, before))
            if trial.run:
                self.sampler.tell(trial, trial.run)


def study_key(setup: Setup, strategy: Strategy, cold: bool = False) -> str:
    """The digest of task, space, strategy, budget, seed and the user's policies: 16 hex digits."""
    return hashlib.sha256(json.dumps(_description(setup, strategy, cold), sort_keys=True).encode()).hexdigest()[:16]


def _description(setup: Setup, strategy: Strategy, cold: bool) -> dict[str, Any]:
    description = {
        "task": setup.task.key,
        "space": setup.raw.key,
        "strategy": strategy.name,
        "budget": float(setup.budget),
        "seed": setup.seed,
        "cold": cold,
    }
    optional = {"known": [str(policy) for policy in setup.known], "without": list(setup.without)}
    return description | {name: value for name, value in optional.items() if value}


def _own(task: Task) -> dict[str, Any]:
    """Facts of a task that its description leaves out, but that `reopen_study` needs."""
    known = {"known": list(map(str, task.known))} if task.known else {}
    return known | ({"evaluations": task.evaluations} if task.evaluations != EVALUATIONS else {})


def _is_searched(trial: Trial) -> bool:
    """Whether a trial chooses policies: probes and confirming runs do not."""
    return trial.role in SEARCHED
