"""The order in which to try candidates on a new task, from scores on others: a portfolio by noise-scaled regret."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lrsearch.errors import UsageError, given
from lrsearch.recommendation.regrets import WORST, Array, Regrets, regrets

if TYPE_CHECKING:
    import pandas as pd

KAPPA = 1.0
"""The usual regret counts as much as this many tasks (a rule: the evidence of one task halves the shrinkage)."""
DRAWS, PERCENTS = 1000, (5.0, 95.0)
"""Draws of the bootstrap, and the ends of its 90 % interval (a rule: with 1,000 draws 50 lie beyond each end)."""
SAME = 9
"""Decimals to which expected regrets are compared, so that rounding settles nothing."""


def rank(
    table: "pd.DataFrame", weights: Mapping[Any, float] | None = None, k: int = 10, *, minimize: bool = False
) -> "pd.DataFrame":
    r"""Rank candidates for a new task by their scores on others: what to try first, second, and so on.

    A cell is a candidate on a task, at the longest horizon at which it ran there: n seeds, mean score $s_{it}$, where a
    seed that diverged (NaN) scores the worst finite score of the task at that horizon.

    - Regret: $r_{it} = \min(b_t - s_{it}, b_t - c_t) / \sigma_t$, where $b_t$ is the best and $c_t$ the median of the
      means at the same horizon (the worst, where the median is as good as the best): a try that is no better than the
      median is lost, however bad.
    - Noise: $\sigma_t$ is the standard deviation over seeds, pooled over the better half of the candidates; at least
      $(b_t - c_t) / 20$. Where no seed is repeated at a horizon, the largest of the task's horizons counts.
    - Reliability: $q_{it} = n / (n + 1) \cdot 0.7^{\log_4(H_t / h)}$, for a horizon h of the task's longest $H_t$; 0
      where the candidate was not seen.
    - Estimate: $m_i = (\sum_t w_t q_{it} r_{it} + \kappa \bar r) / (\sum_t w_t q_{it} + \kappa)$, with $\kappa = 1$ and
      $\bar r$ the mean of all cells by $w q$: a candidate with few tasks is shrunk to the usual. `score` is $-m_i$.
    - Order: greedy. The next pick most lowers the expected regret of the best so far, over the tasks by weight and one
      more task, of weight $\kappa$, that no candidate ran on. There a candidate's regret is $r_{it}$ with probability
      $q_{it}$, or else a draw from all its tasks and the usual. So the first pick has the highest score, and a later
      pick may have a lower score than a candidate that is not picked.

    The ranking does not change, but by rounding, where a number is added to all of a task's scores, or a number above
    0 multiplies them. A weight of 2 equals two such tasks; all weights twice as large are more evidence, so less
    shrinkage.

    Args:
        table: one row for each run, with the columns `task`, `candidate`, `seed`, `score` (higher is better, unless
            minimize is true; NaN: diverged) and `horizon` (above 0, in any unit that is the same within a task). Other
            columns are ignored, equal rows count once.
        weights: of tasks by name, 0 or more; 1 for a task that is not named. A task of weight 0 is left out.
        k: the most rows to return, 1 or more.
        minimize: whether lower scores are better, as of a loss; they are then ranked as their negatives.

    Returns:
        One row for each candidate, the first to try first: `candidate`; `score`, 0 at best and -20 at worst, in the
        noise's standard deviations; `low` and `high`, a 90 % interval of it; `tasks` and `seeds` behind it;
        `tie_group`, from 1: candidates of one group do not differ from the group's best by paired differences.
        Intervals and ties come from a Bayesian bootstrap over tasks, the usual as one of them, with the seeds' noise in
        each cell.

    Raises:
        UsageError: if a column is missing, the table is empty, a score or horizon is not a number or infinite, a run
            has two scores, no run ended well, a weight is negative or of an unknown task, k is below 1, or minimize
            is neither true nor false.

    Source: greedy portfolios, Feurer et al. 2022 (auto-sklearn 2.0); Bayesian bootstrap, Rubin 1981; the estimate is
    the mean of a Dirichlet process of concentration kappa, Ferguson 1973.

    >>> import pandas as pd
    >>> rows = [("a", "wide", 0.90), ("a", "safe", 0.89), ("a", "odd", 0.10),
    ...         ("b", "wide", 0.70), ("b", "safe", 0.69), ("b", "odd", 0.10),
    ...         ("c", "wide", 0.10), ("c", "safe", 0.11), ("c", "odd", 0.80)]
    >>> table = pd.DataFrame(rows, columns=["task", "candidate", "score"]).assign(seed=0, horizon=1000)
    >>> rank(table, k=2)["candidate"].tolist()
    ['wide', 'odd']
    >>> rank(table, weights={"a": 0, "b": 0})["candidate"].tolist()
    ['odd', 'safe', 'wide']
    """
    import pandas as pd

    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UsageError(f"k must be a whole number, 1 or more, got {k!r}")
    if not isinstance(minimize, bool):
        raise UsageError(f"minimize is true where lower scores are better, else false, got {given(minimize)}")
    known = regrets(table, weights, minimize=minimize)
    order, scores, draws = portfolio(known, int(k)), -shrunk(known), _draws(known)
    low, high = np.percentile(draws, PERCENTS, axis=0)
    groups = _tie_groups(scores, draws)
    seen = known.seeds > 0
    return pd.DataFrame(
        {
            "candidate": [known.candidates[at] for at in order],
            "score": scores[order],
            "low": np.minimum(low, scores)[order],
            "high": np.maximum(high, scores)[order],
            "tasks": seen.sum(axis=1)[order],
            "seeds": known.seeds.sum(axis=1).astype(int)[order],
            "tie_group": groups[order],
            "p_best": _shares(draws)[order],
        }
    )


def shrunk(known: Regrets) -> Array:
    """Each candidate's mean regret by evidence, shrunk to the usual one."""
    usual = float((known.usual * known.regret).sum())
    totals = (known.evidence * known.regret).sum(axis=1) + KAPPA * usual
    means: Array = totals / (known.evidence.sum(axis=1) + KAPPA)
    return means


