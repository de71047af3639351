"""The store holds any metric in its own unit and sign, and scores of different metrics are never mixed."""

import json
import math
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsearch as lrs
from lrsearch import api
from lrsearch.errors import TaskError, UsageError
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.advice import Searched
from lrsearch.recommendation.known import GOALS, KnownRun, KnownTask, target_of, value_of
from lrsearch.recommendation.recommend import advise
from lrsearch.recommendation.similarity import compare
from lrsearch.runs import Objective, Point, Run, RunSpec, RunState, Task, maximize, minimize
from lrsearch.schedules import FIX, HALFCOS, TRI, WARMUP, parse
from lrsearch.spaces import Space
from lrsearch.store import StoredRun, check, open_store, read_bundle, write_bundle
from lrsearch.store.entries import LOOP_SERIES, entry_of, run_of
from lrsearch.store.fields import OWN_SERIES, checked, objective_of
from lrsearch.tasks import TASKS, find_task

optuna.logging.set_verbosity(optuna.logging.ERROR)
LM = Task(
    name="my-lm",
    horizon=200,
    epoch=20,
    objectives=(minimize("val_loss", unit="nats"), maximize("bleu")),
    facts={"optimizer": "adamw", "batch_size": 32, "data": "words", "model": "gpt"},
)
MSE = {
    "FIX(k0=0.001)": 0.5197,
    "FIX(k0=0.05)": 0.5719,
    "WARMUP(policy=HALFCOS(k0=0.05, l=180), l=20)": 0.5132,
    "TRI(k0=0.01, k1=0.1, l=50)": 0.5233,
}
"""Four runs of a regression on the diabetes data, and the mean squared error of each."""


@pytest.fixture
def store():
    with open_store("sqlite:///:memory:") as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def each(request, tmp_path, postgres):
    """A store in each kind of database."""
    is_file = request.param == "sqlite"
    url = str(tmp_path / "store.db") if is_file else postgres(f"metrics_{tmp_path.name[-40:].lower()}")
    with open_store(url) as opened:
        assert opened._engine.dialect.name == request.param
        yield opened


def ended(score, **more):
    return Run(state=RunState.FINISHED, steps=200, seconds=1.0, score=score, **more)


# a user's runs come back as they were

NAMES = st.sampled_from((*LOOP_SERIES, "bleu", "score", "own:bleu", "own:val_loss", OWN_SERIES, "points")) | st.text(
    st.characters(categories=("L", "N")), min_size=1, max_size=9
)
VALUES = st.floats(allow_nan=False, width=32)
CURVES = st.lists(st.tuples(st.integers(0, 10**6), VALUES), max_size=4, unique_by=lambda point: point[0]).map(
    lambda points: tuple(sorted(points))
)


@st.composite
def runs_of_a_users_training(draw):
    """A metric's name and a run of it, whose points are often its curve, as they are where it was logged."""
    metric = draw(NAMES.filter(str.isprintable))
    curves = draw(st.dictionaries(NAMES, CURVES, max_size=5))
    points = curves.get(metric, ()) if draw(st.booleans()) else draw(CURVES)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    run = Run(
        state=draw(st.sampled_from((RunState.FINISHED, RunState.STOPPED))),
        steps=draw(st.integers(0, 10**6)),
        seconds=draw(st.floats(0, 1e6)),
        score=draw(st.none() | finite.map(lambda value: value + 0.0)),
        curves=curves,
        points=tuple(Point(step, None, value) for step, value in points),
        stride=draw(st.integers(1, 9)),
        train_losses=tuple(draw(st.lists(st.none() | finite, max_size=4))),
        scores=draw(st.dictionaries(NAMES, VALUES)),
        cause=draw(st.none() | st.just("stale")),
        applied=draw(st.none() | st.just("not checked")),
        startup_seconds=draw(st.none() | st.floats(0, 99)),
        source=draw(st.none() | st.just("0123456789abcdef")),
        environment=draw(st.dictionaries(st.sampled_from(("torch", "device")), st.sampled_from(("2.6", "cpu")))),
    )
    return metric, run


@settings(max_examples=100)
@given(runs_of_a_users_training())
def test_a_run_of_a_users_training_comes_back_as_it_went_in(drawn):
    metric, run = drawn
    task = replace(LM, objectives=(minimize(metric, unit="nats"),))
    entry = checked(entry_of(StoredRun.of(RunSpec(task, FIX(k0=0.1), 200, 0), run, "local")))
    again = checked(json.loads(json.dumps(entry)))
    assert again == entry
    assert run_of(again) == run
    assert (run_of(again).startup_seconds, run_of(again).environment) == (run.startup_seconds, run.environment)
    assert objective_of(again) == task.objective


