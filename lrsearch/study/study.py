"""A study in progress: the ledger says what is done, the strategy what comes next, an executor trains it."""

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
    """Suggests policies, and is told what came of all of them."""

    def suggest(self, number: int, space: Space) -> Policy:
        """Suggest a policy from a space, as the study's assignment of this number."""

    def given(self, trial: Trial, space: Space) -> None:
        """Hear of a policy that was not its own suggestion. Hearing of it twice changes nothing."""

    def tell(self, trial: Trial, run: Run) -> None:
        """Hear what came of a policy. Hearing it twice changes nothing."""


class Study:
    """One search in progress.

    `ask` gives what to train next, `tell` takes what came of it. All that is asked for and told is in the
    store before the call returns, so a study that was killed goes on where it was.

    Args:
        setup: what it starts from.
        strategy: the way to search.
        store: the ledger.
        sampler: makes what suggests policies, from the study's name and the number of assignments in the ledger,
            so that it can find its own state and see whether it belongs to this ledger.
        watch: is told of every trial that ends.
        cold: whether it starts without what the store knows of other tasks and studies.

    Raises:
        BudgetError: if the budget buys nothing.
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
        frozen = store.begun(self.key) or self._begin(setup, cold)  # to recommend takes seconds, and is done once
        self.setup = replace(
            setup,
            recommended=tuple(map(Recommendation.from_json, frozen["recommended"])),
            rules=frozen.get("rules", FIRST_RULES),
        )
        self.history = store.history(self.key)
        self._watch = watch or (lambda study, trial: None)
        self._claimed: set[int] = set()
        self._training: set[str] = set()
        self._untold: set[int] = set()
        self.sampler = sampler(self.name, len(self.history))
        for trial in self.history:
            self._restore(trial)

    def _begin(self, setup: Setup, cold: bool) -> dict[str, Any]:
        """Record the study with what it starts from, unless another process has done so meanwhile."""
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
        """What to train next; WAIT while what is being trained must end first, DONE when nothing is left.

        All that the strategy can say by now is written down before the first of it is trained, so that it does not
        matter how many workers there are. What the store already knows is not asked for, nor what is being trained.
        """
        while (trial := self._unclaimed() or self._propose_all()) is not None:
            key = trial.spec(self.setup.task).key
            self._claimed.add(trial.number)
            stored = self.store.find(key)
            if stored is None or not stored.run.state.is_final:
                self._training.add(key)
                self._untold.add(trial.number)
                return trial
            self._settle(trial, stored, reused=True)
        return WAIT if self._untold else DONE

    def ask_all(self) -> list[Trial] | NoRun:
        """All that can be trained by now, the same on any number of workers; WAIT or DONE where there is nothing."""
        found: list[Trial] = []
        while not isinstance(asked := self.ask(), NoRun):
            found.append(asked)
        return found or asked

    def tell(self, trial: Trial, run: Run) -> Trial:
        """Take what came of an assignment.

        Raises:
            WorkError: if the default failed, for nothing can be found without it; and if a run failed while none of
                the task is known to have ended: what is wrong with the training itself is told at once.
        """
        ended = self.take(trial, run)
        spec = trial.spec(self.setup.task)
        if run.state is RunState.FAILED and (trial.role == Role.DEFAULT or not self._has_trained(spec)):
            raise WorkError(f"training {spec.policy} on {spec.task.name} failed:{run.why}")
        if run.state is RunState.DIVERGED and trial.role == Role.CHECK:
            name = spec.task.objective.name
            done = counted(spec.horizon, "update")
            raise WorkError(
                f"{spec.task.name}: {name} is not finite after {done} at the lowest learning rate,"
                f" {spec.policy}: look at what the training returns or logs as {name}"
            )
        return ended

    def take(self, trial: Trial, run: Run) -> Trial:
        """Take what came of an assignment, and end nothing: whoever started it by hand knows that it failed."""
        spec = trial.spec(self.setup.task)
        self.store.record(spec, run)
        self._untold.discard(trial.number)
        if run.state is not RunState.INTERRUPTED:  # which may be an attempt that is made again
            self._training.discard(spec.key)
        stored = self.store.find(spec.key)
        assert stored is not None
        return self._settle(trial, stored, reused=False)

    def leave(self, numbers: Collection[int]) -> None:
        """Ask for none of these, for they are with others; what else has not ended may be asked for."""
        self._claimed, self._untold = set(numbers), set(numbers)
        self._training = {self.history[number].spec(self.setup.task).key for number in numbers}

    @property
    def is_done(self) -> bool:
        """Tell whether nothing is left to train, or nothing that the budget still pays for."""
        return self._unclaimed() is None and self._affordable() is None

    @property
    def open_trials(self) -> Sequence[Trial]:
        """Give the trials that have not ended."""
        return [trial for trial in self.history if trial.run is None]

    def _has_trained(self, spec: RunSpec) -> bool:
        """Whether any run of the task has ended by itself, in this study or in the store."""
        own = any(trial.run is not None and trial.run.state.is_final for trial in self.history)
        return own or any(
            stored.run.state.is_final and stored.task_key == spec.task_key
            for stored in self.store.runs(task=spec.task.name, trusted=True)
        )

    def _unclaimed(self) -> Trial | None:
        """What an earlier start of this study asked for and did not see the end of, if the budget still pays for it."""
        spent = committed(self.history)
        for trial in self.history:
            done = trial.stored is not None and trial.stored.run.state.is_final
            again = trial.horizon if trial.run else 0  # of an open trial it is in what is spent
            if (
                not done
                and trial.number not in self._claimed
                and spent + again <= self.setup.cap
                and trial.spec(self.setup.task).key not in self._training
            ):
                return trial
        return None

    def _affordable(self) -> Proposal | None:
        """What the strategy wants next, if the budget pays for it."""
        proposal = self.strategy.next(self.setup, self.history)
        if proposal is None or committed(self.history) + proposal.horizon > self.setup.cap:
            return None
        return proposal

    def _propose_all(self) -> Trial | None:
        """Write down all that comes next, and give the first that is not being trained."""
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
            self.sampler.given(trial, proposal.space)
        return trial

    def _settle(self, trial: Trial, stored: StoredRun, reused: bool) -> Trial:
        ended = replace(trial, stored=stored, reused=reused)
        self.history[ended.number] = ended
        if ended.run and _is_searched(ended):
            self.sampler.tell(ended, ended.run)
        self._watch(self, ended)
        return ended

    def _restore(self, trial: Trial) -> None:
        """Let the sampler hear again of what the ledger knows."""
        if _is_searched(trial):
            before = self.history[: trial.number]
            self.sampler.given(trial, self.strategy.space(self.setup, before))
            if trial.run:
                self.sampler.tell(trial, trial.run)


def study_key(setup: Setup, strategy: Strategy, cold: bool = False) -> str:
    """Give the digest of task, space, strategy, budget, seed, and the caller's policies: 16 hex digits."""
    return hashlib.sha256(json.dumps(_description(setup, strategy, cold), sort_keys=True).encode()).hexdigest()[:16]


def _description(setup: Setup, strategy: Strategy, cold: bool) -> dict[str, Any]:
    told = {
        "task": setup.task.key,
        "space": setup.raw.key,
        "strategy": strategy.name,
        "budget": float(setup.budget),
        "seed": setup.seed,
        "cold": cold,
    }
    given = {"known": [str(policy) for policy in setup.known], "without": list(setup.without)}
    return told | {name: value for name, value in given.items() if value}


def _own(task: Task) -> dict[str, Any]:
    """What a task says of its study, and not of itself: what opens the study by its name needs it."""
    known = {"known": list(map(str, task.known))} if task.known else {}
    return known | ({"evaluations": task.evaluations} if task.evaluations != EVALUATIONS else {})


def _is_searched(trial: Trial) -> bool:
    """Tell whether an assignment is a trial of the search; probes and confirming runs are not."""
    return trial.role in SEARCHED
