"""Probing: range tests, then decade scaling of FIX, within a fifth of the budget."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrsearch.heuristics import Evidence, Probe
from lrsearch.heuristics.probes import PROBE_RULES, is_flat, next_probe
from lrsearch.heuristics.range_test import disagree, range_test_optimum, read_ramp
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.recommend import ramp_of
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.objective import finite_cost, objectives_of
from lrsearch.runs.roles import Origin, Role
from lrsearch.runs.task import OWN
from lrsearch.schedules import FIX, RAMP, Policy
from lrsearch.spaces import Space
from lrsearch.store import Trial
from lrsearch.study.strategy import Proposal, Setup, is_open, with_role

CHECK_STEPS = 2
MOST_RAMPS = 4
RAMP_STEPS = 300
PROBE_SHARE = 0.2
MOST_DOUBLED = 4
TOO_UNCERTAIN = 0.5
"""Decades: what is recommended with more doubt cannot contradict the probes."""


def ramp_steps(task: Task | Space) -> int:
    """Give the steps of a range test: 300, at most a quarter of the horizon.

    A faster ramp reads too high: on digits-cnn 128 steps find 0.39 to 0.65 over four seeds, 300 steps 0.21 to
    0.26, where full runs are stable at 0.1, and one of three seeds fails at 0.17.
    """
    return min(RAMP_STEPS, max(1, task.horizon // 4))


def ramp_count(setup: Setup) -> int:
    """Give how many range tests come first: two seeds, one where two would take over half of the probes' share."""
    if Role.RANGE_TEST in setup.without:
        return 0
    return 2 if 4 * ramp_steps(setup.task) <= PROBE_SHARE * setup.cap else 1


def chance_of(description: Mapping[str, Any]) -> float | None:
    """What `Task.chance_loss` says, from the task's description alone."""
    return math.log(description["data"]["classes"]) if "metric" in description else None


def level_of(description: Mapping[str, Any]) -> Callable[[Run], float]:
    """What `Task.level` does, from the task's description alone: a validation loss, or the cost of the objective."""
    if "metric" in description:
        return lambda run: math.inf if run.loss is None else run.loss
    (objective, *_) = objectives_of(description)
    return lambda run: finite_cost(objective, run.score)


def probe_steps(task: Task | Space) -> int:
    """Give the steps of a probe: 2 % of the horizon, at most an epoch, at least 50."""
    least = min(50, task.horizon)
    return min(max(round(0.02 * task.horizon), least), max(round(task.epoch), least))


def transferred(
    raw: Space, recommended: Sequence[Recommendation], own_optimum: float | None
) -> list[tuple[Recommendation, Policy]]:
    """Give what is recommended, each with its policy here: over this horizon, of the LR functions searched."""
    policies = [(known, known.transferred(raw.horizon, own_optimum).rounded()) for known in recommended]
    return [(known, policy) for known, policy in policies if policy.form in raw.forms]


def gather(setup: Setup, history: Sequence[Trial]) -> Evidence:
    """Give the evidence in a history's probes, the longest ones, and in what the store recommended."""
    task = setup.task
    return evidence_of(setup.raw, task.chance_loss, setup.recommended, history, setup.rules, task.level)


def evidence_of(
    raw: Space,
    chance_loss: float | None,
    recommended: Sequence[Recommendation],
    history: Sequence[Trial],
    rules: int,
    level: Callable[[Run], float],
) -> Evidence:
    """Give the same evidence without the task itself: a space, the loss of guessing and how runs are compared."""
    ramps = [trial for trial in with_role(history, Role.RANGE_TEST) if not _has_failed(trial)]
    decades = with_role(history, Role.CONSTANT_LR)
    steps = max((trial.horizon for trial in decades), default=probe_steps(raw))
    longest = [trial for trial in decades if trial.horizon == steps]
    ended = [trial.stored for trial in longest if trial.run and trial.stored and not _has_failed(trial)]
    read = tuple(ramp_of(trial.stored) for trial in ramps if trial.run and trial.stored)
    own_optimum = range_test_optimum([read_ramp(ramp, rules) for ramp in read])
    stored = [
        policy
        for known, policy in transferred(raw, recommended, own_optimum)
        if known.uncertainty(own_optimum) < TOO_UNCERTAIN
    ]
    return Evidence(
        chance_loss,
        steps,
        read,
        tuple(Probe(p.key, p.policy.params["k0"], p.seed, level(p.run)) for p in ended),
        tuple(raw.coordinates(policy)["peak"] for policy in stored),
        rules,
        tuple((one.policy.params["k0"], one.seed) for one in longest if _has_failed(one)),
    )