@pytest.mark.parametrize("metric", [*LOOP_SERIES, "bleu", "score", "own:val_loss"])
def test_a_metric_of_any_name_goes_through_store_and_bundle(each, tmp_path, metric):
    task = replace(LM, objectives=(minimize(metric),))
    names = (*LOOP_SERIES, "bleu", "own:val_loss", "score")
    curves = {name: ((50, 1.0 + n), (200, 0.25 * n)) for n, name in enumerate(names)}
    run = ended(
        curves[metric][-1][1],
        curves=curves,
        train_losses=(2.0, None),
        stride=100,
        scores={"a": math.inf},
        points=tuple(Point(step, None, value) for step, value in curves[metric]),
        cause=None,
        applied="yes",
        source="0123456789abcdef",
        environment={"torch": "2.6"},
    )
    each.record(RunSpec(task, FIX(k0=0.1), 200, 0), run)
    write_bundle(each, tmp_path / "a.bundle")
    with open_store(tmp_path / "other.db") as other:
        assert read_bundle(other, tmp_path / "a.bundle", trust=True).bad == ()
        write_bundle(other, tmp_path / "b.bundle")
        assert [stored.run for stored in other.runs()] == [stored.run for stored in each.runs()] == [run]
        assert other.runs()[0].objective == minimize(metric)
    assert (tmp_path / "a.bundle").read_bytes() == (tmp_path / "b.bundle").read_bytes()


ODD_FACTS = [
    {},
    {"data": "words"},
    {"model": {"name": "m"}},
    {"parameters": 12},
    {"data": {"name": 5}},
    {"data": {"name": ""}},
    {"data": {"name": "w", "classes": "ten", "train": 1.5, "shape": "big"}},
    {"model": {"name": "m", "parameters": True}},
    {"data": {"name": "w", "train": 2**70}},
    {"optimizer": {"family": "sgd", "momentum": "high", "weight_decay": -1}},
    {"optimizer": {"family": "sgd", "momentum": 1}},
    {"batch_size": "all"},
    {"batch_size": -3},
]


def test_facts_of_any_kind_can_be_stored_and_compared(each):
    tasks = [replace(LM, name=f"t{n}", facts=facts) for n, facts in enumerate(ODD_FACTS)]
    for task in tasks:
        each.record(RunSpec(task, FIX(k0=0.1), 200, 0), ended(1.0))
    assert check(each._url.render_as_string(hide_password=False)).is_whole
    assert {row["learning_task"] for row in rows(each, "datasets")} == {None}
    assert [api.advise(task, store=each).relevant for task in tasks[:2]] == [True, True]
    for task in tasks:
        assert {compare(task.description, other.description).distance >= 0 for other in tasks} == {True}
    assert len(each.stats()["tasks"]) == len(tasks)


def rows(store, table):
    from sqlalchemy import text

    with store._engine.connect() as connection:
        query = text(f"SELECT * FROM lrsearch_{table}")  # noqa: S608  a table's name of our own
        return [dict(row) for row in connection.execute(query).mappings()]


# recorded


@pytest.mark.parametrize("given_as", ["value", "logged"])
def test_a_recorded_loss_recommends_the_lowest(store, given_as):
    for policy, mse in MSE.items():
        with lrs.record(store, task="diabetes-mse", policy=policy, horizon=200, minimize="mse") as run:
            run.log(100, mse=9.0)
            run.log(200, mse=mse if given_as == "logged" else 9.0)
            run.log(200, train_loss=3.0)
            run.finish(*([] if given_as == "logged" else [mse]))
    advice = api.advise("diabetes-mse", store=store)
    by_mse = sorted(MSE, key=MSE.get)
    assert str(advice.by_regret()[0].policy) == str(advice.first(1)[0].policy) == by_mse[0]
    assert str(advice.by_regret()[-1].policy) == by_mse[-1] == "FIX(k0=0.05)"
    assert {str(each.policy): (each.score, each.score_text) for each in advice.ranked} == {
        policy: (mse, f"{mse:.4f}") for policy, mse in MSE.items()
    }
    assert lrs.recommend("diabetes-mse", store)[0].objective == minimize("mse")


