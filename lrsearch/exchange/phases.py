"""Curves in phases: shapes that follow each other."""

from collections.abc import Sequence
from itertools import accumulate

from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS

FIX, NSTEP, LINEAR, CHAIN, FROM, COS, UPCOS = (
    FUNCTIONS[name] for name in ("FIX", "NSTEP", "LINEAR", "CHAIN", "FROM", "COS", "UPCOS")
)
Phase = tuple[float, Policy]


def joined(phases: Sequence[Phase], last: Policy) -> Policy:
    """Join phases of (steps, policy) and a last policy that goes on; a phase of no steps is left out.

    >>> joined([(0, FIX(k0=1)), (5, FIX(k0=0.5))], FIX(k0=0.25))
    CHAIN(policies=[FIX(k0=0.5), FIX(k0=0.25)], at=[5])
    """
    real = [(length, policy) for length, policy in phases if length > 0]
    if not real:
        return last
    return CHAIN(policies=[*(policy for _, policy in real), last], at=list(accumulate(length for length, _ in real)))


def later(policy: Policy, at: float) -> Policy:
    """The rest of a policy after so many steps: as FIX or NSTEP where it is one, else as FROM.

    >>> later(FUNCTIONS["NSTEP"](k0=0.5, gamma=0.5, l=[5, 30]), 10), later(LINEAR(k0=1, l=9), 3)
    (NSTEP(k0=0.25, gamma=0.5, l=[20]), FROM(policy=LINEAR(k0=1, l=9), at=3))
    """
    if at == 0 or policy.name == "FIX":
        return policy
    if policy.name != "NSTEP":
        return FROM(policy=policy, at=at)
    p = policy.params
    ahead = [milestone - at for milestone in p["l"] if milestone > at]
    lr = p["k0"] * p["gamma"] ** (len(p["l"]) - len(ahead))
    return NSTEP(k0=lr, gamma=p["gamma"], l=ahead) if ahead else FIX(k0=lr)


def swing(start: float, other: float, l: float) -> Policy:
    """A cosine from a start to another learning rate and back, l steps each way.

    >>> swing(0.1, 0, 50), swing(0, 0.1, 50)
    (COS(k0=0, k1=0.1, l=50), UPCOS(k0=0, k1=0.1, l=50))
    """
    return COS(k0=other, k1=start, l=l) if start >= other else UPCOS(k0=start, k1=other, l=l)


def is_staircase(policy: Policy) -> bool:
    """Whether a policy is constant between drops at its own steps.

    >>> is_staircase(FIX(k0=0.1)), is_staircase(LINEAR(k0=0.1, l=5))
    (True, False)
    """
    if policy.name == "CHAIN":
        return all(map(is_staircase, policy.parts))
    return policy.name in {"FIX", "STEP", "NSTEP"}
