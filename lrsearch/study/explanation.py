"""The explanation of a pruned space. It is read from the store alone, and nothing is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from lrsearch.errors import UsageError, WorkError, given
from lrsearch.heuristics import Bound, Evidence, Pruned, prune
from lrsearch.heuristics.evidence import FIRST_RULES, RULES
from lrsearch.heuristics.pruner import grid, linear_cut
from lrsearch.recommendation import Recommendation
from lrsearch.runs import Objective, RunState, Task
from lrsearch.runs.objective import SCORE, objectives_of
from lrsearch.runs.roles import PROBES, Origin, Role
from lrsearch.spaces import Space
from lrsearch.store import Store, StoredRun, StoredStudy, Trial
from lrsearch.study.answers import decided_by
from lrsearch.study.decision import Decision
from lrsearch.study.driven import Driven, OfDriven
from lrsearch.study.funnel import exploration_won, is_widened
from lrsearch.study.probing import chance_of, evidence_of, level_of
from lrsearch.study.pruning import Probing, stored_probes
from lrsearch.study.result import Cost, cost_of
from lrsearch.study.strategy import is_open, with_role
from lrsearch.words import counted

PRUNING = ("funnel", Probing().name)
"""The strategies that prune."""
MOST_NEAR = 3
"""Names that an error lists: a rule."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """How the candidates from outside the pruned space did.

    Args:
        candidates: candidates of the shortest rung that ended.
        outside: how many of them came from outside.
        won: whether one of those clearly beat all from inside: see `exploration_won`.
        widened: whether later candidates came from the raw space because of that.
    """

    candidates: int = 0
    outside: int = 0
    won: bool = False
    widened: bool = False


@dataclass(frozen=True, slots=True)
class Explanation(OfDriven):
    """A pruned space with the runs and rules behind it, as `lrsearch.prune` and `lrsearch.explain` return it.

    `.space` suggests policies to an Optuna trial and draws them for any other loop; `.pruned` has the reasons.

    Args:
        task: the task's name.
        study: the study's name; None where stored runs were read without one.
        store: the store's URL.
        pruned: the space before and after, and why.
        probes: the short runs that were read: range tests first, then constant LRs in rising order.
        set_aside: how many probes longer ones replaced.
        recommended: the store's recommendations when the study began.
        is_open: whether some of its probes have not ended.
        exploration: how the candidates from outside did.
        spent: the cost of all probes.
        rules: the version of the rules by which its range tests are read.
        decision: the search's decision; None while it has not ended, and for a study that is no search.
        objective: the metric that compares probes which have no validation loss of lrsearch's own.
        failed: how many probes failed; they are left out.
        driven: what happened while this call trained its probes.
    """

    task: str
    study: str | None
    store: str
    pruned: Pruned
    probes: tuple[StoredRun, ...]
    set_aside: int
    recommended: tuple[Recommendation, ...]
    is_open: bool
    exploration: Exploration
    spent: Cost = field(compare=False)
    rules: int = RULES
    decision: Decision | None = None
    objective: Objective = SCORE
    failed: int = 0
    driven: Driven = field(default_factory=Driven, compare=False)

    @property
    def space(self) -> Space:
        """The pruned space."""
        return self.pruned.space

    @property
    def grid(self) -> tuple[int, int]:
        """Points on a grid of learning rates, before and after pruning: 1, 1.5, 2, 3, 5, 7 in each decade."""
        return len(grid(self.pruned.raw.peak)), len(grid(self.space.peak))

    def behind(self, bound: Bound) -> list[StoredRun]:
        """The runs behind a bound; none where it is a rule."""
        return [run for run in self.probes if run.key in bound.runs]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        before, after = self.grid
        return {
            "task": self.task,
            "study": self.study,
            "store": self.store,
            "space": self.space.to_json(),
            "pruned": self.pruned.to_json(),
            "grid": {"per_decade": [1, 1.5, 2, 3, 5, 7], "before": before, "after": after},
            "linear_cut": linear_cut(self.space.peak),
            "probes": [run.to_json() | {"loss": run.run.loss} for run in self.probes],
            "set_aside": self.set_aside,
            "failed": self.failed,
            "recommended": [recommendation.to_json() for recommendation in self.recommended],
            "is_open": self.is_open,
            "escapes": {name: getattr(self.exploration, name) for name in Exploration.__slots__},
            "cost": self.spent.to_json(),
            "verdict": self.decision.verdict if self.decision else None,
            "best": self.decision.best.to_json() if self.decision else None,
            **self.driven.to_json(),
        }


def explain(store: Store, text: str) -> Explanation:
    """Explain the space of a study in the store.

    Args:
        store: the store.
        text: the study's name, or the beginning of its name or key.

    Raises:
        UsageError: if no study or several have that name, or the study prunes nothing.
        WorkError: if an older version began it and did not record its raw space.
    """
    study = find_study(store.studies(), text)
    strategy = str(study.description["strategy"])
    if strategy not in PRUNING:
        raise UsageError(
            f"{study.name} is a {strategy!r} study: it searches the raw space, so nothing was cut that"
            " could be explained"
        )
    history, task = store.history(study.key), study.task
    recommended = tuple(map(Recommendation.from_json, study.frozen["recommended"]))
    raw, objective = raw_space(study), objectives_of(task)[0]
    rules = study.frozen.get("rules", FIRST_RULES)
    evidence = evidence_of(raw, chance_of(task), recommended, history, rules, level_of(task))
    exploration = _exploration(history, objective)
    explanation = _explanation(
        task["name"], objective, study.name, store, raw, evidence, recommended, history, exploration
    )
    return replace(explanation, decision=decided_by(study, history))


def explain_stored(store: Store, task: Task, raw: Space) -> Explanation:
    """Prune a space by the stored runs of a task, of any study or none; nothing else in the store is read.

    Raises:
        WorkError: if none of its runs is a probe.
    """
    history = stored_probes(store, task)
    if not history:
        raise WorkError(
            f"{store.url} has no range tests and no short runs of constant learning rates of {task.name}"
            f" ({counted(task.horizon, 'step')}): leave out --stored, and they are trained"
        )
    evidence = evidence_of(raw, task.chance_loss, (), history, RULES, task.level)
    return _explanation(task.name, task.objective, None, store, raw, evidence, (), history, Exploration())


def find_study(studies: Sequence[StoredStudy], text: str) -> StoredStudy:
    """Find a study by its name, or by the beginning of its name or key.

    Raises:
        UsageError: if there is none, with the nearest names, or there are several.
    """
    if not isinstance(text, str):
        raise UsageError(f"study is its name, or the beginning of its name or key, got {given(text)}")
    same = [study for study in studies if text in (study.name, study.key)]
    matches = same or [
        study for study in studies if text and (study.name.startswith(text) or study.key.startswith(text))
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(f"{study.name} (key {study.key})" for study in matches[:MOST_NEAR])
        more = f" and {len(matches) - MOST_NEAR} more" if len(matches) > MOST_NEAR else ""
        raise UsageError(
            f"{len(matches)} studies are called {text[:80]!r}: {names}{more}; give more of the name or key"
        )
    near = get_close_matches(text, [study.name for study in studies], n=MOST_NEAR, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`lrsearch store studies` lists them"
    raise UsageError(f"no study {text[:80]!r} among the {len(studies)} of this store; {hint}")


def raw_space(study: StoredStudy) -> Space:
    """Rebuild the raw space of a study, and check its digest.

    Raises:
        WorkError: if the store does not say which LR functions it has.
    """
    task = study.task
    epoch = task["epoch"] if "epoch" in task else task["data"]["train"] / task["batch_size"]
    lrs = tuple(study.frozen["peak"] if "peak" in study.frozen else task["optimizer"]["rates"])
    functions = study.frozen.get("functions", ())  # LRBench's table, where an older version searched that
    for passes in (epoch, float(epoch)):  # a description says 20 where the space's key has 20.0
        raw = Space.standard(*functions, horizon=task["horizon"], epoch=passes, peak=lrs)
        if raw.key == study.description["space"]:
            return raw
    raise WorkError(
        f"{study.name} was begun by a version that did not write down which LR functions it searches;"
        " `lrsearch prune --stored` reads its probes"
    )


def _explanation(
    task: str,
    objective: Objective,
    study: str | None,
    store: Store,
    raw: Space,
    evidence: Evidence,
    recommended: tuple[Recommendation, ...],
    history: Sequence[Trial],
    exploration: Exploration,
) -> Explanation:
    probing = [trial for role in PROBES for trial in with_role(history, role)]
    read = {ramp.run for ramp in evidence.ramps} | {probe.run for probe in evidence.probes}
    probes = sorted((t.stored for t in probing if t.stored and t.stored.key in read), key=_probe_order)
    ended = [trial for trial in probing if trial.run]
    failed = [trial for trial in ended if trial.run and trial.run.state is RunState.FAILED]
    return Explanation(
        task,
        study,
        store.url,
        prune(raw, evidence),
        tuple(probes),
        len(ended) - len(probes) - len(failed),
        recommended,
        is_open(probing),
        exploration,
        cost_of(probing, raw.horizon),
        evidence.rules,
        objective=objective,
        failed=len(failed),
    )


def _probe_order(run: StoredRun) -> tuple[bool, float, int]:
    """The sort key of probes: range tests first, then by learning rate and seed."""
    return run.policy.name != "RAMP", float(run.policy.params["k0"]), run.seed


def _exploration(history: Sequence[Trial], objective: Objective) -> Exploration:
    candidates = with_role(history, Role.CANDIDATE)
    shortest = min((trial.horizon for trial in candidates), default=0)
    rung = [trial for trial in candidates if trial.horizon == shortest and trial.run]
    outside = sum(trial.origin == Origin.EXPLORATION for trial in rung)
    return Exploration(len(rung), outside, exploration_won(rung, objective), is_widened(history))