def test_minimized_values_and_their_negatives_maximized_give_the_same_advice():
    summaries = []
    for name, sign in (("minimize", 1), ("maximize", -1)):
        with open_store("sqlite:///:memory:") as store:
            for seed in range(2):
                for policy, mse in MSE.items():
                    with lrs.record(store, task="m", policy=policy, horizon=200, seed=seed, **{name: "mse"}) as run:
                        for step in (50, 100, 200):
                            run.log(step, mse=sign * (mse + 0.01 * seed) * 200 / step)
                        run.finish()
            advices = [api.advise("m", goal, store=store) for goal in ("accuracy", "cost", "pareto")]
            summaries.append(
                [
                    [
                        (
                            each.policy,
                            sign * each.score,
                            each.value,
                            each.regret,
                            each.low,
                            each.high,
                            each.p_best,
                            each.above_median,
                        )
                        for each in advice.ranked
                    ]
                    for advice in advices
                ]
            )
            assert all(advice.ranked for advice in advices)
    assert summaries[0] == summaries[1]


def test_metrics_directions_and_units_of_one_task_never_meet(store):
    good, bad = "FIX(k0=0.1)", "FIX(k0=1)"
    kinds = [
        ({"minimize": "a"}, 0.1, 0.9),
        ({"maximize": "a"}, 0.9, 0.1),
        ({"minimize": "b"}, 10, 90),
        ({"minimize": "b", "unit": "kg"}, 1e4, 9e4),
        ({}, 0.8, 0.2),
    ]
    for n, (metric, best, worst) in enumerate(kinds):
        for policy, value in ((good, best), (bad, worst)):
            with lrs.record(store, task="m", policy=policy, horizon=200, seed=n, **metric) as run:
                run.finish(value)
    advice = api.advise("m", store=store)
    assert [each.runs for each in advice.neighbours if each.weight] == [2] * len(kinds)
    assert [str(each.policy) for each in advice.by_regret()] == [good, bad]
    assert advice.ranked[0].tasks == len(kinds)
    assert {(each.objective, each.run.score) for each in store.runs(policy=parse(good))} == {
        (minimize("a"), 0.1),
        (maximize("a"), 0.9),
        (minimize("b"), 10),
        (minimize("b", unit="kg"), 1e4),
        (maximize("score"), 0.8),
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"minimize": "a", "maximize": "b"}, "by one metric: name it by minimize= or by maximize=, not by both"),
        ({"minimize": "test_loss"}, "nothing is chosen by it"),
        ({"maximize": " "}, "named by its metric"),
        ({"unit": "kg"}, "unit= is that of a metric"),
        ({"minimize": "a", "unit": ""}, "unit is a text"),
        ({"task": "digits-mlp", "minimize": "top1"}, "top1 of task 'digits-mlp' is maximized"),
        (
            {"task": LM, "maximize": "val_loss"},
            "val_loss of task 'my-lm' is minimized: record it by minimize='val_loss'",
        ),
    ],
)
def test_a_metric_that_cannot_be_is_refused_before_training(arguments, says):
    with pytest.raises((UsageError, TaskError), match=says):
        lrs.record("sqlite:///:memory:", **{"task": "m", "policy": "FIX(k0=0.1)"} | arguments)


def test_a_users_task_is_recorded_by_its_own_metric_and_a_function_stands_for_its_task(store):
    def function():
        """Trains."""

    function.task = LM
    for task, seed in ((LM, 0), (function, 1)):
        with lrs.record(store, task=task, policy="FIX(k0=0.1)", seed=seed) as run:
            run.log(100, val_loss=2.5, train_loss=2.0)
            run.log(200, val_loss=2.25, train_loss=1.5)
            with pytest.raises(UsageError, match=r"val_loss is minimized: finish\(value\)"):
                run.finish(score=0.5)
            run.finish()
        stored = store.find(run.key)
        assert (stored.objective, stored.run.score, stored.horizon) == (LM.objective, 2.25, 200)
        assert stored.run.points == (Point(100, None, 2.5), Point(200, None, 2.25))
        assert stored.run.curves == {"val_loss": ((100, 2.5), (200, 2.25)), "train_loss": ((100, 2.0), (200, 1.5))}
        assert (stored.run.train_losses, stored.run.stride) == ((2.0, 1.5), 100)
    assert lrs.recommend(function, store)[0].objective == LM.objective


