"""A study in progress: the ledger has its history, the strategy its next trials, and an executor trains them."""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol

from lrsearch.errors import WorkError
from lrsearch.heuristics.evidence import FIRST_RULES
from lrsearch.recommendation import Recommendation, recommend
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.executor import DONE, LATER, WAIT, NoRun
from lrsearch.runs.roles import SEARCHED, Role
from lrsearch.runs.task import EVALUATIONS
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.store import Store, StoredRun, Trial
from lrsearch.store.claims import Claims, Taken
from lrsearch.store.place import Place
from lrsearch.store.queries import Progress
from lrsearch.study.strategy import Proposal, Setup, Strategy, committed
from lrsearch.words import counted

Watch = Callable[["Study", Trial], None]
log = logging.getLogger(__name__)


class Sampler(Protocol):
    """Suggests policies, and learns from the runs of all searched policies."""

    def suggest(self, number: int, space: Space) -> Policy:
        """Suggest a policy from a space, for the study's trial of this number."""

    def add(self, trial: Trial, space: Space) -> None:
        """Add a trial, whether the sampler suggested its policy or not. Adding it twice changes nothing."""

    def tell(self, trial: Trial, run: Run) -> None:
        """Record the run of a trial. Recording it twice changes nothing."""

    def save(self) -> None:
        """Write what was added and recorded to where people read it, if there is such a place."""


MakeSampler = Callable[[str, Callable[[], int]], Sampler]
"""Makes a sampler from the study's name and a function that returns how many trials its ledger has."""


