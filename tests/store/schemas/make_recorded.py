"""Writes a store of schema 2 with all that had no metric there: a search that ended, recorded runs, imported bundles.

    python tests/store/schemas/make_recorded.py tests/store/schemas/recorded-2.db

Run once, with the last version that writes this schema; the file is never written again.
"""

import importlib.util
import json
import math
import sys
import tempfile
from pathlib import Path

import lrsearch as lrs
from lrsearch import api
from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX, HALFCOS, TRI
from lrsearch.store import Store, open_store, read_bundle, record, write_bundle

spec = importlib.util.spec_from_file_location("make_store", Path(__file__).with_name("make_store.py"))
make_store = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_store)
MLP, CNN = make_store.MLP, make_store.CNN
ASKED = ("digits-mlp", "digits-cnn", "mine")


def search(store: Store) -> None:
    """Search in the made-up world to the end."""
    study = make_store.open_study(store)
    while (trial := study.ask()) is not None:
        study.tell(trial, make_store.ended(trial.spec(MLP)))


def recorded(store: Store) -> None:
    """Record runs of a user's own loop: of a name and of a shipped task, in units, diverged, and one run twice."""
    policies = [FIX(k0=0.1), TRI(k0=0.001, k1=0.2, l=50), HALFCOS(k0=0.3, l=200), FIX(k0=0.5)]
    kinds = (("mine", None, 1, 0), ("mine", None, 1, 1), ("mine", "%", 100, 10), ("digits-cnn", None, 1, 0))
    for task, unit, scale, seed in kinds:
        for n, policy in enumerate(policies):
            with record(store, task=task, policy=policy, seed=seed, horizon=200) as run:
                for step in (50, 100, 150, 200):
                    run.log(step, val_loss=1 / step, val_score=step / 250, train_loss=2 / step)
                    run.log(step, lr=float(policy(step)), bleu=0.5 * step, **{"own:bleu": 1.0})
                run.finish(scale * (0.8 - 0.03 * n + 0.001 * seed), loss=0.25, **({"unit": unit} if unit else {}))
    with record(store, task="mine", policy=FIX(k0=9), horizon=200) as run:
        run.finish(math.nan)
    with record(store, task="mine", policy=policies[0], horizon=200) as run:
        run.finish(97.5, unit="points")


def imported(store: Store, folder: Path) -> None:
    """Import an untrusted bundle and a trusted one."""
    for name, trust in (("theirs", False), ("ours", True)):
        with open_store(folder / f"{name}.db") as other:
            for n in range(8):
                each = RunSpec(CNN, FIX(k0=round(0.02 * 1.3**n, 6)), CNN.horizon, 40 + trust)
                other.record(each, make_store.ended(each))
            with record(other, task="mine", policy=FIX(k0=0.2), seed=50 + trust, horizon=200) as run:
                run.log(200, val_loss=0.5, val_score=0.5)
                run.finish(81.5, unit="%")
            write_bundle(other, folder / f"{name}.bundle")
        read_bundle(store, folder / f"{name}.bundle", trust=trust)


def golden(store: Store) -> dict[str, object]:
    """All that a store holds, as JSON values, with its recommendations and advice."""
    return {
        **make_store.golden(store),
        "origins": store.origins(),
        "attempts": {run.key: [attempt["score"] for attempt in store.attempts(run.key)] for run in store.runs()},
        "first": {task: [one.to_json() for one in lrs.recommend(task, store)] for task in ASKED},
        "advice": {
            f"{task} {goal}": api.advise(task, goal, store=store).to_json()
            for task in ASKED
            for goal in ("accuracy", "cost")
        },
    }


if __name__ == "__main__":
    path = Path(sys.argv[1])
    with open_store(str(path)) as made, tempfile.TemporaryDirectory() as scratch:
        search(made)
        recorded(made)
        imported(made, Path(scratch))
        write_bundle(made, path.with_suffix(".bundle"))
        path.with_suffix(".json").write_text(json.dumps(golden(made), sort_keys=True) + "\n")
