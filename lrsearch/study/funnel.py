"""The funnel: probe, prune, then shorter complete runs of stretched policies, the best of which go on to longer ones.

A short run is never the beginning of a long one: a schedule that decays late looks bad early. It is the whole
policy, stretched to a sixteenth or a quarter of the horizon. What did well in longer runs of a near task is spared
that: a policy for long runs loses short ones.
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
from lrsearch.study.probing import TOO_UNCERTAIN, gather, next_probing, ramp_count, ramp_steps, transferred
from lrsearch.study.strategy import Proposal, Setup, committed, is_open, with_role

SHORTER = (16, 4, 1)
CONFIRM_SHARE = 0.5
MOST_PAIRS = 10
LEAST_PAIRS, LEAST_REST = 2, 1.4
"""Pairs that a noise known from repeats alone needs: one pair leaves it unknown. They are planned where 1.4 FRE are
left for candidates, which a budget of 8 leaves even where probes take their fifth: 8 - 1.6 - 1 - 4."""
EXPLORE_EVERY = 8
CLEARLY = 0.25
"""A rule: of the way from the median policy to the best, in one short run of each."""
BATCH = 8
"""Candidates that are suggested before any of them is known: so the search is the same on one worker and on eight."""
MOST_KNOWN, MOST_STORED = 2, 2
LONG = 0.25
"""Of a task's horizon: shorter runs rank learning rates too high to be trusted with a full one."""
DEFAULT_WARMUP = 0.05
DEFAULT_PEAK = 0.5
"""Of the middle of the range test's bottom. The lowest loss itself can lie past the edge: digits-cnn loses 8 points."""
DRAWS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How many candidates each rung gets, shortest first, once the probes' cost is known.

    Args:
        horizons: steps of each rung's runs.
        counts: candidates of each rung.
    """

    horizons: tuple[int, ...]
    counts: tuple[int, ...]


def plan(setup: Setup, probing: int, trusted: int = 0) -> Plan:
    """Share what is left of the budget after the probes, the default, and full runs of what the store is trusted in.

    About half goes to confirming pairs of full runs; where repeats alone tell the noise, to two pairs at least. Of the
    rest b (in FRE), b/3 full runs, at least one; what then remains is shared by the two shorter rungs: 16 candidates a
    FRE at N/16, 4 at N/4. Where b does not pay for one candidate through all rungs, there are none.
    """
    n = setup.task.horizon
    horizons = tuple(max(1, round(n / shorter)) for shorter in SHORTER)
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
        """Say what comes next: a probe, the default, a candidate, a promotion, or a confirming run."""
        if (probe := next_probing(setup, history)) is not None:
            return probe
        if is_open(with_role(history, Role.CHECK) + with_role(history, Role.RANGE_TEST)):
            return None
        is_probing = is_open(with_role(history, Role.CONSTANT_LR))
        if not with_role(history, Role.DEFAULT):  # where the range test was flat, its peak comes from the decades
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
        shortest = _rung(history, planned.horizons[0])
        if len(shortest) % BATCH == 0 and is_open(
            with_role(history, Role.DEFAULT) + with_role(history, Role.CANDIDATE)
        ):
            return None
        return (
            self._candidate(setup, history, planned, trusted)
            or self._promotion(setup, history, planned)
            or self._confirmation(setup, history)
        )

    def pruned(self, setup: Setup, history: Sequence[Trial]) -> Pruned:
        """Give the space that the probes leave."""
        return prune(setup.raw, gather(setup, history))

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """Give the pruned space."""
        return self.pruned(setup, history).space

    def _default(self, setup: Setup, history: Sequence[Trial]) -> Proposal:
        pruned = self.pruned(setup, history)
        return Proposal(
            Role.DEFAULT,
            Origin.DEFAULT,
            setup.task.horizon,
            setup.search_seed,
            pruned.space,
            strong_default(setup, pruned),
        )

    def trusted(self, setup: Setup, history: Sequence[Trial]) -> list[Policy]:
        """Give what is tried over the whole horizon without a shorter run before, once probing has ended.

        It is the store's, of longer runs of one's own on a near task, in the peaks that the probes leave, and not
        nearly the default. It takes no budget from candidates that would be their last: what a store knows of one task
        may not keep a search from looking at another.
        """
        able = [one for one in setup.recommended if one.origin == LOCAL and one.share >= LONG]
        if not able:
            return []
        pruned = self.pruned(setup, history)
        default = strong_default(setup, pruned)
        found = [
            policy
            for one, policy in _stored(setup, pruned)
            if one in able and one.uncertainty(pruned.optimum) < TOO_UNCERTAIN and not _is_near(setup, policy, default)
        ][:MOST_STORED]
        paid = [n for n in range(len(found) + 1) if plan(setup, probed(history), n).counts[-1]]
        return found[: max(paid)] if paid else found

    def _candidate(
        self, setup: Setup, history: Sequence[Trial], planned: Plan, trusted: Sequence[Policy]
    ) -> Proposal | None:
        """A new candidate for the shortest rung: the caller's, known, and stored ones, then suggestions or escapes."""
        candidates = _rung(history, planned.horizons[0])
        if len(candidates) >= planned.counts[0]:
            return None
        pruned = self.pruned(setup, history)
        asked = {*trusted, *(trial.policy for trial in [*candidates, *with_role(history, Role.DEFAULT)])}
        place = len(candidates)

        def propose(origin: Origin, policy: Policy | None) -> Proposal:
            return Proposal(Role.CANDIDATE, origin, planned.horizons[0], setup.search_seed, pruned.space, policy)

        for origin, policy in _given(setup, pruned):
            if policy not in asked:
                return propose(origin, policy)
        known = candidates[: place - place % BATCH]
        if place % EXPLORE_EVERY == EXPLORE_EVERY - 1 or exploration_won(known, setup.task.objective):
            return propose(Origin.EXPLORATION, _outside(setup, pruned.space, place))
        return propose(Origin.SUGGESTED, None)

    def _promotion(self, setup: Setup, history: Sequence[Trial], planned: Plan) -> Proposal | None:
        """The best candidate that is sure to be among the promoted, whatever the open ones bring.

        So the same candidates are promoted in whatever order runs end, on one worker or on many.
        """
        for rung in (1, 0):
            ended, finished = _outcome(setup, history, planned.horizons[rung])
            unknown = _expected(setup, planned, history, rung) - ended
            above = {trial.policy for trial in _rung(history, planned.horizons[rung + 1])}
            for trial in finished[: max(0, planned.counts[rung + 1] - unknown)]:
                if trial.policy not in above:
                    space = self.space(setup, history)
                    return Proposal(
                        Role.CANDIDATE, trial.origin, planned.horizons[rung + 1], setup.search_seed, space, trial.policy
                    )
        return None

    def _confirmation(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """The default and the best candidate, in turn, on fresh seeds, pair by pair as far as the budget goes."""
        others = [trial for trial in history if trial.role != Role.CONFIRM]
        best, default = best_candidate(setup, history), with_role(history, Role.DEFAULT)[0]
        if best is None or is_open(others) or best.policy == default.policy:
            return None
        done = len(with_role(history, Role.CONFIRM))
        n, pair = setup.task.horizon, done // 2
        if done % 2 == 0 and (pair >= MOST_PAIRS or committed(history) + 2 * n > setup.cap):
            return None
        trial = default if done % 2 == 0 else best
        space = self.space(setup, history)
        return Proposal(Role.CONFIRM, trial.origin, n, setup.fresh_seed(pair), space, trial.policy)


def probed(history: Sequence[Trial]) -> int:
    """Give the steps that range tests and decades have cost."""
    probes = with_role(history, Role.RANGE_TEST) + with_role(history, Role.CONSTANT_LR)
    return sum(trial.run.steps for trial in probes if trial.run)


def strong_default(setup: Setup, pruned: Pruned) -> Policy:
    """Give what a person would do without a search: range test, then one warm-up-and-cosine run at half its bottom.

    Where the range test was flat, the peak is the middle of the pruned range.
    """
    n = setup.task.horizon
    middle = math.sqrt(pruned.space.peak.low * pruned.space.peak.high)
    peak = DEFAULT_PEAK * pruned.optimum if pruned.optimum else middle
    warmup = max(1, round(DEFAULT_WARMUP * n))
    return WARMUP(policy=HALFCOS(k0=float(f"{peak:.3g}"), l=n - warmup), l=warmup)


def best_candidate(setup: Setup, history: Sequence[Trial]) -> Trial | None:
    """Give the best full-length candidate by the search's seed; None if none finished."""
    ended = [trial for trial in _rung(history, setup.task.horizon) if trial.run and trial.run.score is not None]
    return min(ended, key=lambda trial: trial.rank(setup.task.objective), default=None)


def is_widened(history: Sequence[Trial]) -> bool:
    """Tell whether candidates came from outside beside every eighth, because one from outside had won."""
    shortest = min((t.horizon for t in with_role(history, Role.CANDIDATE)), default=0)
    origins = [trial.origin for trial in _rung(history, shortest)]
    return any(origin == "escape" and n % EXPLORE_EVERY != EXPLORE_EVERY - 1 for n, origin in enumerate(origins))


def exploration_won(candidates: Sequence[Trial], objective: Objective) -> bool:
    """Whether a policy from outside the pruned space clearly beats all from inside.

    Of a share by over 2 standard errors. One seed tells no noise of any other metric, so there the measure is how much
    policies matter at all: a quarter of the way from the median policy inside to the best. A constant added to the
    metric, or a positive factor, changes nothing about that.
    """
    costs: dict[bool, list[float]] = {True: [], False: []}
    for trial in candidates:
        if trial.run and (cost := finite_cost(objective, trial.run.score)) < math.inf:
            costs[trial.origin == Origin.EXPLORATION].append(cost)
    if not costs[True] or len(costs[False]) < EXPLORE_EVERY - 1:
        return False
    outside, inside = min(costs[True]), min(costs[False])
    if objective.samples is None:
        return inside - outside > CLEARLY * (statistics.median(costs[False]) - inside)
    error = math.sqrt(sum(abs(cost) * (1 - abs(cost)) for cost in (outside, inside)) / objective.samples)
    return inside - outside > 2 * error


def _pairs(objective: Objective, rest: float) -> int:
    """The confirming pairs that are planned, of what is left of the budget, in FRE."""
    pairs = int(max(0, rest) * CONFIRM_SHARE / 2)
    return pairs if objective.is_share or rest - 2 * LEAST_PAIRS < LEAST_REST - 1e-9 else max(pairs, LEAST_PAIRS)


def _rung(history: Sequence[Trial], horizon: int) -> list[Trial]:
    return [trial for trial in with_role(history, Role.CANDIDATE) if trial.horizon == horizon]


def _outcome(setup: Setup, history: Sequence[Trial], horizon: int) -> tuple[int, list[Trial]]:
    """Give how many trials of a rung have ended, and those that finished, best first, each policy once."""
    ended = [trial for trial in _rung(history, horizon) if trial.run]
    scored = [trial for trial in ended if trial.run and trial.run.score is not None]
    finished = sorted(scored, key=lambda trial: trial.rank(setup.task.objective))
    return len(ended), list({trial.policy: trial for trial in reversed(finished)}.values())[::-1]


def _expected(setup: Setup, planned: Plan, history: Sequence[Trial], rung: int) -> int:
    """Give how many trials a rung will have: as planned, or as many as can still come up from the rung below."""
    if rung == 0:
        return planned.counts[0]
    ended, finished = _outcome(setup, history, planned.horizons[rung - 1])
    is_closed = ended >= _expected(setup, planned, history, rung - 1)
    return min(planned.counts[rung], len(finished)) if is_closed else planned.counts[rung]


def _given(setup: Setup, pruned: Pruned) -> list[tuple[Origin, Policy]]:
    """Give the policies that are tried first: the caller's, the task's known ones, the store's of a peak in the range.

    Only the peak is asked: other rules of the pruner, such as epoch multiples, do not hold for what did well.
    """
    own = [(Origin.KNOWN, policy) for policy in setup.known]
    known = [(Origin.KNOWN, policy) for policy in setup.task.known if policy.form in setup.raw.forms][:MOST_KNOWN]
    stored = [
        (Origin.PUBLISHED if one.origin == PUBLISHED else Origin.STORED, policy)
        for one, policy in _stored(setup, pruned)
    ]
    return own + known + stored[:MOST_STORED]


def _stored(setup: Setup, pruned: Pruned) -> list[tuple[Recommendation, Policy]]:
    """Give what the store recommends, carried over, where its peak is in the range."""
    return [
        (one, policy)
        for one, policy in transferred(setup.raw, setup.recommended, pruned.optimum)
        if setup.raw.coordinates(policy)["peak"] in pruned.space.peak
    ]


def _is_near(setup: Setup, policy: Policy, other: Policy) -> bool:
    """Tell whether two policies are of one form and of nearly one peak: a run of one tells of both."""
    peaks = [setup.raw.coordinates(one)["peak"] for one in (policy, other)]
    return policy.form == other.form and abs(math.log10(peaks[0] / peaks[1])) <= NEIGHBOURS


def _outside(setup: Setup, space: Space, place: int) -> Policy:
    """Draw a policy from the raw space that is not in the pruned one."""
    rng = np.random.default_rng((setup.seed, place))
    drawn = [setup.raw.rounded(setup.raw.sample(rng)) for _ in range(DRAWS)]
    return next((policy for policy in drawn if policy not in space), drawn[0])
