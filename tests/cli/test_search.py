"""The main job as a user runs it: the JSON contract, resuming, kills, and wrong input."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HORIZON = 400
QUICK = ("search", "digits-mlp", "--horizon", str(HORIZON), "--budget", "3.3", "--functions", "TRI,SIN2,WARMUP")


def stored(lrsearch, folder):
    runs = lrsearch("store", "runs", "--store", str(folder / "store.db"), "--json").json
    return {run["key"]: run for run in runs}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """One search by the command line: (folder, JSON, stderr)."""
    folder = tmp_path_factory.mktemp("searched")
    ended = subprocess.run(
        [sys.executable, "-m", "lrsearch", *QUICK, "--json", "--final-test", "--out", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    return folder, json.loads(ended.stdout), ended.stderr


def test_the_json_contract_holds(searched):
    _, result, _ = searched
    for name in ("best", "best_found", "default"):
        assert isinstance(result[name]["policy"], str)
        assert 0 < result[name]["score"] <= 1
        assert result[name]["seeds"] == 1
        assert result[name]["spread"] is None
        assert result[name]["confirmed"] is False
    assert result["best"] in (result["best_found"], result["default"])
    assert result["verdict"].startswith("Use ")
    assert "not confirmed on fresh seeds" in result["verdict"]
    cost = result["cost"]
    assert 1 < cost["fre"] <= 3.3
    assert cost["steps"] == pytest.approx(cost["fre"] * HORIZON)
    assert cost["seconds"] > 0
    assert cost["runs"] == cost["trained_runs"] > 10
    assert cost["trained_steps"] == cost["steps"]
    assert cost["reused_runs"] == 0
    assert result["pruned"]["log_volume_before"] == 0
    assert result["pruned"]["log_volume_after"] < -0.2
    assert result["study"].startswith("digits-mlp-")
    assert result["store"].startswith("sqlite:///")


def test_the_metrics_of_the_paper_are_told_of_both_on_validation_and_on_test(searched):
    _, result, _ = searched
    names = {"loss", "top1", "top5", "ac", "cd", "cdac", "ld"}
    for name in ("best", "default"):
        metrics, test = result[name]["metrics"], result["test"]["metrics"][name]
        assert set(metrics) == names | {"step"}
        assert set(test) == names
        assert metrics["top1"] == result[name]["score"]
        assert test["top1"] == result["test"][name]
        assert all(0 <= found[key] <= 1 for found in (metrics, test) for key in ("top1", "top5", "ac", "cd", "cdac"))
        assert test["loss"] - test["ld"] == pytest.approx(metrics["loss"] - metrics["ld"])  # the training loss
        assert 0 < result[name]["best_step"] <= HORIZON
        assert result[name]["numbers"] >= 2


def test_the_search_is_the_same_on_two_workers(searched, lrsearch, tmp_path):
    folder, result, _ = searched
    other = lrsearch(*QUICK, "--json", "--workers", "2", "--out", "two")
    assert other.code == 0, other.err

    def asked(runs):
        return sorted((run["policy"], run["horizon"], run["seed"]) for run in runs)

    assert other.json["best"]["policy"] == result["best"]["policy"]
    assert asked(stored(lrsearch, tmp_path / "two").values()) == asked(stored(lrsearch, folder).values())
    assert not list(tmp_path.glob("two/weights/*.checkpoint"))


def test_every_bound_names_the_runs_or_the_rule_behind_it(searched, lrsearch):
    folder, result, _ = searched
    known = stored(lrsearch, folder)
    bounds = {bound["coordinate"]: bound for bound in result["pruned"]["bounds"]}
    assert {"peak", "ratio", "cycles"} <= set(bounds)
    for bound in bounds.values():
        assert bound["low"] <= bound["high"]
        assert bound["reason"]
        assert ("rule" in bound) != ("runs" in bound)
    assert bounds["peak"]["runs"]
    assert set(bounds["peak"]["runs"]) <= set(known)


def test_the_ledger_holds_every_run_and_its_cost_adds_up(searched, lrsearch):
    folder, result, _ = searched
    known = stored(lrsearch, folder)
    assert len(known) == result["cost"]["runs"]
    assert sum(run["cost"]["steps"] for run in known.values()) == result["cost"]["steps"]
    columns = {"key", "task", "policy", "seed", "horizon", "state", "score", "cost", "origin"}
    assert all(columns <= set(run) for run in known.values())
    best = [run for run in known.values() if run["policy"] == result["best"]["policy"] and run["horizon"] == HORIZON]
    assert best[0]["score"] == result["best"]["score"]


def test_the_pictures_are_there(searched):
    folder, result, _ = searched
    assert len(result["pictures"]) == 4
    for picture in map(Path, result["pictures"]):
        assert folder in picture.parents
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_optuna_study_is_a_normal_one_in_which_complete_means_full_length(searched):
    import optuna

    folder, result, _ = searched
    study = optuna.load_study(study_name=result["study"], storage=f"sqlite:///{folder / 'optuna.db'}")
    states = {state: [t for t in study.trials if t.state is state] for state in optuna.trial.TrialState}
    complete = states[optuna.trial.TrialState.COMPLETE]
    assert len(complete) == 2
    assert {trial.user_attrs["lrsearch:horizon"] for trial in complete} == {HORIZON}
    assert study.best_value == max(result["best_found"]["score"], result["default"]["score"])
    pruned = states[optuna.trial.TrialState.PRUNED]
    assert len(pruned) > 5
    assert all(next(iter(trial.intermediate_values)) < HORIZON for trial in pruned)
    assert len(complete) + len(pruned) == len(study.trials)


def test_the_test_set_is_read_once_and_only_when_asked(searched, lrsearch):
    folder, result, _ = searched
    again = lrsearch(*QUICK, "--json", "--final-test", "--out", str(folder)).json
    assert 0.5 < result["test"]["best"] <= 1
    assert "read once" in result["test"]["note"]
    assert again["test"]["best"] == result["test"]["best"]
    assert "earlier call" in again["test"]["note"]
    assert lrsearch(*QUICK, "--json", "--out", str(folder)).json["test"] is None


def test_the_same_command_again_is_answered_from_the_store(searched, lrsearch):
    folder, result, _ = searched
    again = lrsearch(*QUICK, "--json", "--out", str(folder)).json
    assert (again["cost"]["trained_runs"], again["cost"]["trained_steps"]) == (0, 0)
    assert again["cost"]["reused_runs"] == result["cost"]["runs"]
    assert again["best"] == result["best"]
    assert again["pruned"] == result["pruned"]
    assert again["pictures"] == result["pictures"]


def test_people_get_a_table_that_says_what_matters(searched, lrsearch):
    folder, result, _ = searched
    shown = lrsearch(*QUICK, "--out", str(folder))
    assert shown.code == 0
    assert shown.out.splitlines()[0] == result["verdict"]
    assert f'lrs.parse("{result["best"]["policy"]}")' in shown.out
    for text in (
        "answer",
        result["best"]["policy"],
        "validation",
        "FRE",
        "what the heuristics cut",
        "range tests",
        "import lrsearch as lrs",
        ".png",
        "taken from the store",
        result["study"],
    ):
        assert text in shown.out


def test_recommend_and_explain_say_the_answer_before_anything_else(searched, typed):
    folder, result, _ = searched
    task = ("digits-mlp", "--horizon", str(HORIZON), "--out", str(folder))
    for command in ("recommend", "rank"):
        lines = typed(command, *task).out.splitlines()
        assert lines[1] == f"answer of the search {result['study']}: {result['verdict']}"
        assert "need not begin with an answer" in lines[2]
    told = typed("rank", *task, "--json").json
    assert [(one["study"], one["policy"]) for one in told["answers"]] == [(result["study"], result["best"]["policy"])]
    assert typed("rank", *task, "--goal", "cost", "--json").json["answers"] == []
    explained = typed("explain", result["study"], "--out", str(folder))
    assert result["verdict"] in " ".join(explained.out.split())
    assert explained.out.split("\n\n")[1].startswith("The search's answer: Use ")


def test_progress_is_told_on_stderr_only(searched):
    _, result, printer = searched
    assert "range-test" in printer
    assert "candidate" in printer
    assert f"{result['cost']['fre']:.2f} FRE" in printer


def test_a_search_on_a_similar_task_starts_from_what_the_store_knows(searched, lrsearch, tmp_path):
    folder, _, _ = searched
    store = tmp_path / "store.db"
    store.write_bytes((folder / "store.db").read_bytes())
    told = lrsearch(
        "search",
        "digits-cnn",
        "--horizon",
        "400",
        "--budget",
        "3.3",
        "--functions",
        "TRI,SIN2,WARMUP",
        "--store",
        str(store),
    )
    assert told.code == 0, told.err
    assert "learned from digits-mlp" in told.out


def start(folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *QUICK, "--json", "--out", str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_lines(process, count):
    """Wait until so many runs have ended."""
    return [process.stderr.readline() for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_search_that_was_ended_goes_on_and_nothing_finished_is_trained_twice(
    searched, lrsearch, tmp_path, number, code
):
    _, whole, _ = searched
    process = start(tmp_path)
    done = read_lines(process, 10)
    process.send_signal(number)
    _, rest = process.communicate()
    assert process.returncode == code, rest
    assert all("FRE" in line for line in done)
    before = {key for key, run in stored(lrsearch, tmp_path).items() if run["state"] in ("finished", "diverged")}
    assert len(before) >= 10
    result = lrsearch(*QUICK, "--json", "--out", str(tmp_path)).json
    assert result["cost"]["reused_runs"] >= len(before)
    assert result["cost"]["trained_runs"] + result["cost"]["reused_runs"] == result["cost"]["runs"]
    assert result["cost"]["fre"] <= 3.3
    assert result["best"] == whole["best"]
    import optuna

    study = optuna.load_study(study_name=result["study"], storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert not [t for t in study.trials if not t.state.is_finished()]


PROGRAM = ("--name", "mine", "--horizon", "99", "--minimize", "loss")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["search", "digits-mpl"], 2, "did you mean 'digits-mlp'"),
        (["search", "digits-mlp", "--functions", "TRY"], 2, "did you mean 'TRI'"),
        (["search", "digits-mlp", "--budget", "0"], 2, "too small"),
        (["search"], 2, "a program with --command: one of the three"),
        (["search", "digits-mlp", "--name", "mine"], 2, "--name describes a program"),
        (["search", "digits-mlp", "--command", "echo"], 2, "needs --name and --horizon"),
        (["prune", "--command", "pythn x", *PROGRAM], 2, "no program 'pythn'"),
        (["search", "--command", "echo", *PROGRAM, "--fact", "x"], 2, "--fact takes NAME=VALUE"),
        (["range-test", "--command", "bash -c 'exit 3'", *PROGRAM], 1, "bash exited with 3, and printed nothing"),
        (["search", "digits-mlp", "--known", "TRI(k0=1"], 2, "found the end"),
        (["sweep", "digits-mlp", "--known", "0.1"], 2, "'0.1'"),
        (["search", "digits-mlp", "--budget", "nan"], 2, "number of full runs"),
        (["search", "digits-mlp", "--budget", "many"], 2, "--budget"),
        (["search", "digits-mlp", "--horizon", "3"], 2, "horizon"),
        (["search", "digits-mlp", "--precision", "fp8"], 2, "fp32"),
        (["search", "digits-mlp", "--engine", "optima"], 2, "did you mean 'optuna'"),
        (["search", "digits-mlp", "--seed", "-1"], 2, "seed"),
        (["search", "digits-mlp", "--max-hours", "0"], 2, "max_hours is a number above 0, got 0.0"),
        (["search", "digits-mlp", "--max-hours", "soon"], 2, "--max-hours"),
        (["prune", "digits-mlp", "--max-seconds-per-run", "-1"], 2, "max_seconds_per_run is a number above 0"),
        (["search", "digits-mlp", "--engine", "ray", "--max-hours", "-1"], 2, "max_hours is a number above 0"),
        (["sweep", "digits-mlp", "--max-seconds-per-run", "0"], 2, "max_seconds_per_run is a number above 0"),
        (["search", "digits-mlp", "--bugdet", "4"], 2, "--budget"),
        (["search", "digits-mlp", "--out", "/proc/none"], 1, "cannot write to /proc/none"),
        (["search", "digits-mlp", "--store", "text.txt"], 1, "is not a store"),
        (["search", "mnist-lenet", "--data-dir", "."], 1, "lacks train-images"),
        (["compare", "digits-mlp", "--strategies", "funel"], 2, "did you mean 'funnel'"),
        (["compare", "digits-mlp", "--seeds", "0"], 2, "1 seed or more"),
        (["store", "runs"], 1, "search first"),
        (["store", "runs", "--store", "text.txt", "--state", "done"], 2, "finished"),
        (["policy", "show", "TRI(k0=1"], 2, "found the end"),
        (["policy", "plot", "FIX(k0=0.1)", "-o", "/proc/none/x.png"], 1, "cannot write"),
        (["policy", "plot", "FIX(k0=0.1)", "-o", "x.jpg"], 2, "ends in .png"),
        (["search", "digits-mlp", "--budget", "1e308"], 2, "at most"),
        (["search", "digits-mlp", "--optuna", "bogus"], 2, "an Optuna storage is a URL such as"),
        (["search", "digits-mlp", "--optuna", "sqlite:////proc/none/optuna.db"], 1, "--optuna"),
        (["store", "runs", "--store", "typo.db"], 1, "no store at typo.db"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_users_mistake_gets_a_line_that_helps_and_no_traceback(typed, tmp_path, words, code, says):
    (tmp_path / "text.txt").write_text("hello\n")
    ended = typed(*words)
    assert ended.code == code
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert (tmp_path / "text.txt").read_text() == "hello\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_the_first_signal_ends_cleanly_the_second_at_once_and_the_third_as_without_lrsearch(name):
    program = (
        "import os, signal, sys, lrsearch.cli.main as m\n"
        f"number = signal.{name}\n"
        "def ignore(args):\n"
        "    for _ in range(3):\n"
        "        try:\n            os.kill(os.getpid(), number); signal.pause()\n"
        "        except KeyboardInterrupt: print('interrupted', flush=True)\n"
        "m.app = ignore\n"
        "m.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stdout == "interrupted\ninterrupted\n"
    assert ended.stderr == "lrsearch: stopping, and keeping what is done; Ctrl-C again ends at once\n"
    assert ended.returncode == -getattr(signal, name)


def test_help_loads_nothing_heavy():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, lrsearch.cli.main; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"torch", "ray", "optuna", "sqlalchemy", "pandas", "matplotlib", "plotly"} & set(loaded)


@pytest.mark.slow
@pytest.mark.data
def test_the_same_command_runs_on_real_mnist(lrsearch, data_dir):
    ended = lrsearch(
        "search", "mnist-lenet", "--data-dir", str(data_dir), "--horizon", "64", "--budget", "3.2", "--json"
    )
    assert ended.code == 0, ended.err
    assert ended.json["task"] == "mnist-lenet"
    assert ended.json["best"]["score"] > 0.3
    assert "INV(k0=0.01, gamma=0.0156" in ended.err


def test_a_function_reads_its_own_arguments_and_prints_beside_the_answer(typed, tmp_path):
    (tmp_path / "train.py").write_text(
        "import argparse\n"
        "import lrsearch as lrs\n"
        "@lrs.task('parabola', horizon=200, epoch=10, minimize='distance', lr_range=(1e-4, 10))\n"
        "def parabola(job):\n"
        "    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('--start', type=float, default=5.0)\n"
        "    at = parser.parse_args().start\n"
        "    for step in range(job.horizon):\n"
        "        at -= job.policy(step) * 2 * at\n"
        "    print('trained', at)\n"
        "    return min(abs(at), 1e6)\n"
    )
    ended = typed("search", "train.py:parabola", "--budget", "2", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["task"] == "parabola"
    assert "trained" in ended.err
