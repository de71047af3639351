"""Variants: one function, many settings, each a task of its own key; and the recipe that compares their values."""

import importlib.util
import json
import textwrap
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch import api
from lrsearch.errors import TaskError, UsageError, WorkError
from lrsearch.runs import Task, maximize, minimize
from lrsearch.study.file import read_study
from lrsearch.study.own_recipe import decide_setting
from lrsearch.study.recipe import Tried
from lrsearch.training.settings import with_settings

FILE = Path(__file__).with_name("surface.py")
surface = importlib.util.module_from_spec(importlib.util.spec_from_file_location("surface_of_settings", FILE))
surface.__spec__.loader.exec_module(surface)
LONG = {"horizon": 1200, "epoch": 8, "minimize": "val_loss", "lr_range": (1e-4, 10.0)}


def steps(job):
    """What the surface logs, falling faster, with a metric that follows the settings."""
    for step, loss in surface.course(job):
        job.log(step, train_loss=loss)
    add = job.settings["decay"] + (0.0 if job.settings["batch"] == 32 else 1e-9 * job.seed)
    return float("nan") if loss > 100 else loss + add


@lrs.task("varied", settings={"decay": 0.5, "batch": 32}, **LONG)
def varied(job):
    return steps(job)


@lrs.task("deaf", **LONG)
def deaf(job):
    surface.train(job)


def test_settings_are_merged_over_those_of_the_decorator_and_make_another_key():
    other = with_settings(varied, {"decay": 0.25, "amp": True})
    assert other.task.settings == {"decay": 0.25, "batch": 32, "amp": True}
    assert other.task.key != varied.task.key
    assert varied.task.settings == {"decay": 0.5, "batch": 32}
    assert with_settings(varied, {"decay": 0.5}).task.key == varied.task.key
    assert with_settings(varied, {}) is with_settings(varied, None) is varied
    described = Task(name="by hand", horizon=100, epoch=10, objectives=(minimize("loss"),))
    assert with_settings(described, {"a": 1}).settings == {"a": 1}


