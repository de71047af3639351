"""What a search did, in words and numbers: the facts that every report shows."""

from collections import Counter

from lrsearch.report.markdown import one_line, shortened
from lrsearch.runs import OWN, Objective, Run, RunState
from lrsearch.runs.roles import SEARCHED, Origin, Role
from lrsearch.store import Trial
from lrsearch.study.decision import Answer, Decision, full_run
from lrsearch.study.funnel import is_widened
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import with_role
from lrsearch.words import counted

FULL_RUNS = {
    (True, False): "default, the search's seed",
    (True, True): "default, fresh seeds",
    (False, False): "others, the search's seed",
    (False, True): "best found, fresh seeds",
}
"""What a full run is called, by whether it is of the default, and of a fresh seed."""
GIVEN = (Origin.KNOWN, Origin.STORED, Origin.PUBLISHED)
ROLES = {
    Role.CHECK: "the check of the training: two updates",
    Role.RANGE_TEST: "range tests",
    Role.CONSTANT_LR: "constant LRs, short",
    Role.DEFAULT: "the strong default, full length",
    Role.CANDIDATE: "candidates",
    Role.CONFIRM: "confirming runs, fresh seeds",
}
"""What runs of a role are called; a role that is not among them by its own name."""
MOST_FAILURES = 3
LONGEST_REASON = 160
LEAST_STARTUP = 0.05
"""Of the training time: less is not worth a line."""


def peak_of(trial: Trial) -> float:
    """The highest learning rate of a trial's policy: of its bounds, reached or not."""
    return float(trial.policy.bounds[1])


def judged(decision: Decision) -> list[tuple[str, Answer]]:
    """(label, policy with its score): the answer first, then what it was judged against."""
    if not decision.is_default:
        return [("answer", decision.best), ("default", decision.default)]
    others = [("best found", decision.best_found)] if decision.best_found else []
    return [("answer (default)" if decision.is_usable else "default", decision.best), *others]


def headline(result: SearchResult) -> str:
    """The title of a picture: the task, and which policy is the answer."""
    decision = result.decision
    if not decision.is_usable:
        return f"{result.setup.task.name}, no answer"
    which = "the default" if decision.is_default else decision.best.policy.form
    sure = decision.best.on if decision.best.confirmed else "not confirmed"
    return f"{result.setup.task.name}, answer: {which} ({sure})"


def answer_trial(result: SearchResult) -> Trial | None:
    """The answer's own trial of the search: at full length, with the search's seed."""
    return full_run(result.history, result.best.policy, result.setup.task.horizon)


def full_runs(result: SearchResult) -> dict[str, list[tuple[float, Trial]]]:
    """(cost in FRE at its end, trial) of all full runs with a score, by policy and kind of seed."""
    runs: dict[str, list[tuple[float, Trial]]] = {name: [] for name in FULL_RUNS.values()}
    steps, horizon = 0, result.setup.task.horizon
    for trial in result.history:
        steps += trial.spent
        is_full = trial.role in (*SEARCHED, Role.CONFIRM) and trial.horizon == horizon
        if is_full and trial.run and trial.run.score is not None:
            kind = trial.policy == result.default.policy, trial.role == Role.CONFIRM
            runs[FULL_RUNS[kind]].append((steps / horizon, trial))
    return runs


def what_was_tried(result: SearchResult) -> list[tuple[str, int, float]]:
    """(what, number of runs, cost in FRE) for each kind of run, candidates by horizon."""
    horizon = result.setup.task.horizon
    runs: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for trial in result.history:
        name = ROLES.get(trial.role, trial.role)
        if trial.role == Role.CANDIDATE:
            name = f"{name} at {_share(trial.horizon, horizon)} of the horizon"
        runs[name] += 1
        steps[name] += trial.spent
    return [(name, runs[name], steps[name] / horizon) for name in runs]


