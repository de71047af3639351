"""Probing: range tests, then constant-LR probes at powers of ten, within a fifth of the budget."""

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
from lrsearch.study.rules import PROBING
from lrsearch.study.strategy import Proposal, Setup, is_open, with_role


def ramp_steps(task: Task | Space) -> int:
    """The steps of a range test: 300, at most a quarter of the horizon."""
    return min(PROBING.ramp_steps, max(1, int(PROBING.ramp_share * task.horizon)))


def ramp_count(setup: Setup) -> int:
    """The number of range tests that come first: two, or one where two cost over half of the probes' share."""
    if Role.RANGE_TEST in setup.without:
        return 0
    cost = PROBING.ramps * ramp_steps(setup.task)
    return PROBING.ramps if 2 * cost <= PROBING.share * setup.cap else 1


def chance_of(description: Mapping[str, Any]) -> float | None:
    """`Task.chance_loss`, from the task's description alone."""
    return math.log(description["data"]["classes"]) if "metric" in description else None


def level_of(description: Mapping[str, Any]) -> Callable[[Run], float]:
    """`Task.level`, from the task's description alone: the validation loss, or the cost of the objective."""
    if "metric" in description:
        return lambda run: math.inf if run.loss is None else run.loss
    (objective, *_) = objectives_of(description)
    return lambda run: finite_cost(objective, run.score)


def probe_steps(task: Task | Space) -> int:
    """The steps of a constant-LR probe: 2 % of the horizon, at most an epoch, at least 50."""
    least = min(PROBING.least_probe_steps, task.horizon)
    return min(max(round(PROBING.probe_share * task.horizon), least), max(round(task.epoch), least))


def transferred(
    raw: Space, recommended: Sequence[Recommendation], own_optimum: float | None
) -> list[tuple[Recommendation, Policy]]:
    """The recommendations with their policies transferred to this horizon, of the LR functions searched."""
    policies = [(stored, stored.transferred(raw.horizon, own_optimum).rounded()) for stored in recommended]
    return [(stored, policy) for stored, policy in policies if policy.form in raw.forms]


def gather(setup: Setup, history: Sequence[Trial]) -> Evidence:
    """The evidence of a history: its range tests, its longest constant-LR probes and the store's recommendations."""
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
    """The evidence of a history without its task.

    Args:
        raw: the raw space.
        chance_loss: the loss of guessing; None where it is unknown.
        recommended: the store's recommendations when the study began.
        history: the study's trials.
        rules: the version of the rules that read range tests.
        level: the number by which runs are compared, lower is better.
    """
    ramps = [trial for trial in with_role(history, Role.RANGE_TEST) if not _has_failed(trial)]
    probes = with_role(history, Role.CONSTANT_LR)
    steps = max((trial.horizon for trial in probes), default=probe_steps(raw))
    longest = [trial for trial in probes if trial.horizon == steps]
    ended = [trial.stored for trial in longest if trial.run and trial.stored and not _has_failed(trial)]
    read = tuple(ramp_of(trial.stored) for trial in ramps if trial.run and trial.stored)
    own_optimum = range_test_optimum([read_ramp(ramp, rules) for ramp in read])
    stored = [
        policy
        for recommendation, policy in transferred(raw, recommended, own_optimum)
        if recommendation.uncertainty(own_optimum) < PROBING.too_uncertain
    ]
    return Evidence(
        chance_loss,
        steps,
        read,
        tuple(Probe(run.key, run.policy.params["k0"], run.seed, level(run.run)) for run in ended),
        tuple(raw.coordinates(policy)["peak"] for policy in stored),
        rules,
        tuple((trial.policy.params["k0"], trial.seed) for trial in longest if _has_failed(trial)),
    )


def _has_failed(trial: Trial) -> bool:
    """Whether an error ended the run. Unlike a divergence, it is no evidence about the learning rate."""
    return trial.run is not None and trial.run.state is RunState.FAILED


def next_probing(setup: Setup, history: Sequence[Trial]) -> Proposal | None:
    """The next probe; None while a probe is open, and when probing is done."""
    checks = with_role(history, Role.CHECK)
    if setup.task.trainer == OWN and Role.CHECK not in setup.without and (not checks or is_open(checks)):
        return None if checks else _check(setup)
    ramps, probes = with_role(history, Role.RANGE_TEST), with_role(history, Role.CONSTANT_LR)
    if len(ramps) < ramp_count(setup) and _may_repeat(setup, ramps):
        return _ramp(setup, len(ramps))
    if is_open([*ramps, *probes]):
        return None
    spent = sum(trial.committed for trial in [*ramps, *probes])
    left = min(PROBING.share * setup.cap, setup.cap - setup.task.horizon) - spent
    evidence = gather(setup, history)
    readings = [read_ramp(ramp, evidence.rules) for ramp in evidence.ramps]
    may_add = not probes and len(ramps) < PROBING.most_ramps and left >= ramp_steps(setup.task)
    if may_add and disagree(readings):
        return _ramp(setup, len(ramps))
    if _is_worth_doubling(setup, evidence, left):
        evidence = replace(evidence, probe_steps=2 * evidence.probe_steps, probes=(), failed=())
    probe = next_probe(evidence, range_test_optimum(readings), setup.task.lr_range)
    if probe is None or left < evidence.probe_steps:
        return None
    (lr, repeat), steps = probe, evidence.probe_steps
    return Proposal(Role.CONSTANT_LR, Origin.RULE, steps, setup.probe_seed(repeat), setup.raw, FIX(k0=lr).rounded())


def _may_repeat(setup: Setup, ramps: Sequence[Trial]) -> bool:
    """Whether another range test can be read.

    A user's own training may log no train_loss, which only its first range test shows.
    """
    if not ramps or setup.task.trainer != OWN:
        return True
    return any(trial.run and trial.run.train_losses and not _has_failed(trial) for trial in ramps)


def _is_worth_doubling(setup: Setup, evidence: Evidence, left: float) -> bool:
    """Whether probes twice as long come next: the evidence is flat, and the budget pays for three of them."""
    longer = 2 * evidence.probe_steps
    if next_probe(evidence, None, setup.task.lr_range) is not None or not is_flat(evidence):
        return False
    return longer <= PROBING.most_doubled * probe_steps(setup.task) and PROBE_RULES.least_decades * longer <= left


def check_run(task: Task) -> RunSpec:
    """The run that checks a user's own training before it costs much: two updates at its lowest LR."""
    return RunSpec(task, FIX(k0=task.lr_range[0]), PROBING.check_steps, 0)


def _check(setup: Setup) -> Proposal:
    spec = check_run(setup.task)
    return Proposal(Role.CHECK, Origin.RULE, spec.horizon, spec.seed, setup.raw, spec.policy)


def range_test(task: Task) -> Policy:
    """The policy of a search's range tests, over the LR range of the task."""
    low, high = task.lr_range
    return RAMP(k0=low, k1=high, l=max(1, ramp_steps(task) - 1))


def _ramp(setup: Setup, repeat: int) -> Proposal:
    steps, policy = ramp_steps(setup.task), range_test(setup.task)
    return Proposal(Role.RANGE_TEST, Origin.RULE, steps, setup.probe_seed(repeat), setup.raw, policy)
