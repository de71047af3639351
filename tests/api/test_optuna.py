"""`lrs.optuna`: native studies with metric names, samplers by name, marks of trials, and heartbeats."""

import subprocess
import sys
import time
import warnings

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

import lrsearch as lrs
from lrsearch.errors import EngineError, TaskError, UsageError
from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX, parse
from lrsearch.spaces import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = Space.standard("TRI", "EXP", "FIX", horizon=100, epoch=10)
LONG = 60
"""Seconds after which a test that waits gives up."""
DIES = """
import os, sys
import lrsearch as lrs
study = lrs.optuna.create_study("shared", sys.argv[1], direction="minimize", heartbeat=1)
trial = lrs.optuna.ask(study)
with lrs.optuna.heartbeat(study, trial):
    print(trial.number, flush=True)
    sys.stdin.read()
    os._exit(1)
"""


@lrs.task("two", horizon=100, epoch=10, objectives=[lrs.minimize("val_loss"), lrs.maximize("accuracy")])
def two(job):
    return {"val_loss": 1.0, "accuracy": 0.5}


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def made(name="mine", storage=None, **more):
    return lrs.optuna.create_study(name, storage, **({"direction": "minimize"} | more))


# the study


def test_a_study_has_the_names_and_directions_of_the_tasks_metrics(sqlite):
    for storage in (None, sqlite):
        study = made(storage=storage, direction=None, task="digits-mlp")
        assert type(study) is optuna.Study
        assert (study.direction.name, study.metric_names) == ("MAXIMIZE", ["top1"])
    several = made("several", sqlite, direction=None, task=two)
    assert [one.name for one in several.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert several.metric_names == ["val_loss", "accuracy"]
    assert made(direction=["minimize", "maximize"]).metric_names is None


def test_the_same_call_again_goes_on_with_the_study(sqlite):
    study = made(storage=sqlite)
    study.tell(study.ask(), 1.0)
    assert len(made(storage=sqlite).trials) == 1
    with pytest.raises(UsageError, match="'mine' is there already, to minimize: give another name"):
        made(storage=sqlite, direction="maximize")


def test_a_storage_of_optuna_and_a_journal_are_taken(tmp_path):
    storage = InMemoryStorage()
    assert made(storage=storage)._storage is storage
    url = f"journal:///{tmp_path / 'optuna.log'}"
    study = made(storage=url, pruner=optuna.pruners.HyperbandPruner())
    study.optimize(lambda trial: SPACE.suggest(trial)(0), n_trials=2)
    assert len(made(storage=url).trials) == 2
    assert isinstance(study.pruner, optuna.pruners.HyperbandPruner)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"direction": None}, "give the task, or else direction"),
        ({"task": "digits-mlp"}, "give the task, or else direction"),
        ({"direction": "up"}, "direction is 'minimize' or 'maximize', .* got 'up'"),
        ({"direction": []}, "direction is 'minimize' or 'maximize', .* got"),
        ({"direction": 5}, "direction is 'minimize' or 'maximize', .* got 5"),
        ({"name": ""}, "name is the study's name"),
        ({"name": None}, "name is the study's name"),
        ({"storage": 5}, "storage is a URL such as .* got 5"),
        ({"storage": "optuna.db"}, "an Optuna storage is a URL"),
        ({"heartbeat": 60}, "give its URL as storage, or no heartbeat"),
        ({"storage": InMemoryStorage(), "heartbeat": 60}, "give its URL as storage, or no heartbeat"),
        ({"sampler": "tep"}, "no sampler 'tep'; did you mean 'tpe'"),
        ({"sampler": None}, "the name of a sampler is a text, got None"),
        ({"sampler": "gp"}, "'gp' needs the space"),
        ({"sampler": "qmc", "space": SPACE}, r"give space.flat\(\) here and in the objective"),
        ({"sampler": "cmaes", "space": "TRI"}, "needs the space that it will search: give space=..., got 'TRI'"),
        ({"sampler": "exhaustive", "space": SPACE}, r"peak, .* can be any number: give space.grid\(3\)"),
        ({"sampler": "exhaustive", "space": SPACE.flat()}, r"can be any number: give space.grid\(3\)"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_do(given, says):
    with pytest.raises(UsageError, match=says):
        made(**given)


def test_an_unknown_task_and_a_storage_that_is_away_are_named():
    with pytest.raises(TaskError, match="did you mean 'mnist-lenet'"):
        made(direction=None, task="mnist-lent")
    with pytest.raises(EngineError, match=r"127\.0\.0\.1") as refused:
        made(storage="postgresql://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(refused.value)


# samplers


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "qmc", "random"])
def test_a_sampler_by_name_searches_and_its_seed_repeats_it(name):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    space = SPACE if name in ("tpe", "random") else SPACE.flat()

    def suggested(seed):
        study = made(sampler=name, space=space, seed=seed)
        study.optimize(
            lambda trial: abs(space.suggest(trial)(0) - 0.1), n_trials=11
        )  # GP draws the first ten at random
        return [trial.user_attrs["lrsearch:policy"] for trial in study.trials]

    assert suggested(1) == suggested(1) != suggested(2)
    assert all(parse(text) in space for text in suggested(1))


