"""Writes the store that is kept for a schema: runs of all states, and a study in the middle of its work.

    python tests/store/schemas/make_store.py tests/store/schemas/schema-N.db

Run once, with the last version that writes this schema; the file is never written again.
"""

import json
import sys
from pathlib import Path

import numpy as np

from lrsearch.runs import Point, Run, RunSpec, RunState
from lrsearch.schedules import FIX, parse
from lrsearch.spaces import Space
from lrsearch.store import Store, Trial, open_store
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup
from lrsearch.study.study import Study
from lrsearch.tasks import find_task

MLP, CNN = find_task("digits-mlp"), find_task("digits-cnn")
FUNCTIONS = ("FIX", "TRI", "HALFCOS")


class RandomSampler:
    """Draws policy n from n alone."""

    def suggest(self, number, space):
        """Draw a policy."""
        return space.sample(np.random.default_rng((0, number))).rounded()

    def add(self, assignment, space):
        """Hear nothing."""

    def tell(self, assignment, run):
        """Hear nothing."""

    def save(self):
        """Write nothing."""


def ended(spec: RunSpec) -> Run:
    """A run of a made-up world: best at a peak of 0.2, diverged above 3."""
    steps = np.minimum((np.arange(20) + 0.5) * spec.horizon / 20, spec.horizon)
    rates = spec.policy(steps)
    if rates.max() > 3:
        return Run(
            state=RunState.DIVERGED,
            steps=max(spec.horizon // 2, 1),
            seconds=0.25,
            stride=8,
            train_losses=(2.25, 5.5, None),
        )
    far = float(np.abs(np.log10(rates.max() / 0.2)))
    score = round(0.9 - 0.1 * far + 0.001 * spec.seed, 6)
    losses = tuple(round(2.3 / (1 + float(lr) * 10), 6) for lr in rates)
    return Run(
        state=RunState.FINISHED,
        steps=spec.horizon,
        seconds=0.5,
        score=score,
        loss=round(0.3 + far, 6),
        points=(Point(spec.horizon // 2, 0.75, 0.5), Point(spec.horizon, round(0.3 + far, 6), score)),
        train_losses=losses,
        stride=max(spec.horizon // 20, 1),
        split="made up",
        metrics={"end": {"step": spec.horizon, "top1": score, "ac": None}},
    )


def setup() -> Setup:
    """The task, the space, the budget and the seed of the study."""
    return Setup(MLP, Space.standard(*FUNCTIONS, horizon=MLP.horizon, epoch=MLP.epoch), 12, 0)


def open_study(store: Store) -> Study:
    """Open the study."""
    return Study(setup(), Funnel(), store, lambda name, known: RandomSampler())


def fill(store: Store) -> None:
    """Write runs in all states, and half a study."""
    for n in range(40):
        spec = RunSpec(CNN, FIX(k0=round(0.01 * 1.2**n, 6)), CNN.horizon, n % 3)
        store.record(spec, ended(spec), "local" if n % 2 else "an older place; -- \N{SNOWMAN}")
    others = [
        Run(state=RunState.STOPPED, steps=50, seconds=0.1, score=0.25, loss=1.5, points=(Point(50, 1.5, 0.25),)),
        Run(state=RunState.FAILED, steps=7, seconds=0.1, error="ValueError: a \N{GREEK SMALL LETTER MU} too small"),
        Run(state=RunState.INTERRUPTED, steps=30, seconds=0.1),
        Run(state=RunState.RUNNING, steps=0, seconds=0.0),
        Run(state=RunState.FINISHED, steps=CNN.horizon, seconds=0.1, score=float("inf"), loss=float("nan")),
    ]
    for seed, run in enumerate(others):
        store.record(
            RunSpec(CNN, parse("ONECYCLE(k0=0.01, k1=0.5, l=[100, 200, 300], k2=0.001)"), CNN.horizon, seed), run
        )
    study = open_study(store)
    for _ in range(40):
        trial = study.ask()
        if not trial:
            break
        study.tell(trial, ended(trial.spec(MLP)))
    store.note(study.key, {"said": "halfway"})


def golden(store: Store) -> dict[str, object]:
    """All that a store holds, as JSON values."""
    history = store.history(open_study(store).key)
    return {
        "runs": [
            {**stored.to_json(), "lost_steps": stored.lost_steps, "run": json.loads(stored.run.to_text())}
            for stored in store.runs()
        ],
        "studies": [{**study.to_json(), "frozen": study.frozen} for study in store.studies()],
        "history": [_history_row(trial) for trial in history],
        "tasks": store.tasks(),
    }


def _history_row(trial: Trial) -> list[object]:
    run_key = trial.stored and trial.stored.key
    return [trial.number, trial.role, trial.origin, str(trial.policy), trial.horizon, trial.seed, run_key]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    with open_store(str(path)) as made:
        fill(made)
        path.with_suffix(".json").write_text(json.dumps(golden(made), indent=1, sort_keys=True) + "\n")