@pytest.mark.parametrize(
    "call",
    [
        lambda settings, out: lrs.search("digits-mlp", 4, settings=settings, out=out),
        lambda settings, out: lrs.sweep("digits-mlp", 4, settings=settings, out=out),
        lambda settings, out: lrs.prune("digits-mlp", 4, settings=settings, out=out),
        lambda settings, out: lrs.recipe("digits-mlp", settings=settings, out=out),
        lambda settings, out: lrs.verify("FIX(k0=0.1)", "digits-mlp", 0.9, 100, settings=settings, out=out),
        lambda settings, out: api.compare("digits-mlp", settings=settings, out=out),
        lambda settings, out: api.range_tests("digits-mlp", settings=settings, out=out),
    ],
)
def test_what_lrsearch_trains_itself_takes_no_settings(call, tmp_path):
    with pytest.raises(TaskError, match="task 'digits-mlp' takes no settings"):
        call({"decay": [0.1, 0.2]}, tmp_path / "o")
    with pytest.raises(UsageError, match=r"settings is a mapping of names"):
        call(["decay"], tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("settings", [{"decay": object()}, {"decay": float("nan")}, {5: 1}, {"decay": {1, 2}}])
def test_values_that_are_not_plain_are_refused_before_anything_is_opened(settings, tmp_path):
    with pytest.raises(TaskError, match="task 'varied': settings"):
        lrs.search(varied, 4, settings=settings, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_every_call_trains_the_variant_under_its_own_key_in_one_store(tmp_path):
    given = {"settings": {"decay": 0.125}, "out": tmp_path}
    plain, other = lrs.search(varied, 1.6, out=tmp_path), lrs.search(varied, 1.6, **given)
    assert plain.key != other.key
    assert other.default.score == pytest.approx(plain.default.score - 0.375)
    assert lrs.search(varied, 1.6, **given).spent.trained_runs == 0
    assert lrs.prune(varied, 1.6, **given).spent.trained_runs == 0  # a search's probes
    key = other.setup.task.key
    assert lrs.check(varied, settings={"decay": 0.125}).task.key == key
    assert lrs.train(varied, "FIX(k0=0.1)", settings={"decay": 9.0}).score > 9
    assert lrs.verify("FIX(k0=0.2)", varied, 9.5, 160, settings={"decay": 9.0}, out=tmp_path).score > 9
    assert api.range_tests(varied, repeats=1, **given)[0].task.key == key


def test_in_a_study_file_a_table_of_settings_belongs_to_a_function(tmp_path):
    (tmp_path / "train.py").write_text(
        textwrap.dedent("""
        import lrsearch as lrs

        @lrs.task("filed", horizon=20, epoch=5, minimize="loss", settings={"layers": 1, "decay": 0.5})
        def train(job):
            return job.settings["layers"] + job.settings["decay"]
        """)
    )
    study = tmp_path / "study.toml"
    study.write_text(
        'task = "train.py:train"\nseeds = 1\npolicies = [{policy = "FIX(k0=0.1)"}]\n[settings]\nlayers = 3\n'
    )
    table = read_study(study, horizon=40)
    assert table.task.settings == {"layers": 3, "decay": 0.5}
    (outcome,) = api.run_table(table, out=tmp_path).outcomes
    assert outcome.scores == [3.5]
    study.write_text(study.read_text().replace("layers = 3", "day = 2026-01-01"))
    with pytest.raises(TaskError, match=r"study\.toml: task 'filed': settings holds plain values"):
        read_study(study)
    study.write_text(study.read_text().replace("train.py:train", "digits-mlp"))
    with pytest.raises(TaskError, match=r"study\.toml: task 'digits-mlp' takes no settings"):
        read_study(study)


def test_a_recipe_compares_the_values_of_each_setting_in_order_and_keeps_the_first_on_a_tie(tmp_path):
    lines = []
    tries = {"decay": [0.5, 0.25, 0.75], "batch": [32, 64], "amp": True}
    found = lrs.recipe(varied, settings=tries, out=tmp_path, watch=lines.append)
    decay, batch = found.steps
    assert (decay.setting, decay.own, decay.chosen) == ("decay", 0.5, 0.25)
    assert (batch.setting, batch.own, batch.chosen) == ("batch", 32, 32)
    assert [(one.value, one.seed) for one in decay.tried] == [(v, s) for v in (0.5, 0.25, 0.75) for s in range(3)]
    assert "32" in batch.reason
    assert found.task.settings == {"decay": 0.5, "batch": 32, "amp": True}
    assert found.chosen.settings == {"decay": 0.25, "batch": 32, "amp": True}
    assert found.score == pytest.approx(found.baseline - 0.25)
    assert found.verdict == "Better than the task as it is (-0.25 on one fresh seed, which tells no noise)."
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["settings"] == found.chosen.settings
    assert any(line.startswith("decay 0.25, seed 1: ") for line in lines)
    with lrs.open_store(tmp_path / "store.db") as store:
        known = {one.key for one in store.runs()}
    assert {one.run for step in found.steps for one in step.tried} <= known
    assert lrs.recipe(varied, settings=tries, out=tmp_path) == found


def test_a_setting_that_the_training_does_not_read_is_reported(tmp_path):
    found = lrs.recipe(deaf, settings={"width": [16, 32]}, out=tmp_path)
    assert "does the training read job.settings['width']? 16 stays" in found.steps[0].reason
    assert found.verdict == "It leaves the task as it is: no other setting was better by more than a tie."


def test_a_value_with_which_the_training_fails_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"(?s)^with batch = none: training .*KeyError"):

        @lrs.task("fails", settings={"batch": 1}, **LONG)
        def fails(job):
            {1: 1}[job.settings["batch"]]
            surface.train(job)

        lrs.recipe(fails, settings={"batch": [1, "none"]}, out=tmp_path)


def test_a_recipe_without_a_train_loss_says_what_it_misses(tmp_path):
    @lrs.task("silent", **LONG)
    def silent(job):
        return 1.0

    with pytest.raises(WorkError, match=r"are flat, for the training logs no train_loss: .*range-test"):
        lrs.recipe(silent, settings={"width": [16, 32]}, out=tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (None, "name values to compare"),
        ({}, "name values to compare"),
        ({"decay": 0.1}, "name values to compare"),
        ({"decay": []}, "'decay' needs two values or more"),
        ({"decay": [0.1]}, r"each once, got \[0.1\]"),
        ({"decay": [0.1, 0.1]}, "each once"),
        (["decay"], "settings is a mapping"),
        ({"decay": [0.1, object()]}, "plain values"),
    ],
)
def test_a_recipe_without_anything_to_compare_is_refused(tmp_path, settings, says):
    with pytest.raises(UsageError, match=says):
        lrs.recipe(varied, settings=settings, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def tried(*scores):
    return [
        Tried(value, 50, None, score, "", seed) for value, some in enumerate(scores) for seed, score in enumerate(some)
    ]


LOSS, SHARE = minimize("loss"), maximize("acc", samples=1000)


@pytest.mark.parametrize(
    ("objective", "scores", "chosen", "says"),
    [
        (LOSS, [(1.0, 1.1, 0.9), (0.5, 0.6, 0.4)], 1, "b ends at 0.5, the first, a, at 1 (-0.5 over 3 seeds, noise"),
        (LOSS, [(1.0, 1.1, 0.9), (0.9, 1.05, 0.95)], 0, ": a tie, and a stays"),
        (LOSS, [(1.0, 1.1, 0.9), (1.5, 1.6, 1.4)], 0, "a ends at 1, which no other value beats"),
        (LOSS, [(1.0, None, 0.9), (1.5, 1.6, 1.4)], 1, "the first, a, diverged in 1 of 3"),
        (LOSS, [(None,) * 3, (None,) * 3], 0, "a run of each value diverged: a stays"),
        (SHARE, [(0.5, 0.5, 0.5), (0.9, 0.9, 0.9)], 1, "b ends at 90.00 %, the first, a, at 50.00 % (+40.00 points"),
        (SHARE, [(0.5, 0.5, 0.5), (0.51, 0.51, 0.51)], 0, ": a tie, and a stays"),
    ],
)
def test_a_step_says_what_it_decided_by_which_numbers(objective, scores, chosen, says):
    step = decide_setting("letter", ["a", "b"], tried(*scores), objective)
    assert step.chosen == "ab"[chosen]
    assert says in step.reason


def test_minimizing_a_metric_decides_as_maximizing_its_negative():
    scores = [(1.0, 1.1, 0.9), (0.5, 0.6, 0.4), (0.4, None, 0.3)]
    turned = [tuple(None if one is None else -one for one in some) for some in scores]
    lower, higher = (
        decide_setting("n", [1, 2, 3], tried(*some), objective)
        for some, objective in ((scores, LOSS), (turned, maximize("loss")))
    )
    assert lower.chosen == higher.chosen == 2


TRAIN = """
import lrsearch as lrs

@lrs.task("typed", horizon=160, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0), settings={"decay": 0.5})
def train(job):
    for step in range(1, 1 + job.horizon):
        rate = job.policy(step - 1)
        job.log(step, train_loss=1.0 / (1.0 + 100 * rate) if rate < 1 else 50.0)
    return job.settings["decay"] + rate + 0.001 * job.seed
"""


def test_the_command_line_reads_settings_and_values_to_try(typed, tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    known = typed(
        "verify",
        "FIX(k0=0.1)",
        "--task",
        "train.py:train",
        "--target",
        "2.5",
        "--budget",
        "160",
        "--set",
        "decay=2",
        "--json",
        "--out",
        "o",
    )
    assert (known.code, known.json["reached"], known.json["score"]) == (0, True, pytest.approx(2.1))
    found = typed("recipe", "train.py:train", "--try", "decay=2e-1,1e-1", "--set", "name=a b", "--out", "o")
    assert found.code == 0, found.err
    assert "decay: 0.1 ends at" in found.out
    assert "found: decay 0.1, 160 steps, ONECYCLE" in found.out
    assert "decay 0.1, seed 2: " in found.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["search", "--set", "decay"], "--set takes a name and a value, as --set decay=0.1, got 'decay'"),
        (["prune", "--set", "=1"], "--set takes a name and a value"),
        (["range-test", "--set", "a=1", "--set", "a=2"], "--set gives 'a' twice"),
        (["compare", "--set", "a=NaN"], "settings holds plain values"),
        (["recipe"], "name values to compare, such as settings={'decay': [0.01, 0.1]} or --try decay=0.01,0.1"),
        (["recipe", "--try", "a=1"], "'a' needs two values or more to compare"),
        (["recipe", "--try", "a"], "--try takes a name and a value"),
    ],
)
def test_wrong_settings_are_refused_in_a_line(typed, tmp_path, words, says):
    (tmp_path / "train.py").write_text(TRAIN)
    ended = typed(words[0], "train.py:train", *words[1:], "--out", "o")
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "o").exists()