class Study:
    """One search in progress.

    `ask` returns the next trial, `tell` records its run. Both write to the store before they return, so a study that
    was killed continues where it was.

    Several processes share a study by claims: each trains what no other one does. Any of them proposes the next trials,
    from the same history, and the first is the one that counts.

    Args:
        setup: its setup.
        strategy: the way to search.
        store: the ledger.
        sampler: makes the sampler, which the ledger's trials fill.
        watch: called with the study and every trial that ends, in any process.
        cold: whether it starts without the store's recommendations.
        lease: seconds after which other processes take the runs of this one, where it does not answer; None where no
            other process works on it.

    Raises:
        BudgetError: if the budget is too small.
    """

    def __init__(
        self,
        setup: Setup,
        strategy: Strategy,
        store: Store,
        sampler: MakeSampler,
        watch: Watch | None = None,
        cold: bool = False,
        lease: float | None = None,
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
        self.claims = Claims(store, self.key, lease) if lease is not None else None
        self.others: dict[str, Place] = {}
        """The other processes that have worked on it meanwhile."""
        self._others_now = 0
        self._elsewhere: dict[str, bool] = {}
        """The runs that others hold, each with whether it was handed out by `ask`."""
        self._seen: Progress | None = None
        """How far the ledger was when its history was last read."""
        self._claimed: set[int] = set()
        self._training: set[str] = set()
        self._open_numbers: set[int] = set()
        self._recorded: set[str] = set()
        self.sampler = sampler(self.name, lambda: store.progress(self.key).trials)
        self._is_saved = True
        for trial in self.history:
            self._restore(trial)
        self._save()
        if self.claims is not None and self.claims.others():  # what failed in another process is not tried again now
            self._claimed = {trial.number for trial in self.history if trial.run is not None}

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

    def ask(self, *, by_hand: bool = False) -> Trial | NoRun:
        """The next trial, claimed; else WAIT, LATER or DONE, as in `Executor.train`.

        Args:
            by_hand: whether it is handed out, and the claim lasts until its run is recorded or it is released.
        """
        while not isinstance(trials := self.offers(), NoRun):
            for trial in trials:
                taken = self.take(trial, by_hand=by_hand)
                if taken is not None:
                    lost = Run(state=RunState.INTERRUPTED, steps=taken.lost, seconds=0.0)
                    if not taken.lost or self.charge(trial, lost):
                        return trial
                    self.release(trial)  # the budget does not pay for another attempt
        return trials

    def ask_all(self) -> list[Trial] | NoRun:
        """All trials that can be trained by now, claimed; else WAIT, LATER or DONE."""
        trials = self.offers()
        return trials if isinstance(trials, NoRun) else [trial for trial in trials if self.take(trial) is not None]

    def offers(self) -> list[Trial] | NoRun:
        """All trials that nobody trains; else WAIT, LATER or DONE, as in `Executor.train`.

        All trials that the strategy can propose by now are written down before the first is trained. So the search is
        the same on any number of workers. A run that is stored or in training is not returned.
        """
        self.refresh()
        while True:
            while self._propose():
                pass
            self._save()
            trials = self._unclaimed()
            ended = [(trial, run) for trial in trials if (run := self._ended(trial)) is not None]
            if not ended:
                break
            for trial, run in ended:
                self._claimed.add(trial.number)
                self._settle(trial, run, reused=True)
        if trials:
            return trials
        if self._open_numbers:
            return WAIT
        return LATER if self._waits_for_others else DONE

    def _ended(self, trial: Trial) -> StoredRun | None:
        """The stored run of a trial, if it has ended."""
        stored = self.store.find(trial.spec(self.setup.task).key)
        return stored if stored is not None and stored.run.state.is_final else None

    def take(self, trial: Trial, *, by_hand: bool = False) -> Taken | None:
        """Claim a trial; None where another process has claimed or ended its run meanwhile.

        Returns:
            The claim, with the steps of a lost attempt, which are not charged yet.
        """
        key = trial.spec(self.setup.task).key
        taken = Taken()
        if self.claims is not None:
            claimed = self.claims.take(key, by_hand=by_hand)
            if claimed is None:
                self._elsewhere[key] = False
                return None
            taken = claimed
        self._claimed.add(trial.number)
        self._training.add(key)
        self._open_numbers.add(trial.number)
        return taken

    def release(self, trial: Trial) -> None:
        """Release a claimed trial: it may be asked for again."""
        key = trial.spec(self.setup.task).key
        if self.claims is not None:
            self.claims.give_back(key)
        self._claimed.discard(trial.number)
        self._training.discard(key)
        self._open_numbers.discard(trial.number)

    @property
    def processes(self) -> int:
        """The number of processes that work on it now, this one included."""
        return 1 + self._others_now

    def refresh(self) -> None:
        """Read what other processes have done since: their claims, new trials, and runs that ended."""
        if self.claims is None:
            return
        others = self.claims.others()
        self._others_now = len(others)
        for place in others:
            if str(place) not in self.others:
                self.others[str(place)] = place
                log.warning("%s works on %s too: they share its runs and its budget", place.named, self.name)
        self._elsewhere = self.claims.elsewhere()
        self._read_history()

    def _read_history(self) -> None:
        """Read the ledger's history where another process has written to it."""
        seen = self.store.progress(self.key)
        if seen == self._seen:
            return
        if seen != self._progress:
            for trial in self.store.history(self.key):
                self._refresh(trial)
        self._seen = seen

    def _refresh(self, trial: Trial) -> None:
        """Add a trial of another process, or what it made of a trial."""
        number, stored = trial.number, trial.stored
        if number == len(self.history):
            self.history.append(replace(trial, stored=None))
            self._add(self.history[number])
        own = self.history[number]
        if stored is None or own.stored == stored:
            return
        if trial.run is not None and own.run is None:
            self._claimed.add(number)  # also a failed one: this call does not train it again
            self._settle(own, stored, reused=True)
            if own.role in (Role.CHECK, Role.DEFAULT):  # without them no process has an answer
                self.require_sound(own, stored.run)
        else:
            self.history[number] = replace(own, stored=stored)

    @property
    def _progress(self) -> Progress:
        """How far the study is by this history."""
        runs = {trial.stored.key: trial.stored for trial in self.history if trial.stored is not None}
        return Progress(
            len(self.history),
            sum(stored.run.state.is_final for stored in runs.values()),
            sum(stored.run.steps + stored.lost_steps for stored in runs.values()),
        )

    @property
    def handed_out(self) -> list[int]:
        """The numbers of open trials that were handed out by `ask`, and are told or released by hand."""
        task = self.setup.task
        return [trial.number for trial in self.open_trials if self._elsewhere.get(trial.spec(task).key)]

    @property
    def _waits_for_others(self) -> bool:
        """Whether another process trains a trial that has not ended. A trial that was handed out may take days."""
        keys = {trial.spec(self.setup.task).key for trial in self.open_trials}
        return any(not by_hand for key, by_hand in self._elsewhere.items() if key in keys)

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
        if self.claims is not None:
            self.claims.give_back(spec.key)
        self._open_numbers.discard(trial.number)
        if run.state is not RunState.INTERRUPTED:  # an interrupted attempt may be repeated
            self._training.discard(spec.key)
        stored = self._charge_late(spec, run)
        ended = self._settle(trial, stored, reused=False)
        self._save()
        return ended

    def _charge_late(self, spec: RunSpec, run: Run) -> StoredRun:
        """The stored run; charged for a recorded attempt if another process has ended it: one of them lost its lease.

        Two attempts never take the same time to the last digit of a double, and the first that ended stays stored.
        """
        stored = self.store.find(spec.key)
        assert stored is not None
        if self.claims is None or not run.state.is_final or spec.key in self._recorded:
            return stored
        self._recorded.add(spec.key)  # an interrupt may break this call, and the same run is recorded again
        if stored.run.seconds == run.seconds:
            return stored
        self.store.add_lost_steps(spec.key, run.trained)
        log.warning("run %s was trained by another process too: it counts once, its cost twice", spec.key)
        return self.store.find(spec.key) or stored

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
        return not self._unclaimed() and self._affordable() is None and not self._waits_for_others

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

    def _unclaimed(self) -> list[Trial]:
        """The open trials that nobody trains now, as far as the budget still pays for each of them."""
        spent, keys, trials = committed(self.history), set(self._training), list[Trial]()
        for trial in self.history:
            done = trial.stored is not None and trial.stored.run.state.is_final
            if done or trial.number in self._claimed:
                continue
            again = trial.horizon if trial.run else 0  # `spent` counts an open trial in full already
            key = trial.spec(self.setup.task).key
            if spent + again <= self.setup.cap and key not in keys and key not in self._elsewhere:
                spent += again
                keys.add(key)
                trials.append(trial)
        return trials

    def _affordable(self) -> Proposal | None:
        """The next proposal of the strategy, if the budget pays for it."""
        proposal = self.strategy.next(self.setup, self.history)
        if proposal is None or committed(self.history) + proposal.horizon > self.setup.cap:
            return None
        return proposal

    def _propose(self) -> bool:
        """Record the next proposal of the strategy, of this process or of another one; False where there is none."""
        if self.claims is not None:
            self._read_history()
        proposal = self._affordable()
        if proposal is None:
            return False
        number = len(self.history)
        policy = proposal.policy or self.sampler.suggest(number, proposal.space)
        trial = Trial(number, proposal.role, proposal.origin, policy, proposal.horizon, proposal.seed)
        if self.store.assign(self.key, trial, trial.spec(self.setup.task), self._seen):
            self.history.append(trial)
            if _is_searched(trial):
                self._is_saved = False
                self.sampler.add(trial, proposal.space)
        return True  # also where another process was first: its trial is read next

    def _settle(self, trial: Trial, stored: StoredRun, reused: bool) -> Trial:
        ended = replace(trial, stored=stored, reused=reused)
        self.history[ended.number] = ended
        if ended.run and _is_searched(ended):
            self._is_saved = False
            self.sampler.tell(ended, ended.run)
        self._watch(self, ended)
        return ended

    def _restore(self, trial: Trial) -> None:
        """Add a trial of the ledger to the sampler again, with its run."""
        self._add(trial)
        if _is_searched(trial) and trial.run:
            self.sampler.tell(trial, trial.run)

    def _save(self) -> None:
        """Have the sampler write what is new."""
        if not self._is_saved:
            self.sampler.save()
            self._is_saved = True

    def _add(self, trial: Trial) -> None:
        """Add a trial of the ledger to the sampler."""
        if _is_searched(trial):
            self._is_saved = False
            self.sampler.add(trial, self.strategy.space(self.setup, self.history[: trial.number]))


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
