"""Why a space is what it is, in sentences: what was cut, on which evidence, and how sure that is."""

from lrsearch.heuristics import Bound
from lrsearch.heuristics.evidence import RULES
from lrsearch.heuristics.range_test import HIGH, read_ramp
from lrsearch.recommendation.recommend import ramp_of
from lrsearch.runs import Objective, Run, RunState
from lrsearch.runs.objective import SCORE
from lrsearch.spaces.space import STANDARD_FORMS
from lrsearch.store import StoredRun
from lrsearch.study.explanation import Explanation
from lrsearch.words import counted

SUBJECTS = {
    "peak": "The learning rate",
    "ratio": "The floor as a part of the peak",
    "decay": "What decay leaves at the end",
    "cycles": "The number of cycles",
    "power": "The exponent",
    "warmup": "The warm-up's part of the run",
    "milestones": "The place of drops in the run",
}
ADVICE = {
    "not-reproducible": "Something beside the seed decides what comes out; find that first.",
    "all-diverged": "Look at the scale of the inputs and at the loss: no learning rate helps there.",
    "too-few": "A fifth of the budget is the probes' share; a larger budget pays for more of them.",
    "chance": "A probe takes 2 % of the run; a longer run has longer probes, which may learn something.",
    "flat": "Either the learning rate matters little here, or probes are too short to show that it matters.",
    "edge": "The best rate may lie beyond what this task's optimizer is given.",
}


def sentences(told: Explanation) -> list[str]:
    """Explain a pruned space as one would to a colleague: a sentence for each thing, with where it comes from."""
    return [
        _learning_rate(told),
        _runs(told),
        *(_rule(bound) for bound in told.pruned.bounds if bound.rule),
        _volume(told),
        _grid(told),
        _store(told),
        _exploration(told),
    ]


def summary(told: Explanation) -> list[str]:
    """Say what a table of the bounds does not: why nothing was cut, if so; what was read; what is left."""
    refused = [_learning_rate(told)] if told.pruned.refusal else []
    contradicted = [_store(told)] if told.pruned.contradiction else []
    return [*refused, _runs(told), *contradicted, _volume(told), _grid(told)]


def what_it_showed(run: StoredRun, rules: int = RULES, objective: Objective = SCORE) -> str:
    """Say in a few words what a probe showed.

    A range test shows a learning rate, a constant one the loss that it ended with, or the metric's value.
    """
    if run.policy.name != "RAMP":
        return _level(run.run, objective)
    if not run.run.train_losses and run.run.state is not RunState.FAILED:
        return "no train_loss"
    reading = read_ramp(ramp_of(run), rules)
    if reading.edge:
        return "still falling at its end" if reading.edge == HIGH else "rising from its start"
    if reading.optimum is None:
        return "flat"
    blown_up = f", blew up at {reading.blown_up:.2g}" if reading.blown_up else ""
    return f"bottom around {reading.optimum:.2g}{blown_up}"


def _level(run: Run, objective: Objective) -> str:
    """Say what a constant learning rate ended with; of a user's own training that is the metric."""
    if run.loss is not None:
        return f"loss {run.loss:.4g}"
    return str(run.state) if run.score is None else f"{objective.name} {objective.text(run.score, digits=4)}"


def how_to_search(told: Explanation) -> str:
    """Give the few lines of Python that use the space in a search of one's own."""
    raw, store = told.pruned.raw, f'store="{told.store}"'
    functions = f"functions={list(raw.forms)}, " if raw.forms != STANDARD_FORMS else ""
    if told.study:
        call, task = f'lrs.explain("{told.study}", {store})', ""
    else:
        call = f"lrs.prune(task, {functions}{store}, stored=True)"
        task = f"   # {told.task}, {counted(raw.horizon, 'step')}"
    return (
        "import lrsearch as lrs\n"
        f"space = {call}.space{task}\n"
        "policy = space.suggest(trial)   # in an Optuna objective\n"
        "policy = space.sample(rng)      # in a loop of one's own, or in ray.tune.sample_from; rng is NumPy's"
    )