def where_it_started(result: SearchResult) -> list[str]:
    """Which policies came from earlier knowledge."""
    given = [t for t in with_role(result.history, Role.CANDIDATE) if t.origin in GIVEN]
    tried = dict.fromkeys((t.origin, str(t.policy)) for t in given)
    sources = ", ".join(dict.fromkeys(r.task for r in result.setup.recommended))
    papers = "; ".join(dict.fromkeys(r.source for r in result.setup.recommended if r.source))
    because = {
        "known": "the field's own for this task",
        "stored": f"learned from {sources}",
        "published": f"published: {papers}",
    }
    own = {str(policy) for policy in result.setup.known}
    said = [f"{policy} ({'yours' if policy in own else because[origin]})" for origin, policy in tried]
    if result.setup.recommended and not any(origin in GIVEN[1:] for origin, _ in tried):
        said.append(f"nothing of what the store knows from {sources}: outside the functions or the peaks searched here")
    return said


def what_was_cut(result: SearchResult) -> str:
    """How much of the space the heuristics cut."""
    pruned = result.pruned
    left = f"{100 * 10**pruned.log_volume:.2g} %"
    share = f"{left} of the raw space's prior mass is left (log-volume {pruned.log_volume:.2f})"
    refused = f"; the learning rate was not narrowed: {pruned.refusal}" if pruned.refusal else ""
    won = "; an escape from outside won, so later candidates came from the raw space"
    repaired = won if is_widened(result.history) else ""
    return share + refused + repaired


def score_text(answer: Answer, objective: Objective) -> str:
    """A score in its unit, with its spread and seeds."""
    if answer.score is None:
        return f"{answer.diverged} of {counted(answer.seeds, 'run')} diverged ({answer.on})"
    spread = f" +- {objective.spread(answer.spread)}" if answer.spread is not None else ""
    return f"{objective.text(answer.score)}{spread} ({answer.on})"


def what_failed(result: SearchResult) -> str | None:
    """How many runs failed, and why; None where none did."""
    failed = [trial.run for trial in result.history if trial.run and trial.run.state is RunState.FAILED]
    if not failed:
        return None
    reasons = Counter(_reason(run) for run in failed)
    causes = [f"{why} (x {times})" if times > 1 else why for why, times in reasons.most_common(MOST_FAILURES)]
    more = [f"and {counted(len(reasons) - len(causes), 'other cause')}"] if len(reasons) > len(causes) else []
    return f"{counted(len(failed), 'run')}: {'; '.join([*causes, *more])}"


def what_started_up(result: SearchResult) -> str | None:
    """The share of training time before the first update; None where it is small or unknown."""
    runs = [trial.run for trial in result.history if trial.run]
    startup, seconds = sum(run.startup_seconds or 0.0 for run in runs), sum(run.seconds for run in runs)
    if not seconds or startup < LEAST_STARTUP * seconds:
        return None
    return f"{100 * startup / seconds:.0f} % of the training time was spent before the first update"


def how_to_use(result: SearchResult) -> str:
    """A few lines of Python that use the answer in the user's own training loop."""
    if not result.decision.is_usable:
        return "# no policy of this search can be used: see its verdict"
    policy, again = result.best.policy, ""
    if result.setup.task.trainer == OWN:
        again = f'\nrun = lrs.train(f, "{policy}")   # or all at once, f the function or program that was searched'
    return (
        "import lrsearch as lrs\n"
        f'policy = lrs.parse("{policy}")\n'
        f"scheduler = policy.scheduler(optimizer)   # scheduler.step() after every optimizer.step(){again}"
    )


def _reason(run: Run) -> str:
    """Why a run failed: its cause in a word, and what the error said; of a traceback, what stands below it."""
    lines = [line for line in (run.error or "").splitlines() if line.strip()]
    below = max((at for at, line in enumerate(lines) if line.startswith(" ")), default=-1) + 1
    said = lines[below] if below < len(lines) else lines[0] if lines else ""
    return shortened(": ".join(filter(None, (run.cause, one_line(said)))) or "no reason is known", LONGEST_REASON)


def _share(horizon: int, full: int) -> str:
    return "all" if horizon == full else f"1/{round(full / horizon)}"
