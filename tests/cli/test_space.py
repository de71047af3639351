"""prune and explain as a user runs them: real probes, the search that takes them over, and wrong input."""

import json
import os
import subprocess
import sys

import pytest

import lrsearch as lrs

HORIZON = 400
TASK = ("digits-mlp", "--horizon", str(HORIZON), "--functions", "TRI,SIN2,WARMUP")
QUICK = (*TASK, "--budget", "3.3")


def stored(lrsearch, folder):
    runs = lrsearch("store", "runs", "--store", str(folder / "store.db"), "--json").json
    return {run["key"]: run for run in runs}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """Probes trained by the command line: (folder, JSON, stderr)."""
    folder = tmp_path_factory.mktemp("pruned")
    ended = subprocess.run(
        [sys.executable, "-m", "lrsearch", "prune", *QUICK, "--json", "--out", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    return folder, json.loads(ended.stdout), ended.stderr


def test_the_json_contract_holds(pruned, lrsearch):
    folder, told, printer = pruned
    known = stored(lrsearch, folder)
    assert {run["key"] for run in told["probes"]} == set(known)
    assert {run["policy"].split("(")[0] for run in told["probes"]} == {"RAMP", "FIX"}
    assert told["cost"]["trained_runs"] == len(known) == printer.count("FRE")
    assert 0 < told["cost"]["fre"] <= 0.2 * 3.3
    assert told["pruned"]["refusal"] is None
    assert told["pruned"]["log_volume_after"] < -0.2
    peak, (bound, *_) = told["space"]["ranges"]["peak"], told["pruned"]["bounds"]
    assert (bound["coordinate"], bound["low"], bound["high"]) == ("peak", peak["low"], peak["high"])
    assert set(bound["runs"]) <= set(known)
    assert told["grid"]["before"] == 43 > told["grid"]["after"] > 0
    assert told["space"]["ranges"]["function"] == {"values": ["TRI", "SIN2", "WARMUP(HALFCOS)"]}
    assert not (folder / "optuna.db").exists()


def test_a_search_afterwards_takes_over_all_probes_and_stored_runs_replay_them(pruned, lrsearch, tmp_path):
    folder, told, _ = pruned
    (tmp_path / "store.db").write_bytes((folder / "store.db").read_bytes())
    probes = set(stored(lrsearch, tmp_path))
    result = lrsearch("search", *QUICK, "--json", "--out", str(tmp_path))
    assert result.code == 0, result.err
    assert result.json["cost"]["reused_runs"] == len(probes)
    assert "range-test" not in result.err
    assert "decade" not in result.err
    assert result.json["pruned"] == told["pruned"]
    again = lrsearch("prune", *QUICK, "--json", "--out", str(tmp_path)).json
    assert again["cost"]["trained_runs"] == 0
    alone = lrsearch("prune", *TASK, "--stored", "--json", "--out", str(tmp_path)).json
    assert (alone["study"], alone["cost"]["trained_runs"]) == (None, 0)
    for other in (again, alone):
        assert {key: other[key] for key in ("space", "pruned", "probes", "grid")} == {
            key: told[key] for key in ("space", "pruned", "probes", "grid")
        }
    explained = lrsearch("explain", result.json["study"], "--json", "--out", str(tmp_path)).json
    assert explained["pruned"] == told["pruned"]
    assert explained["escapes"]["candidates"] > 5


def test_in_python_it_is_the_same_space_for_any_loop(pruned):
    import numpy as np
    import optuna

    folder, told, _ = pruned
    task = lrs.TASKS["digits-mlp"].with_horizon(HORIZON)
    alone = lrs.prune(task, functions=["TRI", "SIN2", "WARMUP"], stored=True, out=folder)
    assert alone.to_json()["space"] == told["space"]
    assert alone.space == lrs.explain(told["study"], out=folder).space
    assert alone.space.sample(np.random.default_rng(0)) in alone.space
    trial = optuna.create_study().ask()
    assert alone.space.suggest(trial) in alone.space
    assert trial.distributions["peak"].high == told["space"]["ranges"]["peak"]["high"]


def test_people_get_the_ranges_the_runs_and_the_lines_that_use_it(pruned, lrsearch):
    folder, told, _ = pruned
    shown = lrsearch("prune", *QUICK, "--out", str(folder))
    assert shown.code == 0
    for text in (
        "the space that is left of digits-mlp",
        "RAMP(",
        "bottom around",
        told["probes"][0]["key"][:8] + "*",
        "prior mass",
        "43 points",
        f"0 runs trained (0 steps), {len(told['probes'])} taken from the store",
        f'lrs.explain("{told["study"]}"',
        "space.suggest(trial)",
    ):
        assert text in shown.out


def test_an_explanation_is_in_sentences_and_the_studies_are_listed(pruned, lrsearch):
    folder, told, _ = pruned
    store = ("--store", str(folder / "store.db"))
    shown = lrsearch("explain", told["study"][-8:], *store)  # the beginning of its key
    assert shown.code == 0
    for text in (told["study"], "The learning rate is searched from", "by rule", "nothing has tested the cut"):
        assert text in shown.out
    assert lrsearch("explain", told["study"], *store, "--json").json["sentences"][0].split(":")[0] in shown.out
    listed = lrsearch("store", "studies", *store)
    assert told["study"] in listed.out
    (study,) = lrsearch("store", "studies", *store, "--json").json
    assert (study["study"], study["strategy"], study["budget"]) == (told["study"], "probing", 3.3)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["prune", "digits-mpl"], 2, "did you mean 'digits-mlp'"),
        (["prune", "digits-mlp", "--budget", "1"], 2, "too small"),
        (["prune", "digits-mlp", "--budget", "nan", "--stored"], 2, "number of full runs"),
        (["prune", "digits-mlp", "--stored"], 1, "no store at lrsearch-runs/store.db; search first"),
        (["prune", "digits-mlp", "--stored", "--store", "empty.db"], 1, "leave out --stored, and they are trained"),
        (["prune", "digits-mlp", "--out", "/proc/none"], 1, "cannot write to /proc/none"),
        (["explain"], 2, "STUDY"),
        (["explain", "digits-mlp", "--store", "empty.db"], 2, "no study 'digits-mlp' among the 0 of this store"),
        (["explain", "digits-mlp", "--store", "typo.db"], 1, "no store at typo.db"),
    ],
)
def test_a_users_mistake_gets_a_line_that_helps_and_no_traceback(typed, tmp_path, words, code, says):
    lrs.open_store(str(tmp_path / "empty.db")).close()
    ended = typed(*words)
    assert ended.code == code
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert not (tmp_path / "typo.db").exists()