def test_an_exhaustive_study_tries_each_policy_of_a_grid_once_and_stops():
    grid = SPACE.grid(2)
    study = made(sampler="exhaustive", space=grid)
    study.optimize(lambda trial: grid.suggest(trial)(0), n_trials=99)
    assert sorted(trial.user_attrs["lrsearch:policy"] for trial in study.trials) == sorted(grid.forms)


def test_cmaes_is_refused_where_others_can_write_its_state_unless_it_is_given_itself(sqlite, tmp_path):
    for url in (sqlite, f"journal:///{tmp_path / 'optuna.log'}"):
        with pytest.raises(UsageError, match=r"unpickles .* sampler=optuna.samplers.CmaEsSampler\(\)"):
            made(storage=url, sampler="cmaes", space=SPACE.flat())
        trusted = optuna.samplers.CmaEsSampler(seed=1)
        assert made(storage=url, sampler=trusted).sampler is trusted


def test_whatever_sampler_of_optuna_the_user_passes_is_used():
    own = optuna.samplers.NSGAIISampler()
    assert made(sampler=own).sampler is own


# marks


def test_every_trial_has_its_policy_origin_seed_cost_and_run_key():
    study = made(direction=None, task="digits-mlp")
    space = Space.standard("FIX", horizon=320, epoch=32)
    lrs.warm_start(study, space, [FIX(k0=0.1)])

    def objective(trial):
        policy = space.suggest(trial)
        lrs.optuna.mark(trial, seed=3, steps=320, task="digits-mlp", horizon=320)
        return policy(0)

    study.optimize(objective, n_trials=3)
    for trial, origin in zip(study.trials, ("stored", "random", "suggested"), strict=True):
        policy = parse(trial.user_attrs["lrsearch:policy"])
        key = RunSpec(lrs.TASKS["digits-mlp"], policy, 320, 3).key
        expected = {"origin": origin, "seed": 3, "steps": 320, "run": key}
        assert {name: trial.user_attrs[f"lrsearch:{name}"] for name in expected} == expected


def test_the_key_of_a_trial_finds_its_run_in_the_store():
    study, space = made(direction=None, task=two), Space.standard("FIX", horizon=100, epoch=10)
    trial = study.ask()
    with lrs.open_store("sqlite:///:memory:") as store:
        run = lrs.train(two, space.suggest(trial), seed=4, store=store)
        lrs.optuna.mark(trial, seed=4, steps=run.steps, task=two)
        assert store.find(trial.user_attrs["lrsearch:run"]).run.score == 1.0


def test_marks_of_two_policies_in_a_trial_are_apart():
    trial = made().ask()
    for seed, prefix in enumerate("gd"):
        SPACE.suggest(trial, prefix=prefix)
        lrs.optuna.mark(trial, seed=seed, steps=10, prefix=prefix)
    assert [trial.user_attrs[f"lrsearch:seed:{prefix}"] for prefix in "gd"] == [0, 1]
    with pytest.raises(UsageError, match="no policy yet"):
        lrs.optuna.mark(trial, seed=0, steps=0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": -1}, "seed is a whole number, 0 or more, got -1"),
        ({"seed": True}, "seed is a whole number"),
        ({"steps": 1.5}, "steps is a whole number, 0 or more, got 1.5"),
        ({"task": "mnist-lent"}, "did you mean"),
        ({"trial": None}, "trial is an Optuna trial that runs"),
    ],
)
def test_an_impossible_mark_is_refused(given, says):
    trial = made().ask()
    SPACE.suggest(trial)
    with pytest.raises(UsageError, match=says):
        lrs.optuna.mark(**({"trial": trial, "seed": 0, "steps": 1} | given))
    assert "lrsearch:seed" not in trial.user_attrs


