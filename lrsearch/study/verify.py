"""Does a policy reach a target within a budget of steps? Answered from the store, else by training.

The question, word for word: is the objective at any look within STEPS updates as good as TARGET? The policy is trained
as it is written: lengths in steps are never stretched to the budget, and `dur` is the budget. The looks are those of a
run of STEPS updates: ten, an epoch apart at least, the last after the last update; of a user's own training those that
it made.
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
from lrsearch.runs.executor import DONE, Executor, Group
from lrsearch.runs.objective import TOP1, finite_cost
from lrsearch.schedules import Policy, parse
from lrsearch.store import Store, StoredRun
from lrsearch.study.range_tests import require_ended
from lrsearch.study.verdict import LOCAL, Question, SeedAnswer
from lrsearch.tasks.classification import Classification
from lrsearch.training.files import files

LEAST_BUDGET = 16
MOST_SEEDS = 1000
OPEN = ("horizon", "target")
"""What may differ between two tasks whose runs begin alike."""

Ended = Callable[[RunSpec, Run], None]


def ask(task: Task, policy: str | Policy, target: float | str, budget: int, seeds: int = 1, seed: int = 0) -> Question:
    """Put the question: the policy bound to the budget, the target in the unit of the task's objective.

    A controller lives on its looks, which come closer in a run shorter than its task: as it is written, it is looked
    at every epoch, so its task is the one of that many updates.

    Raises:
        UsageError: for a target, a number of seeds or a seed that cannot be, or a text that is no policy.
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
    plain = replace(task, target=None) if isinstance(task, Classification) else task
    as_written = replace(plain, horizon=budget, known=()) if bound.is_controller else plain
    return Question(as_written, bound, read_target(target, task.objective), budget, tuple(range(seed, seed + seeds)))


def read_target(given: float | str, objective: Objective) -> float:
    """Read a target: of a share a fraction above 0 and at most 1, or percent; of any other metric a finite number.

    A share that is minimized, an error rate, may also be 0.

    Raises:
        UsageError: for anything else.

    >>> from lrsearch.runs import maximize, minimize
    >>> read_target(0.97, maximize("acc", samples=384)), read_target("97%", maximize("acc", samples=384))
    (0.97, 0.97)
    >>> read_target("2.3", minimize("val_loss"))
    2.3
    """
    text = str(given).strip()
    try:
        number = math.nan if isinstance(given, bool) else float(text.removesuffix("%"))
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
    """Give the answers that a store knows, by seed.

    A run answers if it began as the asked one begins: same task but for its horizon, same policy, same seed, over any
    horizon, stopped or not. It says yes by any look within the budget. It says no only if it was looked at wherever
    a run over the budget is: a cyclic policy may be above the target between the looks of a longer run.
    A local run's answer comes before another's, a yes before a no, an early look before a late one.
    """
    found: dict[int, list[SeedAnswer]] = {}
    for stored, made in _alike(question, store):
        says = _said(question, made, stored.run)
        if says is not None:
            answer = _answer(question, stored.run, says, stored.seed, stored.key, stored.origin)
            found.setdefault(stored.seed, []).append(answer)
    return {seed: min(answers, key=_rank) for seed, answers in found.items()}


def train(
    question: Question,
    seeds: Sequence[int],
    store: Store,
    executor: Executor,
    ended: Ended | None = None,
    folder: Path | None = None,
) -> dict[int, SeedAnswer]:
    """Train the runs of some seeds until each has its answer, record them, and give the answers.

    A run that comes to its own end, by its last update or by divergence, is recorded as the ordinary run that it is,
    for everybody. One that ends at the target is `stopped`, and is recorded under the task with that target: a key of
    its own, so that a search that asks for the full run trains it.

    Args:
        question: what is asked.
        seeds: those that the store does not answer.
        store: where the runs are recorded.
        executor: trains the runs.
        ended: is told of every run that ends.
        folder: for checkpoints, from which the same question goes on after an interruption, and for the weights of
            full runs that were not stopped.

    Raises:
        WorkError: if training fails.
        KeyboardInterrupt: when interrupted; what ended is recorded.
    """
    found: dict[int, SeedAnswer] = {}

    def record(spec: RunSpec, run: Run) -> None:
        is_whole = run.state in (RunState.FINISHED, RunState.DIVERGED)
        kept = question.spec(spec.seed) if is_whole else spec
        _settle_weights(folder, spec, kept)
        store.record(kept, run)
        if run.state is RunState.INTERRUPTED:
            return
        require_ended(spec, run)
        says = _said(question, spec, run)
        assert says is not None
        answer = _answer(question, run, says, spec.seed, kept.key, LOCAL)
        found[spec.seed] = replace(answer, by="trained", trained=run.trained)
        if ended:
            ended(kept, run)

    waiting = iter([Group((question.stopping(seed),)) for seed in seeds])
    executor.train(lambda: next(waiting, DONE), record, folder=folder)
    return found


