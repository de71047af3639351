"""The cost of strategies on one task, space, budget and seeds: best validation score against steps spent."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lrsearch.errors import UsageError, unknown
from lrsearch.runs import Objective
from lrsearch.runs.executor import Executor
from lrsearch.runs.objective import SCORE
from lrsearch.store import Store
from lrsearch.study.baselines import FullRuns
from lrsearch.study.decision import worst_share
from lrsearch.study.drive import drive
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup, Strategy, best_so_far, committed
from lrsearch.study.study import Study
from lrsearch.words import counted

if TYPE_CHECKING:
    import pandas as pd


STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (Funnel(), FullRuns("tpe"), FullRuns("random"))
}

Watch = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Course:
    """The course of one study.

    Args:
        strategy: its name.
        seed: the study's seed.
        points: (cost in FRE, best validation score so far) after each full-length run.
        cost: FRE spent in the end.
        runs: full-length runs, those that diverged included.
        objective: the metric of the scores.
    """

    strategy: str
    seed: int
    points: tuple[tuple[float, float], ...]
    cost: float
    runs: int = 0
    objective: Objective = SCORE

    @property
    def best(self) -> float | None:
        """The best validation score of a full-length run; if none finished, 0 for a share, None for another metric."""
        return self.points[-1][1] if self.points else worst_share(self.objective)

    def reached(self, target: float) -> float | None:
        """The cost at which a score was reached; None if it never was."""
        return next((cost for cost, score in self.points if self.objective.is_reached(score, target)), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several strategies on one task, and the score that all of them reached on average.

    The target is the worst of the strategies' mean best scores: every strategy reaches it on average. A strategy has no
    mean, and does not count, where no run of one of its studies finished.
    """

    task: str
    budget: float
    courses: tuple[Course, ...]

    @property
    def strategies(self) -> list[str]:
        """The strategies in the order in which they were compared."""
        return list(dict.fromkeys(course.strategy for course in self.courses))

    @property
    def objective(self) -> Objective:
        """The metric that is compared."""
        return self.courses[0].objective if self.courses else SCORE

    @property
    def target(self) -> float | None:
        """The worst of the strategies' mean best scores; None where none is known."""
        known = [mean for name in self.strategies if (mean := self._mean(name)) is not None]
        return max(known, key=self.objective.cost, default=None)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each strategy: mean and spread of the best score, cost, and the cost to the target.

        `reached` counts the studies that reached the target, `cost_to_target` is the median over those.
        """
        target = self.target
        rows = []
        for name in self.strategies:
            courses = self._of(name)
            to_target = [course.reached(target) for course in courses] if target is not None else []
            costs = [cost for cost in to_target if cost is not None]
            mean, best = self._mean(name), [course.best for course in courses if course.best is not None]
            rows.append(
                {
                    "strategy": name,
                    "seeds": len(courses),
                    "best": mean,
                    "spread": statistics.stdev(best) if mean is not None and len(best) > 1 else None,
                    "cost": statistics.fmean(course.cost for course in courses),
                    "reached": len(costs),
                    "cost_to_target": statistics.median(costs) if costs else None,
                }
            )
        return rows

    @property
    def warning(self) -> str | None:
        """A sentence where the budget is too small for TPE to differ from random search, else None."""
        runs = max((course.runs for course in self._of("tpe")), default=0)
        from lrsearch.samplers.named import STARTUP

        if not 0 < runs <= STARTUP:
            return None
        return (
            f"With {counted(runs, 'full run')} TPE still draws at random: Optuna's TPE learns from its"
            f" {STARTUP + 1}th trial on, so here it is random search. A budget above {STARTUP} tells them apart."
        )

    def table(self) -> "pd.DataFrame":
        """The rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, every course included."""
        courses = [
            {
                "strategy": course.strategy,
                "seed": course.seed,
                "cost": course.cost,
                "best": course.best,
                "runs": course.runs,
                "points": [list(point) for point in course.points],
            }
            for course in self.courses
        ]
        return {
            "task": self.task,
            "budget": self.budget,
            "objective": self.objective.to_json(),
            "target": self.target,
            "strategies": self.rows(),
            "caution": self.warning,
            "courses": courses,
        }

    def _mean(self, strategy: str) -> float | None:
        """The mean best score of a strategy; None where one of its studies has none."""
        best = [course.best for course in self._of(strategy)]
        known = [score for score in best if score is not None]
        return statistics.fmean(known) if len(known) == len(best) else None

    def _of(self, strategy: str) -> list[Course]:
        return [course for course in self.courses if course.strategy == strategy]


def compare(
    setup: Setup, strategies: Sequence[str], seeds: int, store: Store, executor: Executor, watch: Watch | None = None
) -> Comparison:
    """Run a study of each strategy for each seed; runs that the store already has are not trained again.

    Args:
        setup: task, space and budget; its seed is replaced by 0, 1, ... seeds-1, and it starts cold.
        strategies: names of `STRATEGIES`.
        seeds: studies of each, 1 or more.
        store: the ledger.
        executor: trains runs of the task.
        watch: called with a line for each study that ends.

    Raises:
        UsageError: for an unknown strategy, none, or no seeds.
    """
    chosen, courses = choose(setup, strategies, seeds), []
    for seed in range(seeds):
        for strategy in chosen:
            course = _course(replace(setup, seed=seed), strategy, store, executor)
            courses.append(course)
            if watch:
                best = course.objective.text(course.best)
                watch(f"{course.strategy:8} seed {seed}: best {best} for {course.cost:.2f} FRE")
    return Comparison(setup.task.name, float(setup.budget), tuple(courses))


def choose(setup: Setup, strategies: Sequence[str], seeds: int) -> list[Strategy]:
    """The strategies of these names; a setup that one of them cannot search is refused.

    Raises:
        UsageError: for an unknown strategy, none, or no seeds.
    """
    chosen = [_strategy(name) for name in dict.fromkeys(strategies)]
    if not chosen or seeds < 1:
        raise UsageError(f"a comparison needs strategies and 1 seed or more, got {len(chosen)} and {seeds}")
    for strategy in chosen:
        strategy.check(setup)
    return chosen


def _course(setup: Setup, strategy: Strategy, store: Store, executor: Executor) -> Course:
    from lrsearch.samplers.optuna import OptunaSampler

    kind = "random" if strategy.name == "random" else "tpe"
    horizon, objective = setup.task.horizon, setup.task.objective

    def sampler(name: str, known: Callable[[], int]) -> OptunaSampler:
        return OptunaSampler(name, None, setup.seed, horizon, kind, direction=objective.direction)

    study = Study(setup, strategy, store, sampler, cold=True)
    drive(study, executor)
    points = tuple(best_so_far(study.history, horizon, objective))
    runs = sum(trial.horizon == horizon for trial in study.history)
    return Course(strategy.name, setup.seed, points, committed(study.history) / horizon, runs, objective)


def _strategy(name: str) -> Strategy:
    if name not in STRATEGIES:
        raise UsageError(unknown("strategy", name, STRATEGIES))
    return STRATEGIES[name]