# heartbeats


def test_the_trial_of_a_process_that_died_under_ask_and_tell_is_failed_by_another(sqlite):
    study = made("shared", sqlite, heartbeat=1)
    process = subprocess.Popen([sys.executable, "-c", DIES, sqlite], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    number = int(process.stdout.readline())
    alive = lrs.optuna.ask(study)
    with lrs.optuna.heartbeat(study, alive):
        process.kill()
        process.communicate()
        until = time.monotonic() + LONG
        while not study._storage._backend._get_stale_trial_ids(study._study_id) and time.monotonic() < until:
            pass  # the grace period is 2 seconds
        assert lrs.optuna.ask(study).number == 2
    assert study.trials[number].state is TrialState.FAIL
    assert study.trials[alive.number].state is TrialState.RUNNING
    study.tell(alive, 1.0)


def test_heartbeats_are_refused_where_the_storage_records_none(sqlite):
    for storage in (None, sqlite):
        study = made(storage=storage)
        with (
            pytest.raises(UsageError, match="records no heartbeats: make it with"),
            lrs.optuna.heartbeat(study, study.ask()),
        ):
            pass
    with pytest.raises(UsageError, match="takes an Optuna study and a trial"), lrs.optuna.heartbeat(study, None):
        pass


def test_a_heartbeat_that_is_not_taken_is_logged_and_the_next_one_tried(sqlite, caplog, monkeypatch):
    study = made(storage=sqlite, heartbeat=1)
    trial, storage = lrs.optuna.ask(study), study._storage._backend
    storage.heartbeat_interval = 0.01  # Optuna's are whole seconds
    with lrs.optuna.heartbeat(study, trial):
        storage.engine.dispose()
        table = optuna.storages._rdb.models.TrialHeartbeatModel.__table__
        table.drop(storage.engine)
        until = time.monotonic() + LONG
        while len(caplog.records) < 2 and time.monotonic() < until:
            pass
        table.create(storage.engine)
    assert "trial 0: a heartbeat was not recorded" in caplog.text
    study.tell(trial, 1.0)


# several objectives, constraints, pruners


def test_a_warm_start_suits_several_objectives_and_results_are_refused_with_the_reason():
    study = made(direction=["minimize", "maximize"])
    assert lrs.warm_start(study, SPACE, [FIX(k0=0.1)]) == 2

    def objective(trial):
        policy = SPACE.suggest(trial)
        trial.set_constraint("peak", policy.curve(100).max() - 0.5)
        return policy(0), policy(99)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=12)
    assert study.trials[0].values == [0.1, 0.1]
    assert study.trials[0].constraints["peak"] == pytest.approx(-0.4)
    with (
        lrs.open_store("sqlite:///:memory:") as store,
        pytest.raises(UsageError, match="the results are of one metric"),
    ):
        lrs.add_results(study, SPACE, store, "digits-mlp")


@pytest.mark.parametrize(
    "pruner",
    [
        optuna.pruners.MedianPruner(n_startup_trials=2),
        optuna.pruners.SuccessiveHalvingPruner(),
        optuna.pruners.HyperbandPruner(min_resource=1, max_resource=10),
    ],
    ids=lambda pruner: type(pruner).__name__,
)
def test_optunas_pruners_end_trials_that_are_marked_with_what_they_cost(pruner):
    study = made(sampler="random", pruner=pruner, seed=0)

    def objective(trial):
        policy, at = SPACE.suggest(trial), 5.0
        for step in range(100):
            at -= min(policy(step), 1) * at
            if (step + 1) % 10 == 0:
                trial.report(at, (step + 1) // 10)
                lrs.optuna.mark(trial, seed=0, steps=step + 1)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return at

    study.optimize(objective, n_trials=30)
    steps = {state: [t.user_attrs["lrsearch:steps"] for t in study.trials if t.state is state] for state in TrialState}
    assert steps[TrialState.PRUNED]
    assert max(steps[TrialState.PRUNED]) <= 100
    assert set(steps[TrialState.COMPLETE]) == {100}
