"""Any first argument of a public function works or is refused by name: no error comes from inside."""

from pathlib import Path

import optuna
import pytest

import lrsearch as lrs
from lrsearch import api
from lrsearch.errors import LRSearchError

optuna.logging.set_verbosity(optuna.logging.ERROR)


def a_function():
    """Somebody's own."""


GIVEN = {
    "None": None,
    "a function": a_function,
    "a text": "no such",
    "a dict": {},
    "a number": 5,
    "a float": 0.5,
    "yes": True,
    "a list": [],
    "bytes": b"x",
    "a path": Path("no-such"),
    "a class": dict,
    "an object": object(),
}
SPACE = lrs.Space.standard("FIX", horizon=60, epoch=10)
NOTHING = {"LRFunction", "Objective", "Policy", "Space", "Task"}
"""Classes, which are made by functions that are here: `lrs.TRI`, `Space.standard`, `minimize`, `classification`."""
ELSEWHERE = {"range_test", "tpe_sampler"}
"""The first takes what it is given as it is until it begins; what the second gives refuses a storage."""
MORE = {
    "curves": {"steps": 5},
    "record": {"task": "mine", "policy": "FIX(k0=0.1)"},
    "similarity": {"task_b": "mnist-mlp"},
    "verify": {"task": "digits-mlp", "target": 0.5, "budget": 16},
    "warm_start": {"space": SPACE, "policies": []},
    "add_results": {"space": SPACE, "store": None, "task": "digits-mlp"},
    "Duration": {"unit": "ep"},
    "train": {"policy": "FIX(k0=0.1)"},
    "program": {"name": "mine", "horizon": 100, "minimize": "loss"},
    "refined": {"horizon": 100, "peak": 0.1},
    "replay": {"data_dir": "no-such"},
    "replay_ranking": {"data_dir": "no-such"},
}
FUNCTIONS = {
    name: getattr(room, name)
    for room in (lrs, api)
    for name in room.__all__
    if callable(getattr(room, name))
    and name not in NOTHING | ELSEWHERE
    and not (isinstance(getattr(room, name), type) and issubclass(getattr(room, name), Exception))
}


def with_store(call):
    def called(first):
        with lrs.open_store("sqlite:///:memory:") as store:
            return call(store, first)

    return called


def of_study(call):
    return lambda first: call(optuna.create_study(direction="maximize"), first)


METHODS = {
    "TRI(k0=)": lambda first: lrs.TRI(k0=first, k1=1, l=5),
    "Space.standard": lambda first: lrs.Space.standard(first, horizon=60, epoch=10),
    "classification": lambda first: lrs.classification(
        first, ([[1.0]] * 20, [0, 1] * 10), name="mine", batch_size=2, epochs=9
    ),
    "classification(known=)": lambda first: lrs.classification(
        a_function, ([[1.0]] * 20, [0, 1] * 10), name="mine", batch_size=2, epochs=9, known=first
    ),
    "space.suggest": SPACE.suggest,
    "recommend": with_store(lambda store, first: lrs.recommend(first, store)),
    "explain, of a store": with_store(lambda store, first: lrs.explain(first, store=store)),
    "explain(store=)": lambda first: lrs.explain("digits-mlp-1234", store=first),
    "prune(functions=)": with_store(
        lambda store, first: lrs.prune("digits-mlp", functions=first, store=store, stored=True)
    ),
    "record(task=)": lambda first: lrs.record("store.db", task=first, policy="FIX(k0=0.1)"),
    "record(policy=)": lambda first: lrs.record("store.db", task="mine", policy=first),
    "warm_start(space=)": of_study(lambda study, first: lrs.warm_start(study, first, [])),
    "warm_start(policies=)": of_study(lambda study, first: lrs.warm_start(study, SPACE, first)),
    "warm_start(policies=[])": of_study(lambda study, first: lrs.warm_start(study, SPACE, [first])),
    "add_results(store=)": of_study(lambda study, first: lrs.add_results(study, SPACE, first, "digits-mlp")),
    "add_results(task=)": with_store(
        lambda store, first: lrs.add_results(optuna.create_study(direction="maximize"), SPACE, store, first)
    ),
}


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_what_is_of_the_wrong_kind_is_refused_by_name_or_taken(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = METHODS.get(name) or (lambda first: FUNCTIONS[name](first, **MORE.get(name, {})))
    raw = {}
    for kind, first in GIVEN.items():
        try:
            made = call(first)
        except LRSearchError as error:
            assert len(str(error)) > 20
        except Exception as error:
            raw[kind] = f"{type(error).__name__}: {error}"
        else:
            getattr(made, "close", getattr(made, "_close", lambda: None))()
    assert not raw
