"""The numbers by which a search probes and how its funnel narrows, each with its reason: a measurement or a rule."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbingRules:
    """The numbers of probing."""

    check_steps: int = 2
    """Updates of the check of a user's training. A rule: the second update shows whether the policy is applied."""
    ramp_steps: int = 300
    """Updates of a range test. Measured on digits-cnn, four seeds: 128 steps put the optimum at 0.39 to 0.65, 300 steps
    at 0.21 to 0.26. Full runs are stable at 0.1, and one of three seeds fails at 0.17."""
    ramp_share: float = 0.25
    """The longest range test, as a share of the horizon: a rule."""
    ramps: int = 2
    """Range tests of a search. Measured over 8 seeds: the lowest loss scatters by 0.1 decades."""
    most_ramps: int = 4
    """Range tests where the first two disagree: a rule."""
    share: float = 0.2
    """The part of the budget for all probes: a rule. One range test and a default cost 1.15 full runs."""
    probe_share: float = 0.02
    """The steps of a constant-LR probe, as a share of the horizon; at most an epoch. A rule."""
    least_probe_steps: int = 50
    """The steps of the shortest constant-LR probe: a rule."""
    most_doubled: int = 4
    """The longest constant-LR probes, as a multiple of the first: flat probes are doubled twice. A rule."""
    too_uncertain: float = 0.5
    """Decades. A rule: a transferred policy of more uncertainty cannot contradict the probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelRules:
    """The numbers of the funnel."""

    divisors: tuple[int, ...] = (16, 4, 1)
    """The horizon over the steps of each rung, shortest rung first. A rule: each rung costs about a third."""
    confirm_share: float = 0.5
    """The part of the rest of the budget for confirming pairs. A rule: without fresh seeds the answer is biased."""
    most_pairs: int = 10
    """Confirming pairs of a search: a rule."""
    least_pairs: int = 2
    """Pairs from which repeats tell the noise. A rule of statistics: one pair leaves no degree of freedom."""
    least_rest: float = 1.4
    """Full runs for candidates beside the least pairs. A budget of 8 leaves them after a fifth for probes, the default
    and two pairs: 8 - 1.6 - 1 - 4."""
    explore_every: int = 8
    """One candidate in eight is an exploration trial. A rule: a wrongly pruned range is noticed."""
    clearly: float = 0.25
    """The lead of a clear winner, for a metric that is no share. A rule for one short run of each policy: a quarter of
    the way from the median policy to the best."""
    clear_errors: float = 2.0
    """The lead of a clear winner in standard errors, for a share: about 95 %."""
    batch: int = 8
    """Candidates that are suggested before any of them has ended. So the search is the same on one worker and on
    eight."""
    most_known: int = 2
    """The task's known policies that are tried: a rule."""
    most_stored: int = 2
    """Stored policies that are tried. Measured (studies/deepobs): a wrong store costs 1.10 times as much as none
    [1.02, 1.17]."""
    long_share: float = 0.25
    """The share of its task's horizon from which a stored run is trusted with a full run. A rule. Measured on four
    tasks: the best peak lies 0.23 to 0.54 decades too high at a sixteenth, 0.03 to 0.41 at a quarter."""
    default_warmup: float = 0.05
    """The warm-up of the strong default, as a share of the horizon: a rule."""
    default_peak: float = 0.5
    """The peak of the strong default, as a share of the range-test optimum. Measured: at the optimum itself digits-cnn
    loses 8 points, for it can lie past the edge of divergence."""
    draws: int = 100
    """Tries to draw a policy from outside the pruned space: a rule."""


PROBING = ProbingRules()
FUNNEL = FunnelRules()