def test_finish_without_a_value_takes_what_was_logged_last_and_needs_that_it_was(store):
    with lrs.record(store, task="m", policy="FIX(k0=0.1)", horizon=9, maximize="bleu", unit="points") as run:
        with pytest.raises(UsageError, match="bleu is a number"):
            run.finish()
        run.log(3, bleu=30.0)
        run.log(9, bleu=-1.5)
        run.finish()
    with lrs.record(store, task="m", policy="FIX(k0=0.2)", horizon=9, maximize="bleu") as diverged:
        diverged.log(9, bleu=math.nan)
        diverged.finish()
    stored = store.find(run.key)
    assert (stored.run.score, stored.objective) == (-1.5, Objective("bleu", "maximize", "points"))
    assert str(store.find(diverged.key).run.state) == "diverged"
    with lrs.record(store, task="m", policy="FIX(k0=0.3)", horizon=9, maximize="bleu"):
        pass
    assert "without run.finish()" in next(each.run.error for each in store.runs(state=RunState.FAILED))


# ranked


def known(values, objective, task=LM, origin="local"):
    runs = tuple(
        KnownRun(policy, 200, seed, value, course=((100, value), (200, value)))
        for policy, scores in values.items()
        for seed, value in enumerate(scores)
    )
    return KnownTask(f"{task.key} {objective.name}", task.description, runs, (), origin, objective=objective)


def test_what_is_worth_more_is_so_in_the_metrics_direction():
    run = KnownRun(FIX(k0=0.1), 100, 0, 2.5, course=((50, 3.0), (100, 2.5)))
    assert [value_of(run, goal, 3.0, minimize("a")) for goal in ("accuracy", "cost")] == [-2.5, -0.5]
    assert [value_of(run, goal, 3.0, maximize("a")) for goal in ("accuracy", "cost")] == [2.5, -0.5]
    assert math.isnan(value_of(run, "cost", 2.0, minimize("a")))
    values = {FIX(k0=0.1): [1.0], FIX(k0=1): [2.0], FIX(k0=2): [3.0], FIX(k0=3): [4.0]}
    assert target_of(known(values, minimize("a"))) == 3.0
    assert target_of(known(values, maximize("a"))) == 2.0


def test_a_task_of_one_metric_informs_one_of_another_as_far_as_they_are_alike():
    losses = {WARMUP(policy=HALFCOS(k0=0.05, l=180), l=20): [2.0, 2.1], TRI(k0=0.01, k1=0.1, l=50): [2.5, 2.6]}
    task = replace(LM, name="next", objectives=(maximize("bleu"),))
    advice = advise([known(losses, LM.objective)], task.description)
    assert advice.relevant
    assert advice.first(1)[0].policy.form == "WARMUP(HALFCOS)"
    assert advice.first(1)[0].score_text == "2.05 nats"
    assert advice.first(1)[0].value == -2.05


@pytest.mark.parametrize(
    ("mine", "theirs", "gate"),
    [
        ({"pretrained": True}, {"pretrained": False}, "another beginning: pretrained is false, not true"),
        ({"method": "LoRA"}, {"method": "full"}, "another method: method is full, not lora"),
        ({"method": "LoRA"}, {"method": "lora"}, None),
        ({}, {"method": "full"}, None),
        ({"pretrained": False}, {}, None),
        ({"pretrained": "a.pt"}, {}, "another beginning: pretrained is false, not a.pt"),
        ({}, {"method": "LoRA"}, "another method: method is lora, not full"),
        ({"dropout": 0.1}, {"dropout": 0.5}, None),
    ],
)
def test_a_fine_tuning_is_no_neighbour_of_a_training_from_scratch(mine, theirs, gate):
    a, b = (replace(LM, facts={**LM.facts, **facts}).description for facts in (mine, theirs))
    assert compare(a, b).gate == gate
    assert (compare(a, b).distance == math.inf) is (gate is not None)


def test_what_was_chosen_on_a_test_set_stays_apart_from_every_users_task(store):
    paper = TASKS["mnist-lenet"].in_paper_protocol()
    own = Task(
        name="mine",
        horizon=10_000,
        epoch=540,
        objectives=(minimize("val_loss"),),
        facts={"optimizer": "sgd", "data": "MNIST", "model": "lenet"},
    )
    for task in (paper, TASKS["mnist-lenet"]):
        store.record(RunSpec(task, FIX(k0=0.1), task.horizon, 0), ended(0.9))
    names = {each.name for each in api.advise(own, store=store).neighbours}
    assert "mnist-lenet" in names
    assert "mnist-lenet-paper" not in names