def portfolio(known: Regrets, k: int) -> list[int]:
    """The places of at most k candidates, greedily: each next most lowers the expected regret of the best."""
    survival, scores = _survival(known), np.round(-shrunk(known), SAME)
    weights = np.append(known.weights, KAPPA) / (known.weights.sum() + KAPPA)
    best_so_far, left, picked = np.ones(survival.shape[1:]), list(range(len(scores))), list[int]()
    for _ in range(min(k, len(scores))):
        expected = np.round(np.einsum("t,tb,ctb->c", weights, best_so_far, survival[left]), SAME)
        pick = left[min(range(len(left)), key=lambda at: (expected[at], -scores[left[at]]))]
        best_so_far = best_so_far * survival[pick]
        picked.append(pick)
        left.remove(pick)
    return picked


def _survival(known: Regrets) -> Array:
    """The share of each unit of regret that the regret exceeds: (candidates, tasks and one unseen task, units).

    Its sum over the units is the expected regret; the sum of its product over candidates is that of the best of them:
    regrets within one unit of noise count as independent.
    """
    cells = np.clip(known.regret[..., None] - np.arange(WORST), 0, 1)
    usual = np.einsum("ct,ctb->b", known.usual, cells)
    own = np.einsum("ct,ctb->cb", known.evidence, cells) + KAPPA * usual
    own = (own / (known.evidence.sum(axis=1) + KAPPA)[:, None])[:, None, :]
    reliability = known.reliability[..., None]
    return np.concatenate([reliability * cells + (1 - reliability) * own, own], axis=1)


def _draws(known: Regrets) -> Array:
    """Draws of the scores: (draws, candidates).

    The tasks' random weights are the same for all candidates; each candidate draws its own usual task.
    """
    rng = np.random.default_rng(0)
    shape = DRAWS, len(known.candidates)
    tasks, usual = rng.exponential(size=(DRAWS, len(known.tasks))), KAPPA * rng.exponential(size=shape)
    error = (tasks**2 @ (known.evidence**2 / np.maximum(known.seeds, 1)).T) ** 0.5 * rng.normal(size=shape)
    drawn = rng.choice(known.regret.ravel(), size=shape, p=known.usual.ravel())
    behind: Array = tasks @ (known.evidence * known.regret).T + error + usual * drawn
    scores: Array = -np.clip(behind / (tasks @ known.evidence.T + usual), 0, WORST)
    return scores


def _shares(draws: Array) -> Array:
    """The share of draws that each candidate wins; where several are best, each wins its part of the draw."""
    best = draws >= draws.max(axis=1, keepdims=True)
    shares: Array = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def _tie_groups(scores: Array, draws: Array) -> npt.NDArray[np.int64]:
    """Each candidate's group, from the best score down: one that differs from the group's best begins the next."""
    order = np.argsort(-np.round(scores, SAME), kind="stable")
    groups, leader, group = np.zeros(len(scores), dtype=np.int64), order[0], 1
    for at in order:
        if np.percentile(draws[:, at] - draws[:, leader], PERCENTS[1]) < 0:
            leader, group = at, group + 1
        groups[at] = group
    return groups
