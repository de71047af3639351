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


def sentences(explanation: Explanation) -> list[str]:
    """Explain a pruned space as one would to a colleague: a sentence for each thing, with where it comes from."""
    return [
        _learning_rate(explanation),
        _runs(explanation),
        *(_rule(bound) for bound in explanation.pruned.bounds if bound.rule),
        _volume(explanation),
        _grid(explanation),
        _store(explanation),
        _exploration(explanation),
    ]


def summary(explanation: Explanation) -> list[str]:
    """What the table of bounds does not show: why nothing was cut, what was read, what is left."""
    refused = [_learning_rate(explanation)] if explanation.pruned.refusal else []
    contradicted = [_store(explanation)] if explanation.pruned.contradiction else []
    return [*refused, _runs(explanation), *contradicted, _volume(explanation), _grid(explanation)]


def what_it_showed(run: StoredRun, rules: int = RULES, objective: Objective = SCORE) -> str:
    """What a probe showed, in a few words.

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
    """The result of a constant learning rate; of a user's own training that is the metric."""
    if run.loss is not None:
        return f"loss {run.loss:.4g}"
    return str(run.state) if run.score is None else f"{objective.name} {objective.text(run.score, digits=4)}"


def how_to_search(explanation: Explanation) -> str:
    """A few lines of Python that use the space in the user's own search."""
    raw, store = explanation.pruned.raw, f'store="{explanation.store}"'
    functions = f"functions={list(raw.forms)}, " if raw.forms != STANDARD_FORMS else ""
    if explanation.study:
        call, task = f'lrs.explain("{explanation.study}", {store})', ""
    else:
        call = f"lrs.prune(task, {functions}{store}, stored=True)"
        task = f"   # {explanation.task}, {counted(raw.horizon, 'step')}"
    return (
        "import lrsearch as lrs\n"
        f"space = {call}.space{task}\n"
        "policy = space.suggest(trial)   # in an Optuna objective\n"
        "policy = space.sample(rng)      # in a loop of one's own, or in ray.tune.sample_from; rng is NumPy's"
    )


def _learning_rate(explanation: Explanation) -> str:
    raw, pruned = explanation.pruned.raw.peak, explanation.pruned
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


def _runs(explanation: Explanation) -> str:
    """The number of short runs that this rests on."""
    ramps = [run for run in explanation.probes if run.policy.name == "RAMP"]
    constant = [run for run in explanation.probes if run.policy.name != "RAMP"]
    read = [
        f"{counted(len(runs), what)} of {counted(runs[0].horizon, 'step')}"
        for runs, what in ((ramps, "range test"), (constant, "constant learning rate"))
        if runs
    ]
    shorter = counted(explanation.set_aside, "shorter one")
    aside = (
        f"; {shorter} showed no difference and {_were(explanation.set_aside)} set aside"
        if explanation.set_aside
        else ""
    )
    open_ = " Some of its probes have not ended: this is what they say so far." if explanation.is_open else ""
    failed = (
        f" {counted(explanation.failed, 'probe')} failed and {_were(explanation.failed)} left out."
        if explanation.failed
        else ""
    )
    return (
        f"It was read from {' and '.join(read) or 'no run'}{aside}, which cost {explanation.spent.fre:.2f} full runs"
        f" in all.{failed}{_silent(ramps)}{open_}"
    )


def _silent(ramps: list[StoredRun]) -> str:
    """A note that range tests showed nothing, because the training logs no training loss."""
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


def _volume(explanation: Explanation) -> str:
    volume = explanation.pruned.log_volume
    return (
        f"Of the raw space's prior mass {100 * 10**volume:.2g} % is left (log-volume {volume:.2f}), every LR"
        " function counted equally and every range on its own scale."
    )


def _grid(explanation: Explanation) -> str:
    before, after = explanation.grid
    raw = explanation.pruned.raw.peak
    kept = "all of them are still there" if before == after else f"{after} of them {_are(after)} left"
    return (
        f"A grid of learning rates at 1, 1.5, 2, 3, 5, 7 in each decade from {raw.low:g} to {raw.high:g} has"
        f" {counted(before, 'point')}; {kept}."
    )


def _store(explanation: Explanation) -> str:
    """What the store adds, and whether it agrees."""
    if explanation.study is None:
        return "Only this task's own short runs were read; what the store knows of others was left out."
    if explanation.pruned.contradiction:
        return f"The store does not agree: {explanation.pruned.contradiction}."
    if not explanation.recommended:
        return "The store knew no similar task when this began, so nothing in it could contradict the probes."
    sources = ", ".join(dict.fromkeys(known.task for known in explanation.recommended))
    if explanation.pruned.refusal:
        return f"What the store knows from {sources} was not compared, for the probes taught nothing."
    return f"Nothing that the store recommended from {sources} contradicts the probes."


def _exploration(explanation: Explanation) -> str:
    """Whether exploration trials tested the cut, and their result."""
    trials = explanation.exploration
    if not trials.outside:
        return "No policy from outside of the space has been tried yet, so nothing has tested the cut."
    tried = f"Of {counted(trials.candidates, 'short candidate')} {trials.outside} came from outside of the space"
    if trials.widened:
        return f"{tried}, and one of them won clearly: later candidates came from the raw space as well."
    if trials.won:
        return f"{tried}, and one of them won clearly, but too late for others to follow: the cut was too narrow."
    return f"{tried}, and none of them was clearly better than those from inside: the cut stands."