def _learning_rate(told: Explanation) -> str:
    raw, pruned = told.pruned.raw.peak, told.pruned
    if pruned.refusal:
        code, _, why = pruned.refusal.partition(": ")
        return (
            f"The learning rate is not narrowed and stays at {raw.low:g} to {raw.high:g}: {why} ({code})."
            f" {ADVICE[code]}"
        )
    peak = next(bound for bound in pruned.bounds if bound.coordinate == "peak")
    return (
        f"The learning rate is searched from {peak.low:g} to {peak.high:g} instead of {raw.low:g} to {raw.high:g}:"
        f" {peak.reason}."
    )


def _runs(told: Explanation) -> str:
    """Say how many short runs that rests on."""
    ramps = [run for run in told.probes if run.policy.name == "RAMP"]
    constant = [run for run in told.probes if run.policy.name != "RAMP"]
    read = [
        f"{counted(len(runs), what)} of {counted(runs[0].horizon, 'step')}"
        for runs, what in ((ramps, "range test"), (constant, "constant learning rate"))
        if runs
    ]
    shorter = counted(told.set_aside, "shorter one")
    aside = f"; {shorter} showed no difference and {_were(told.set_aside)} set aside" if told.set_aside else ""
    open_ = " Some of its probes have not ended: this is what they say so far." if told.is_open else ""
    failed = f" {counted(told.failed, 'probe')} failed and {_were(told.failed)} left out." if told.failed else ""
    return (
        f"It was read from {' and '.join(read) or 'no run'}{aside}, which cost {told.spent.fre:.2f} full runs"
        f" in all.{failed}{_silent(ramps)}{open_}"
    )


def _silent(ramps: list[StoredRun]) -> str:
    """Say that range tests showed nothing, because the training logs no training loss."""
    if any(run.run.train_losses or run.run.state is RunState.FAILED for run in ramps) or not ramps:
        return ""
    return (
        " The training logs no train_loss, so its range test shows nothing: the constant learning rates alone were"
        " read, from 0.01 on."
    )


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _rule(bound: Bound) -> str:
    subject = SUBJECTS[bound.coordinate]
    return f"{subject} is searched from {bound.low:.3g} to {bound.high:.3g}, by rule: {bound.reason}."


def _volume(told: Explanation) -> str:
    volume = told.pruned.log_volume
    return (
        f"Of the raw space's prior mass {100 * 10**volume:.2g} % is left (log-volume {volume:.2f}), every LR"
        " function counted equally and every range on its own scale."
    )


def _grid(told: Explanation) -> str:
    before, after = told.grid
    raw = told.pruned.raw.peak
    kept = "all of them are still there" if before == after else f"{after} of them {_are(after)} left"
    return (
        f"A grid of learning rates at 1, 1.5, 2, 3, 5, 7 in each decade from {raw.low:g} to {raw.high:g} has"
        f" {counted(before, 'point')}; {kept}."
    )


def _store(told: Explanation) -> str:
    """Say what else the store knew, and whether it agrees."""
    if told.study is None:
        return "Only this task's own short runs were read; what the store knows of others was left out."
    if told.pruned.contradiction:
        return f"The store does not agree: {told.pruned.contradiction}."
    if not told.recommended:
        return "The store knew no similar task when this began, so nothing in it could contradict the probes."
    sources = ", ".join(dict.fromkeys(known.task for known in told.recommended))
    if told.pruned.refusal:
        return f"What the store knows from {sources} was not compared, for the probes taught nothing."
    return f"Nothing that the store recommended from {sources} contradicts the probes."


def _exploration(told: Explanation) -> str:
    """Say whether the cut was tested by policies from outside, and how that ended."""
    found = told.exploration
    if not found.outside:
        return "No policy from outside of the space has been tried yet, so nothing has tested the cut."
    tried = f"Of {counted(found.candidates, 'short candidate')} {found.outside} came from outside of the space"
    if found.widened:
        return f"{tried}, and one of them won clearly: later candidates came from the raw space as well."
    if found.won:
        return f"{tried}, and one of them won clearly, but too late for others to follow: the cut was too narrow."
    return f"{tried}, and none of them was clearly better than those from inside: the cut stands."
