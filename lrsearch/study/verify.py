"""Does a policy reach a target within a budget of steps? Answered from the store, else by training.

The question: is the objective at any evaluation within STEPS updates as good as TARGET? The policy is trained as it is
written: lengths in steps are never stretched to the budget, and `dur` is the budget. A run of STEPS updates has ten
evaluations, an epoch apart at least, the last one after the last update. A user's own training evaluates when it wants.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.errors import BudgetError, UsageError
from lrsearch.runs import OWN, Objective, Point, Run, RunSpec, RunState, Stop, Task
from lrsearch.runs.evaluations import evaluation_steps
from lrsearch.runs.executor import DONE, Executor, Group, Lost
from lrsearch.runs.objective import TOP1, finite_cost
from lrsearch.schedules import Policy, parse
from lrsearch.store import Store, StoredRun
from lrsearch.study.driven import train_all
from lrsearch.study.range_tests import require_ended
from lrsearch.study.verdict import LOCAL, Question, SeedAnswer
from lrsearch.tasks.classification import Classification
from lrsearch.training.charges import settle
from lrsearch.training.files import files

LEAST_BUDGET = 16
MOST_SEEDS = 1000
"""Rules that refuse typing errors."""
OPEN = ("horizon", "target")
"""Keys in which the descriptions of two tasks may differ while their runs begin alike."""

Ended = Callable[[RunSpec, Run], None]


def ask(task: Task, policy: str | Policy, target: float | str, budget: int, seeds: int = 1, seed: int = 0) -> Question:
    """The question, with the policy bound to the budget and the target in the unit of the task's objective.

    A controller acts on its evaluations, and their steps depend on the horizon of its task. So its task has the budget
    as its horizon.

    Raises:
        UsageError: for a wrong target, number of seeds, seed or policy text.
        BudgetError: for a budget that is not a whole number, 16 or more.
    """
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < LEAST_BUDGET:
        raise BudgetError(f"the budget is a whole number of updates, {LEAST_BUDGET} or more, got {budget!r}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds is a whole number from 1 to {MOST_SEEDS}, got {seeds!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= 2**31 - seeds:
        raise UsageError(f"the seed is a whole number from 0 to {2**31 - seeds}, got {seed!r}")
    written = policy if isinstance(policy, Policy) else parse(policy)
    bound = written.bind(horizon=budget, epoch=task.epoch)
    untargeted = replace(task, target=None) if isinstance(task, Classification) else task
    trained = replace(untargeted, horizon=budget, known=()) if bound.is_controller else untargeted
    return Question(trained, bound, read_target(target, task.objective), budget, tuple(range(seed, seed + seeds)))


def read_target(target: float | str, objective: Objective) -> float:
    """Read a target: for a share a fraction above 0 and at most 1, or percent; for another metric a finite number.

    The target of a minimized share, an error rate, may also be 0.

    Raises:
        UsageError: for anything else.

    >>> from lrsearch.runs import maximize, minimize
    >>> read_target(0.97, maximize("acc", samples=384)), read_target("97%", maximize("acc", samples=384))
    (0.97, 0.97)
    >>> read_target("2.3", minimize("val_loss"))
    2.3
    """
    text = str(target).strip()
    try:
        number = math.nan if isinstance(target, bool) else float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if objective.is_share:
        return _share(text, number, objective)
    if math.isfinite(number) and not text.endswith("%"):
        return number
    unit = f", in {objective.unit}" if objective.unit else ""
    raise UsageError(f"the target is a value of {objective.name!r}{unit}, a finite number without %, got {text[:80]!r}")


def _share(text: str, number: float, objective: Objective) -> float:
    value = float(f"{number / 100:.15g}") if text.endswith("%") else number
    if 0 < value <= 1 or (value == 0 and objective.is_minimized):
        return value
    hint = f"; did you mean {number / 100:g}?" if 10 <= value <= 100 else ", as 0.97 or 97%"
    name = "top-1" if objective.name == TOP1 else objective.name
    least = "from 0" if objective.is_minimized else "above 0"
    raise UsageError(f"the target is a validation {name} {least}, at most 1, got {text[:80]!r}{hint}")


def from_store(question: Question, store: Store) -> dict[int, SeedAnswer]:
    """The answers that stored runs give, by seed.

    A stored run can answer if it begins like the questioned one. It then has the same task but for the horizon, the
    same policy and the same seed, over any horizon, stopped or not. Any evaluation within the budget may answer yes.
    The answer is no only if the run has all evaluations of a run over the budget. A cyclic policy may be above the
    target between the evaluations of a longer run. Local runs come before external ones, a yes before a no, an early
    evaluation before a late one.
    """
    by_seed: dict[int, list[SeedAnswer]] = {}
    for stored, spec in _alike(question, store):
        outcome = _outcome(question, spec, stored.run)
        if outcome is not None:
            answer = _answer(question, stored.run, outcome, stored.seed, stored.key, stored.origin)
            by_seed.setdefault(stored.seed, []).append(answer)
    return {seed: min(answers, key=_rank) for seed, answers in by_seed.items()}


def train(
    question: Question,
    seeds: Sequence[int],
    store: Store,
    executor: Executor,
    ended: Ended | None = None,
    folder: Path | None = None,
    lost: Lost | None = None,
) -> dict[int, SeedAnswer]:
    """Train the runs of some seeds until each has its answer, and record them.

    A run that finishes or diverges is recorded as an ordinary run, which any search can reuse. A run that ends at the
    target is `stopped`, and is recorded under the task with that target. Its key is its own, so that a search still
    trains the full run.

    Args:
        question: the question.
        seeds: those that the store does not answer.
        store: where the runs are recorded.
        executor: trains the runs.
        ended: called with every run that ends.
        folder: for checkpoints, from which the same question continues after an interruption, and for the weights of
            full runs that were not stopped.
        lost: called with every attempt of a run that ended with its process.

    Returns:
        The answers by seed; where the deadline ended it, not of all seeds.

    Raises:
        WorkError: if training fails.
        KeyboardInterrupt: when interrupted; what ended is recorded.
    """
    answers: dict[int, SeedAnswer] = {}

    def record(spec: RunSpec, run: Run) -> None:
        is_whole = run.state in (RunState.FINISHED, RunState.DIVERGED)
        recorded = question.spec(spec.seed) if is_whole else spec
        _rename_weights(folder, spec, recorded)
        store.record(recorded, run)
        settle(folder, spec, run)
        if run.state is RunState.INTERRUPTED:
            return
        require_ended(spec, run)
        outcome = _outcome(question, spec, run)
        assert outcome is not None
        answer = _answer(question, run, outcome, spec.seed, recorded.key, LOCAL)
        answers[spec.seed] = replace(answer, by="trained", trained=run.trained)
        if ended:
            ended(recorded, run)

    queue = iter([Group((question.stopping(seed),)) for seed in seeds])
    train_all(executor, lambda: next(queue, DONE), record, charge=store.record, folder=folder, lost=lost)
    return answers


def _rename_weights(folder: Path | None, spec: RunSpec, recorded: RunSpec) -> None:
    """Move the weights of a whole run to the name of its recorded spec, and delete those of any other run."""
    (trained, _), (own, _) = files(folder, spec), files(folder, recorded)
    if trained and own and trained.is_file():
        with suppress(OSError):
            trained.unlink() if recorded is spec else trained.replace(own)


def _alike(question: Question, store: Store) -> Iterator[tuple[StoredRun, RunSpec]]:
    """The stored runs that begin like the questioned ones, under this version of the trainer, each with its spec."""
    own = _fixed(question.task.description)
    tasks = {
        key: (replace(question.task, horizon=description["horizon"], known=()), Stop.of(description))
        for key, description in store.tasks().items()
        if _fixed(description) == own
    }
    for stored in store.runs(task=question.task.name, policy=question.policy, trusted=True):
        if stored.seed in question.seeds and stored.run.state.is_final and stored.task_key in tasks:
            task, stop = tasks[stored.task_key]
            spec = RunSpec(task, stored.policy, stored.horizon, stored.seed, stop)
            if spec.key == stored.key and _trains_alike(question, spec):
                yield stored, spec


def _fixed(description: Mapping[str, Any]) -> Any:
    """The part of a description that is equal for two tasks whose runs begin alike, as JSON values."""
    return json.loads(json.dumps({name: value for name, value in description.items() if name not in OPEN}))


def _trains_alike(question: Question, spec: RunSpec) -> bool:
    """Whether evaluations change nothing: those of a controller's run must come at the same steps."""
    if not spec.policy.is_controller:
        return True
    end = min(spec.horizon, question.budget)
    questioned = {step for step in evaluation_steps(question.spec(spec.seed)) if step < end}
    return questioned == {step for step in evaluation_steps(spec) if step < end}


