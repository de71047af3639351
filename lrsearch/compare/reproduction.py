"""The results of a table of policies, beside those that its source printed."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lrsearch.runs import Run
from lrsearch.runs.objective import TOP1
from lrsearch.store import Store
from lrsearch.study.driven import Driven, OfDriven
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks.classification import is_optimistic
from lrsearch.training.metrics import mean_metrics
from lrsearch.words import counted

DRAWS = 2000
"""Of the bootstrap (a rule: 50 lie beyond each end of the interval)."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Outcome:
    """The runs of one policy by seed, as far as they ended for good."""

    row: Row
    runs: Mapping[int, Run]

    @property
    def by_seed(self) -> dict[int, float]:
        """The scores of the runs that finished, by seed, rising."""
        return {seed: run.score for seed, run in sorted(self.runs.items()) if run.score is not None}

    @property
    def scores(self) -> list[float]:
        """The scores of the runs that finished, in the order of their seeds."""
        return list(self.by_seed.values())

    @property
    def mean(self) -> float:
        """The mean score; nan if none finished."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds (ddof 1); None with one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    def metric(self, name: str, evaluation: str) -> float:
        """The mean of a metric over the finished runs, at the "best" or "end" evaluation; nan where there is none."""
        mean = mean_metrics(self.runs.values(), evaluation)[name]
        return math.nan if mean is None else mean

    def to_json(self, evaluation: str) -> dict[str, Any]:
        """The fields as JSON values; fractions, not percent, and metrics at that evaluation."""
        names = ("step", "top5", "ac", "cd", "cdac", "ld")
        metrics = {name: _known(self.metric(name, evaluation)) for name in names}
        return {
            "policy": str(self.row.policy),
            "label": self.row.label,
            "seeds": len(self.scores),
            "diverged": len(self.runs) - len(self.scores),
            "top1": _known(self.mean),
            "spread": self.spread,
            "scores": self.scores,
            **metrics,
            "end_top1": _known(self.metric("top1", "end")),
            "published": dict(self.row.published),
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of the measured order of policies with the published one.

    Args:
        policies: how many are compared.
        rank_correlation: Spearman's, of mean scores and published top-1.
        low, high: its 95 % interval by a percentile bootstrap over the seeds that all policies finished; None where
            those are fewer than two.
    """

    policies: int
    rank_correlation: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" (95 % {self.low:.2f} to {self.high:.2f} over seeds)"
        return f"{self.rank_correlation:.2f}{interval}"


@dataclass(frozen=True, slots=True)
class Results(OfDriven):
    """A table with its runs, and what happened while the call that returned it trained them."""

    table: PolicyTable
    outcomes: tuple[Outcome, ...]
    driven: Driven = field(default_factory=Driven)

    @property
    def missing(self) -> int:
        """How many runs have not ended for good."""
        return self.table.seeds * len(self.outcomes) - sum(len(outcome.runs) for outcome in self.outcomes)

    @property
    def evaluation(self) -> str:
        """The evaluation of the score: the "best" or the one at the "end"."""
        return "best" if is_optimistic(self.table.task) else "end"

    @property
    def agreement(self) -> Agreement | None:
        """The agreement with the published order; None where under three policies can be compared.

        Published scores are top-1, and only top-1 is compared with them.
        """
        both = [outcome for outcome in self.outcomes if "top1" in outcome.row.published and outcome.scores]
        if len(both) < 3 or self.table.task.objective.name != TOP1:
            return None
        published = np.array([outcome.row.published["top1"] for outcome in both])
        measured = np.array([outcome.mean for outcome in both])
        resampled = _resampled([outcome.by_seed for outcome in both])
        drawn = [rank_correlation(means, published) for means in resampled]
        low, high = _interval(drawn)
        return Agreement(len(both), rank_correlation(measured, published), low, high)

    @property
    def separable(self) -> tuple[int, int]:
        """How many pairs of policies differ by a paired t-test over common seeds at 5 %, and of how many."""
        pairs = list(itertools.combinations(self.outcomes, 2))
        return sum(_differ(a, b) for a, b in pairs), len(pairs)

    @property
    def sentences(self) -> list[str]:
        """Sentences for people beside the numbers: missing runs, ties, the agreement with the published order."""
        apart, pairs = self.separable
        are = "is" if self.missing == 1 else "are"
        why = ": the time limit ended the training; the same call goes on" if self.driven.is_out_of_time else ""
        sentences = [f"{counted(self.missing, 'run')} {are} missing{why}."] if self.missing else []
        if pairs and self.table.seeds > 1:
            sentences.append(
                f"{apart} of {counted(pairs, 'pair')} of policies are told apart by a paired t-test over seeds"
                f" at 5 %; {0.05 * pairs:.1f} would be by chance. The others are ties."
            )
        if agreement := self.agreement:
            policies = counted(agreement.policies, "policy", "policies")
            sentences.append(f"Rank correlation with the published order of {policies}: {agreement}.")
        return sentences

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        agreement, (apart, pairs) = self.agreement, self.separable
        task, objective = self.table.task.description, self.table.task.objective
        return {
            "table": self.table.name,
            "source": self.table.source,
            "task": task,
            "seeds": self.table.seeds,
            "missing": self.missing,
            "score": task.get("metric", objective.name),
            "rank_correlation": agreement.rank_correlation if agreement else None,
            "rank_correlation_95": [agreement.low, agreement.high] if agreement else None,
            "pairs": pairs,
            "separable_pairs": apart,
            "policies": [outcome.to_json(self.evaluation) for outcome in self.outcomes],
            **self.driven.to_json(),
        }


def read_results(table: PolicyTable, store: Store) -> Results:
    """Read the runs of a table from the store."""
    runs = store.runs(task=table.task.name, trusted=True)
    known = {stored.key: stored.run for stored in runs if stored.run.state.is_final}

    def outcome(row: Row) -> Outcome:
        keys = ((seed, table.spec(row, seed).key) for seed in range(table.seeds))
        return Outcome(row, {seed: known[key] for seed, key in keys if key in known})

    return Results(table, tuple(map(outcome, table.rows)))


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; nan if all of one side are equal.

    >>> round(rank_correlation([1, 2, 3, 4], [10, 20, 40, 30]), 6)
    0.8
    """
    if any(np.ptp(np.asarray(values)) == 0 for values in (a, b)):
        return math.nan
    from scipy import stats  # slow to import

    return float(stats.spearmanr(a, b).statistic)


def _resampled(scores: Sequence[Mapping[int, float]]) -> list[npt.NDArray[np.float64]]:
    """The policies' means over each draw of their common seeds, with replacement; none below two seeds."""
    common = sorted(set.intersection(*map(set, scores)))
    if len(common) < 2:
        return []
    rng, table = np.random.default_rng(0), np.array([[row[seed] for seed in common] for row in scores])
    return [table[:, rng.integers(0, len(common), len(common))].mean(1) for _ in range(DRAWS)]


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None, None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _differ(a: Outcome, b: Outcome) -> bool:
    of_a, of_b = a.by_seed, b.by_seed
    gaps = [of_a[seed] - of_b[seed] for seed in of_a if seed in of_b]
    if len(gaps) < 2 or np.ptp(gaps) == 0:
        return len(gaps) > 1 and gaps[0] != 0
    from scipy import stats

    return bool(stats.ttest_1samp(gaps, 0).pvalue < 1 - CONFIDENCE)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
