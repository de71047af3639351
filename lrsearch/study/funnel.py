"""The funnel: probe, prune, then shorter complete runs of stretched policies, the best of which go on to longer ones.

A short run is never the beginning of a long one: a schedule that decays late looks bad early. It is the whole policy,
stretched to a sixteenth or a quarter of the horizon. Policies that did well in longer runs of a near task skip the
short rungs: a policy for long runs loses short ones.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrsearch.errors import BudgetError
from lrsearch.heuristics import Pruned, prune
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.candidates import NEIGHBOURS
from lrsearch.recommendation.known import LOCAL, PUBLISHED
from lrsearch.runs import Objective
from lrsearch.runs.objective import finite_cost
from lrsearch.runs.roles import Origin, Role
from lrsearch.schedules import HALFCOS, WARMUP, Policy
from lrsearch.spaces import Space
from lrsearch.store import Trial
from lrsearch.study.probing import gather, next_probing, ramp_count, ramp_steps, transferred
from lrsearch.study.rules import FUNNEL, PROBING
from lrsearch.study.strategy import Proposal, Setup, committed, is_open, with_role


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates of each rung, shortest rung first, once the cost of the probes is known.

    Args:
        horizons: steps of each rung's runs.
        counts: candidates of each rung.
    """

    horizons: tuple[int, ...]
    counts: tuple[int, ...]


def plan(setup: Setup, probing: int, trusted: int = 0) -> Plan:
    """Share the budget that is left after the probes, the default and full runs of trusted stored policies.

    About half goes to confirming pairs of full runs; at least two pairs where only repeats tell the noise. The rungs
    get the rest, b FRE. The longest has b/3 full runs, at least one. The two shorter rungs share what then remains: a
    FRE buys 16 candidates at N/16, 4 at N/4. Where b does not pay for one candidate through all rungs, there are none.

    Args:
        setup: the study's setup.
        probing: the steps that the probes cost.
        trusted: the number of trusted stored policies.
    """
    n = setup.task.horizon
    horizons = tuple(max(1, round(n / divisor)) for divisor in FUNNEL.divisors)
    rest = (setup.cap - probing) / n - 1 - trusted
    b = rest - 2 * _pairs(setup.task.objective, rest)
    full = max(1, int(b / 3))
    quarter = max(full, int((b - full) / 2 * n / horizons[1]))
    sixteenth = int(((b - full) * n - quarter * horizons[1]) / horizons[0])
    return Plan(horizons, (sixteenth, quarter, full) if sixteenth >= quarter else (0, 0, 0))