def _settle_weights(folder: Path | None, spec: RunSpec, kept: RunSpec) -> None:
    """Keep the weights of a run that came to its own end under its own name, and no others."""
    (weights, _), (own, _) = files(folder, spec), files(folder, kept)
    if weights and own and weights.is_file():
        with suppress(OSError):
            weights.unlink() if kept is spec else weights.replace(own)


def _alike(question: Question, store: Store) -> Iterator[tuple[StoredRun, RunSpec]]:
    """Give the stored runs that began as the asked ones do, by this version of the trainer, each with its spec."""
    own = _fixed(question.task.description)
    tasks = {
        key: (replace(question.task, horizon=description["horizon"], known=()), Stop.of(description))
        for key, description in store.tasks().items()
        if _fixed(description) == own
    }
    for stored in store.runs(task=question.task.name, policy=question.policy, trusted=True):
        if stored.seed in question.seeds and stored.run.state.is_final and stored.task_key in tasks:
            task, stop = tasks[stored.task_key]
            made = RunSpec(task, stored.policy, stored.horizon, stored.seed, stop)
            if made.key == stored.key and _trains_alike(question, made):
                yield stored, made


def _fixed(description: Mapping[str, Any]) -> Any:
    """Give what must be equal of two tasks whose runs begin alike, as JSON has it."""
    return json.loads(json.dumps({name: value for name, value in description.items() if name not in OPEN}))


def _trains_alike(question: Question, made: RunSpec) -> bool:
    """Tell whether looks change nothing: a controller must have been told of the same ones."""
    if not made.policy.is_controller:
        return True
    end = min(made.horizon, question.budget)
    both = question.spec(made.seed), made
    ours, theirs = ({step for step in evaluation_steps(spec) if step < end} for spec in both)
    return ours == theirs


def _said(question: Question, made: RunSpec, run: Run) -> tuple[bool, Point | None] | None:
    """Tell whether a run reached the target, and at which look; None if it does not say."""
    objective = question.objective
    within = [point for point in run.points if point.step <= question.budget]
    first = next((point for point in within if objective.is_reached(point.score, question.target)), None)
    if first is not None:
        return True, first
    needed = {
        step
        for step in evaluation_steps(question.spec(made.seed))
        if step < run.steps or (step == run.steps and run.state is not RunState.DIVERGED)
    }
    makes_own_looks = made.task.trainer == OWN and made.horizon == question.budget
    if not _is_over(question, made, run) or (needed - {point.step for point in within} and not makes_own_looks):
        return None
    return False, min(within, key=lambda point: finite_cost(objective, point.score), default=None)


def _is_over(question: Question, made: RunSpec, run: Run) -> bool:
    """Tell whether nothing would follow within the budget: it went as far, diverged, or ran out of patience."""
    if run.state is RunState.STOPPED and run.steps < question.budget:
        target = made.stop.target if made.stop else None
        at_target = target is not None and question.objective.is_reached(run.points[-1].score, target)
        return made.horizon == question.budget and not at_target
    return run.state is RunState.DIVERGED or run.steps >= question.budget


def _answer(
    question: Question, run: Run, says: tuple[bool, Point | None], seed: int, key: str, origin: str
) -> SeedAnswer:
    """Give what a run says as an answer from the store."""
    reached, look = says
    is_blown_up = not reached and run.state is RunState.DIVERGED and run.steps <= question.budget
    return SeedAnswer(
        seed=seed,
        reached=reached,
        step=look.step if look else None,
        score=look.score if look else None,
        diverged=run.steps if is_blown_up else None,
        by="store",
        run=key,
        origin=origin,
        trained=0,
    )


def _rank(answer: SeedAnswer) -> tuple[bool, bool, int, str]:
    return answer.origin != LOCAL, not answer.reached, answer.step or 0, answer.run