def _outcome(question: Question, spec: RunSpec, run: Run) -> tuple[bool, Point | None] | None:
    """Whether a run reached the target, and its first evaluation that did or its best; None if it cannot answer."""
    objective = question.objective
    within = [point for point in run.points if point.step <= question.budget]
    first = next((point for point in within if objective.is_reached(point.score, question.target)), None)
    if first is not None:
        return True, first
    needed = {
        step
        for step in evaluation_steps(question.spec(spec.seed))
        if step < run.steps or (step == run.steps and run.state is not RunState.DIVERGED)
    }
    is_missing = bool(needed - {point.step for point in within})
    evaluates_itself = spec.task.trainer == OWN and spec.horizon == question.budget
    if not _is_over(question, spec, run) or (is_missing and not evaluates_itself):
        return None
    return False, min(within, key=lambda point: finite_cost(objective, point.score), default=None)


def _is_over(question: Question, spec: RunSpec, run: Run) -> bool:
    """Whether a run has no further step within the budget: it reached the budget, diverged, or ran out of patience."""
    if run.state is RunState.STOPPED and run.steps < question.budget:
        target = spec.stop.target if spec.stop else None
        at_target = target is not None and question.objective.is_reached(run.points[-1].score, target)
        return spec.horizon == question.budget and not at_target
    return run.state is RunState.DIVERGED or run.steps >= question.budget


def _answer(
    question: Question, run: Run, outcome: tuple[bool, Point | None], seed: int, key: str, origin: str
) -> SeedAnswer:
    """The answer of a run from the store."""
    reached, evaluation = outcome
    has_diverged = not reached and run.state is RunState.DIVERGED and run.steps <= question.budget
    return SeedAnswer(
        seed=seed,
        reached=reached,
        step=evaluation.step if evaluation else None,
        score=evaluation.score if evaluation else None,
        diverged=run.steps if has_diverged else None,
        by="store",
        run=key,
        origin=origin,
        trained=0,
    )


def _rank(answer: SeedAnswer) -> tuple[bool, bool, int, str]:
    return answer.origin != LOCAL, not answer.reached, answer.step or 0, answer.run