@dataclass(frozen=True, slots=True)
class Funnel:
    """The strategy of `lrsearch search`."""

    name: str = "funnel"

    def check(self, setup: Setup) -> None:
        """Refuse a budget that does not pay for the default and its range tests."""
        n = setup.task.horizon
        least = n + ramp_count(setup) * ramp_steps(setup.task)
        if setup.cap < least:
            tested = " and its range test" if least > n else " alone would"
            raise BudgetError(
                f"a budget of {setup.budget:g} FRE is too small: the default's run{tested} cost"
                f" {math.ceil(100 * least / n) / 100:g}, and a search starts to pay from about 4"
            )

    def next(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """The next trial: a probe, the default, a candidate, a promotion, or a confirming run."""
        if (probe := next_probing(setup, history)) is not None:
            return probe
        if is_open(with_role(history, Role.CHECK) + with_role(history, Role.RANGE_TEST)):
            return None
        is_probing = is_open(with_role(history, Role.CONSTANT_LR))
        if not with_role(history, Role.DEFAULT):  # after a flat range test, its peak comes from the constant LRs
            is_flat = is_probing and self.pruned(setup, history).optimum is None
            return None if is_flat else self._default(setup, history)
        if is_probing:
            return None
        trusted = self.trusted(setup, history)
        tried = {trial.policy for trial in _rung(history, setup.task.horizon)}
        for policy in trusted:
            if policy not in tried:
                space = self.space(setup, history)
                return Proposal(Role.CANDIDATE, Origin.STORED, setup.task.horizon, setup.search_seed, space, policy)
        planned = plan(setup, probed(history), len(trusted))
        is_batch_whole = len(_rung(history, planned.horizons[0])) % FUNNEL.batch == 0
        searched = with_role(history, Role.DEFAULT) + with_role(history, Role.CANDIDATE)
        if is_batch_whole and is_open(searched):
            return None
        return (
            self._candidate(setup, history, planned, trusted)
            or self._promotion(setup, history, planned)
            or self._confirmation(setup, history)
        )

    def pruned(self, setup: Setup, history: Sequence[Trial]) -> Pruned:
        """The space as the probes prune it, with the reasons."""
        return prune(setup.raw, gather(setup, history))

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """The pruned space."""
        return self.pruned(setup, history).space

    def _default(self, setup: Setup, history: Sequence[Trial]) -> Proposal:
        pruned = self.pruned(setup, history)
        n, policy = setup.task.horizon, strong_default(setup, pruned)
        return Proposal(Role.DEFAULT, Origin.DEFAULT, n, setup.search_seed, pruned.space, policy)

    def trusted(self, setup: Setup, history: Sequence[Trial]) -> list[Policy]:
        """The stored policies that are tried over the whole horizon without a shorter run, once probing has ended.

        They come from long local runs on a near task, have a peak in the pruned range, and are not nearly the default.
        They never take the budget of the last candidates: a store of one task may not end the search of another.
        """
        long = [stored for stored in setup.recommended if stored.origin == LOCAL and stored.share >= FUNNEL.long_share]
        if not long:
            return []
        pruned = self.pruned(setup, history)
        default = strong_default(setup, pruned)
        policies = [
            policy
            for stored, policy in _stored(setup, pruned)
            if stored in long
            and stored.uncertainty(pruned.optimum) < PROBING.too_uncertain
            and not _is_near(setup, policy, default)
        ][: FUNNEL.most_stored]
        paid = [n for n in range(len(policies) + 1) if plan(setup, probed(history), n).counts[-1]]
        return policies[: max(paid)] if paid else policies

    def _candidate(
        self, setup: Setup, history: Sequence[Trial], planned: Plan, trusted: Sequence[Policy]
    ) -> Proposal | None:
        """A new candidate for the shortest rung: the first policies, then suggestions and exploration trials."""
        candidates = _rung(history, planned.horizons[0])
        if len(candidates) >= planned.counts[0]:
            return None
        pruned = self.pruned(setup, history)
        tried = {*trusted, *(trial.policy for trial in [*candidates, *with_role(history, Role.DEFAULT)])}
        number = len(candidates)

        def propose(origin: Origin, policy: Policy | None) -> Proposal:
            return Proposal(Role.CANDIDATE, origin, planned.horizons[0], setup.search_seed, pruned.space, policy)

        for origin, policy in _first_policies(setup, pruned):
            if policy not in tried:
                return propose(origin, policy)
        ended = candidates[: number - number % FUNNEL.batch]
        if _is_exploration(number) or exploration_won(ended, setup.task.objective):
            return propose(Origin.EXPLORATION, _outside(setup, pruned.space, number))
        return propose(Origin.SUGGESTED, None)

    def _promotion(self, setup: Setup, history: Sequence[Trial], planned: Plan) -> Proposal | None:
        """The best candidate that is promoted whatever the scores of the open ones will be.

        So the same candidates are promoted in any order in which runs end, on one worker or on many.
        """
        for rung in (1, 0):
            ended, finished = _outcome(setup, history, planned.horizons[rung])
            unknown = _expected(setup, planned, history, rung) - ended
            above = {trial.policy for trial in _rung(history, planned.horizons[rung + 1])}
            for trial in finished[: max(0, planned.counts[rung + 1] - unknown)]:
                if trial.policy not in above:
                    steps, space = planned.horizons[rung + 1], self.space(setup, history)
                    return Proposal(Role.CANDIDATE, trial.origin, steps, setup.search_seed, space, trial.policy)
        return None

    def _confirmation(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """The default or the best candidate on a fresh seed, in turn, for as many pairs as the budget pays for."""
        others = [trial for trial in history if trial.role != Role.CONFIRM]
        best, default = best_candidate(setup, history), with_role(history, Role.DEFAULT)[0]
        if best is None or is_open(others) or best.policy == default.policy:
            return None
        done = len(with_role(history, Role.CONFIRM))
        n, pair = setup.task.horizon, done // 2
        if done % 2 == 0 and (pair >= FUNNEL.most_pairs or committed(history) + 2 * n > setup.cap):
            return None
        trial = default if done % 2 == 0 else best
        space = self.space(setup, history)
        return Proposal(Role.CONFIRM, trial.origin, n, setup.fresh_seed(pair), space, trial.policy)


def probed(history: Sequence[Trial]) -> int:
    """The steps that all probes have cost."""
    probes = with_role(history, Role.RANGE_TEST) + with_role(history, Role.CONSTANT_LR)
    return sum(trial.run.steps for trial in probes if trial.run)


def strong_default(setup: Setup, pruned: Pruned) -> Policy:
    """The policy that a person takes without a search: warm-up and cosine, its peak half the range-test optimum.

    After a flat range test, the peak is the middle of the pruned range.
    """
    n = setup.task.horizon
    middle = math.sqrt(pruned.space.peak.low * pruned.space.peak.high)
    peak = FUNNEL.default_peak * pruned.optimum if pruned.optimum else middle
    warmup = max(1, round(FUNNEL.default_warmup * n))
    return WARMUP(policy=HALFCOS(k0=float(f"{peak:.3g}"), l=n - warmup), l=warmup)


def best_candidate(setup: Setup, history: Sequence[Trial]) -> Trial | None:
    """The best full-length candidate by the search's seed; None if none finished."""
    ended = [trial for trial in _rung(history, setup.task.horizon) if trial.run and trial.run.score is not None]
    return min(ended, key=lambda trial: trial.rank(setup.task.objective), default=None)


def is_widened(history: Sequence[Trial]) -> bool:
    """Whether more than every eighth candidate came from outside, because an exploration trial had won."""
    shortest = min((t.horizon for t in with_role(history, Role.CANDIDATE)), default=0)
    origins = [trial.origin for trial in _rung(history, shortest)]
    return any(origin == Origin.EXPLORATION and not _is_exploration(n) for n, origin in enumerate(origins))


def exploration_won(candidates: Sequence[Trial], objective: Objective) -> bool:
    """Whether a policy from outside the pruned space clearly beats all from inside.

    A share must be better by over 2 standard errors. The noise of any other metric is unknown with one seed. There the
    lead must be over a quarter of the way from the median policy inside to the best one. So the answer stays the same
    where a constant is added to the metric, or a positive factor multiplies it.
    """
    costs: dict[bool, list[float]] = {True: [], False: []}
    for trial in candidates:
        if trial.run and (cost := finite_cost(objective, trial.run.score)) < math.inf:
            costs[trial.origin == Origin.EXPLORATION].append(cost)
    if not costs[True] or len(costs[False]) < FUNNEL.explore_every - 1:
        return False
    outside, inside = min(costs[True]), min(costs[False])
    if objective.samples is None:
        return inside - outside > FUNNEL.clearly * (statistics.median(costs[False]) - inside)
    error = math.sqrt(sum(abs(cost) * (1 - abs(cost)) for cost in (outside, inside)) / objective.samples)
    return inside - outside > FUNNEL.clear_errors * error


def _is_exploration(number: int) -> bool:
    """Whether the candidate of this number, from 0 on, is an exploration trial by rule."""
    return number % FUNNEL.explore_every == FUNNEL.explore_every - 1


def _pairs(objective: Objective, rest: float) -> int:
    """The number of confirming pairs that the rest of the budget, in FRE, is planned for."""
    pairs = int(max(0, rest) * FUNNEL.confirm_share / 2)
    is_too_small = rest - 2 * FUNNEL.least_pairs < FUNNEL.least_rest - 1e-9
    return pairs if objective.is_share or is_too_small else max(pairs, FUNNEL.least_pairs)


def _rung(history: Sequence[Trial], horizon: int) -> list[Trial]:
    return [trial for trial in with_role(history, Role.CANDIDATE) if trial.horizon == horizon]


def _outcome(setup: Setup, history: Sequence[Trial], horizon: int) -> tuple[int, list[Trial]]:
    """The number of ended trials of a rung, and the finished ones, best first, each policy once."""
    ended = [trial for trial in _rung(history, horizon) if trial.run]
    scored = [trial for trial in ended if trial.run and trial.run.score is not None]
    finished = sorted(scored, key=lambda trial: trial.rank(setup.task.objective))
    return len(ended), list({trial.policy: trial for trial in reversed(finished)}.values())[::-1]


def _expected(setup: Setup, planned: Plan, history: Sequence[Trial], rung: int) -> int:
    """The number of trials that a rung will have: as planned, or as many as the shorter rung can still promote."""
    if rung == 0:
        return planned.counts[0]
    ended, finished = _outcome(setup, history, planned.horizons[rung - 1])
    is_closed = ended >= _expected(setup, planned, history, rung - 1)
    return min(planned.counts[rung], len(finished)) if is_closed else planned.counts[rung]


def _first_policies(setup: Setup, pruned: Pruned) -> list[tuple[Origin, Policy]]:
    """The policies that are tried first: the user's, the task's known ones, and stored ones with a peak in the range.

    Only their peak must lie in the pruned range. Other rules of the pruner, such as epoch multiples, do not bind
    policies that did well.
    """
    of_task = [policy for policy in setup.task.known if policy.form in setup.raw.forms][: FUNNEL.most_known]
    known = [(Origin.KNOWN, policy) for policy in (*setup.known, *of_task)]
    stored = [
        (Origin.PUBLISHED if recommendation.origin == PUBLISHED else Origin.STORED, policy)
        for recommendation, policy in _stored(setup, pruned)
    ]
    return known + stored[: FUNNEL.most_stored]


def _stored(setup: Setup, pruned: Pruned) -> list[tuple[Recommendation, Policy]]:
    """The store's recommendations with their transferred policies, where the peak is in the pruned range."""
    return [
        (recommendation, policy)
        for recommendation, policy in transferred(setup.raw, setup.recommended, pruned.optimum)
        if setup.raw.coordinates(policy)["peak"] in pruned.space.peak
    ]


def _is_near(setup: Setup, policy: Policy, other: Policy) -> bool:
    """Whether two policies have the same form and nearly the same peak, so that a run of one stands for both."""
    peak, other_peak = (setup.raw.coordinates(each)["peak"] for each in (policy, other))
    return policy.form == other.form and abs(math.log10(peak / other_peak)) <= NEIGHBOURS


def _outside(setup: Setup, space: Space, number: int) -> Policy:
    """A policy drawn from the raw space that is not in the pruned one."""
    rng = np.random.default_rng((setup.seed, number))
    drawn = [setup.raw.rounded(setup.raw.sample(rng)) for _ in range(FUNNEL.draws)]
    return next((policy for policy in drawn if policy not in space), drawn[0])