def _has_failed(trial: Trial) -> bool:
    """Tell whether an error ended a run: it says nothing of its learning rate, as a divergence does."""
    return trial.run is not None and trial.run.state is RunState.FAILED


def next_probing(setup: Setup, history: Sequence[Trial]) -> Proposal | None:
    """Say what to probe next; None while a probe is open, and when there is nothing left to probe."""
    checks = with_role(history, Role.CHECK)
    if setup.task.trainer == OWN and Role.CHECK not in setup.without and (not checks or is_open(checks)):
        return None if checks else _check(setup)
    ramps, decades = with_role(history, Role.RANGE_TEST), with_role(history, Role.CONSTANT_LR)
    if len(ramps) < ramp_count(setup) and _may_repeat(setup, ramps):
        return _ramp(setup, len(ramps))
    if is_open([*ramps, *decades]):
        return None
    spent = sum(trial.committed for trial in [*ramps, *decades])
    left = min(PROBE_SHARE * setup.cap, setup.cap - setup.task.horizon) - spent
    evidence = gather(setup, history)
    readings = [read_ramp(ramp, evidence.rules) for ramp in evidence.ramps]
    if not decades and disagree(readings) and len(ramps) < MOST_RAMPS and left >= ramp_steps(setup.task):
        return _ramp(setup, len(ramps))
    if _is_worth_doubling(setup, evidence, left):
        evidence = replace(evidence, probe_steps=2 * evidence.probe_steps, probes=(), failed=())
    wanted = next_probe(evidence, range_test_optimum(readings), setup.task.lr_range)
    if wanted is None or left < evidence.probe_steps:
        return None
    lr, repeat = wanted
    return Proposal(
        Role.CONSTANT_LR, Origin.RULE, evidence.probe_steps, setup.probe_seed(repeat), setup.raw, FIX(k0=lr).rounded()
    )


def _may_repeat(setup: Setup, ramps: Sequence[Trial]) -> bool:
    """Tell whether another range test may be asked for: not where the first shows that none can be read.

    A training of one's own may log no train_loss; only its first range test tells.
    """
    if not ramps or setup.task.trainer != OWN:
        return True
    return any(trial.run and trial.run.train_losses and not _has_failed(trial) for trial in ramps)


def _is_worth_doubling(setup: Setup, evidence: Evidence, left: float) -> bool:
    """Tell whether probes twice as long come next: what was seen is flat, and three of them can be paid for."""
    longer = 2 * evidence.probe_steps
    if next_probe(evidence, None, setup.task.lr_range) is not None or not is_flat(evidence):
        return False
    return longer <= MOST_DOUBLED * probe_steps(setup.task) and PROBE_RULES.least_decades * longer <= left


def check_run(task: Task) -> RunSpec:
    """The run that shows what is wrong with a training of one's own before it costs much: at its lowest rate."""
    return RunSpec(task, FIX(k0=task.lr_range[0]), CHECK_STEPS, 0)


def _check(setup: Setup) -> Proposal:
    spec = check_run(setup.task)
    return Proposal(Role.CHECK, Origin.RULE, spec.horizon, spec.seed, setup.raw, spec.policy)


def range_test(task: Task) -> Policy:
    """Give the policy of a search's range tests: over all learning rates of the task's optimizer."""
    low, high = task.lr_range
    return RAMP(k0=low, k1=high, l=max(1, ramp_steps(task) - 1))


def _ramp(setup: Setup, repeat: int) -> Proposal:
    task = setup.task
    return Proposal(
        Role.RANGE_TEST, Origin.RULE, ramp_steps(task), setup.probe_seed(repeat), setup.raw, range_test(task)
    )