def test_the_best_policies_of_each_metric_are_read(store):
    task = replace(LM, objectives=(minimize("val_loss"),))
    for n in range(60):
        store.record(RunSpec(task, FIX(k0=round(0.001 * 1.1**n, 9)), 200, 0), ended(float(n)))
        with lrs.record(store, task=task, policy=FIX(k0=round(0.001 * 1.1**n, 9)), maximize="bleu") as run:
            run.finish(float(n))
    representative = store.representative_runs(task.key, policies=10)
    scores = [(stored.objective.name, stored.run.score) for stored in representative]
    losses, bleus = ([score for name, score in scores if name == metric] for metric in ("val_loss", "bleu"))
    assert (len(losses), len(bleus)) == (10, 10)
    assert sorted(losses)[:5] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert sorted(bleus)[-5:] == [55.0, 56.0, 57.0, 58.0, 59.0]


def test_a_recommendation_has_its_metric_and_an_older_one_is_read_as_it_was():
    losses = {FIX(k0=0.05): [2.0], TRI(k0=0.01, k1=0.1, l=50): [2.5]}
    (recommendation, *_) = advise([known(losses, LM.objective)], LM.description).ranked
    values = json.loads(json.dumps(recommendation.to_json()))
    assert (values["metric"], values["direction"], values["unit"]) == ("val_loss", "minimize", "nats")
    assert Recommendation.from_json(values) == recommendation
    before = {name: value for name, value in values.items() if name not in ("metric", "direction", "samples", "unit")}
    assert Recommendation.from_json(before | {"score": 0.905}).score_text == "90.50 %"
    assert Recommendation.from_json(before | {"score": 90.5, "unit": "%"}).score_text == "90.5 %"
    answer = Searched("s", FIX(k0=0.1), 2.25, 3, True, "v", LM.objective)
    assert (answer.score_text, answer.to_json()["metric"], answer.to_json()["direction"]) == (
        "2.25 nats",
        "val_loss",
        "minimize",
    )
    assert set(GOALS) == {"accuracy", "cost", "robustness", "confidence"}


# an Optuna study of one's own


def test_results_enter_a_study_of_the_metrics_direction_and_no_other(store):
    space = Space.standard("FIX", horizon=200, epoch=20)
    store.record(RunSpec(LM, FIX(k0=0.1), 200, 0), ended(2.5))
    with lrs.record(store, task=LM, policy=FIX(k0=0.2), maximize="bleu") as run:
        run.finish(30.0)
    study = optuna.create_study(direction="minimize")
    assert [lrs.add_results(study, space, store, LM) for _ in range(2)] == [1, 0]
    assert study.best_value == 2.5
    with pytest.raises(UsageError, match="val_loss is minimized: make the study with direction='minimize'"):
        lrs.add_results(optuna.create_study(direction="maximize"), space, store, LM)
    both = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(UsageError, match="2 directions, and the results are of one metric, val_loss"):
        lrs.add_results(both, space, store, LM)
    mlp = find_task("digits-mlp")
    with pytest.raises(UsageError, match="top1 is maximized: make the study with direction='maximize'"):
        lrs.add_results(study, Space.standard("FIX", horizon=mlp.horizon, epoch=mlp.epoch), store, mlp)


# printed


def test_no_percent_stands_on_a_loss(typed, tmp_path):
    with open_store(tmp_path / "s.db") as store:
        store.record(RunSpec(LM, FIX(k0=0.1), 200, 0), ended(0.5))
        store.record(RunSpec(find_task("digits-mlp"), FIX(k0=0.1), 1280, 0), ended(0.5))
        key = RunSpec(LM, FIX(k0=0.1), 200, 0).key
    (line,) = [line for line in typed("store", "runs", "--store", "s.db").out.splitlines() if "my-lm" in line]
    assert "0.5 nats" in line
    assert "%" not in line
    assert "50.00 %" in typed("store", "runs", "--store", "s.db", "--task", "digits-mlp").out
    shown = typed("store", "show", key[:9], "--store", "s.db").out
    assert "metric   val_loss, minimized" in shown
    assert "score    0.5 nats" in shown
    runs = typed("store", "runs", "--store", "s.db", "--json").json
    assert {(run["metric"], run["direction"]) for run in runs} == {("val_loss", "minimize"), ("top1", "maximize")}
    for command in ("rank", "recommend"):
        printed = typed(command, "my-lm", "--store", "s.db").out
        assert "0.5 nats" in printed
        assert "50.00 %" not in printed
