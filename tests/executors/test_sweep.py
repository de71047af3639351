"""A sweep on a real Ray cluster of two CPUs: the same study as a search, and what it survives."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
import ray
import torch

import lrsearch as lrs
import lrsearch.api
from lrsearch.runs import RunState
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks import SGD, find_task

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray leaves pipes and log files to the garbage collector, and warns of its own deprecations.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"),
]
BUDGET = 3
TASK = find_task("digits-mlp").with_horizon(400)


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def swept(cluster, tmp_path_factory):
    """A finished sweep: its folder, its result, and what was printed."""
    out = tmp_path_factory.mktemp("swept")
    with redirect_stdout(io.StringIO()) as printed:
        result = lrs.sweep(TASK, BUDGET, store=f"sqlite:///{out}/ledger.db", out=out)
    return out, result, printed.getvalue()


def test_a_sweep_finds_a_policy_within_its_budget(swept):
    out, result, printed = swept
    assert result.best.score > 0.9
    assert result.cost <= BUDGET
    roles = {trial.role for trial in result.history}
    assert {"range-test", "default", "candidate"} <= roles
    assert printed == ""
    with lrs.open_store(f"sqlite:///{out}/ledger.db") as store:
        runs = store.runs()
    assert {run.key for run in runs} == {trial.stored.key for trial in result.history}
    assert len(runs) == result.spent.trained_runs
    assert all(run.run.state.is_final for run in runs)


def test_the_weights_of_full_runs_are_kept(swept):
    out, result, _ = swept
    full = {t.stored.key for t in result.history if t.horizon == TASK.horizon and t.run.state is RunState.FINISHED}
    assert {file.stem for file in (out / "weights").iterdir()} - {".lock"} == full


def test_the_same_sweep_again_trains_nothing(swept):
    out, result, _ = swept
    again = lrs.sweep(TASK, BUDGET, store=f"sqlite:///{out}/ledger.db", out=out)
    assert again.spent.trained_runs == 0
    assert again.best == result.best


def test_a_search_answers_from_the_ledger_of_the_sweep(swept, tmp_path):
    out, result, _ = swept
    searched = lrs.search(TASK, BUDGET, store=f"sqlite:///{out}/ledger.db", out=tmp_path)
    assert searched.spent.trained_runs == 0
    assert searched.key == result.key
    assert searched.best == result.best


def test_its_runs_are_those_of_a_search_in_this_process_to_the_bit(swept, tmp_path):
    """Asked for by the same study: a run that is alone, on another process, and in company here."""
    out, _, _ = swept
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        lrs.search(TASK, BUDGET, store=f"sqlite:///{tmp_path}/ledger.db", out=tmp_path)
    finally:
        torch.set_num_threads(threads)
    runs = []
    for folder in (out, tmp_path):
        with lrs.open_store(f"sqlite:///{folder}/ledger.db") as store:
            runs.append({stored.key: replace(stored.run, seconds=0.0, shared=0) for stored in store.runs()})
    assert runs[0] == runs[1]


def test_no_file_of_ray_knows_the_store(swept):
    out, _, _ = swept
    files = [file for file in (out / "ray").rglob("*") if file.is_file()]
    assert {"tuner.pkl", "result.json"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        assert b"ledger.db" not in content, file
        assert b"optuna.db" not in content, file


@pytest.mark.adapters
def test_a_killed_worker_does_not_lose_the_sweep(cluster, tmp_path):
    marker, driver, build = tmp_path / "killed", os.getpid(), TASK.build

    def build_or_die():
        if os.getpid() != driver and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return build()

    result = lrs.sweep(replace(TASK, build=build_or_die), 2, store=f"sqlite:///{tmp_path}/ledger.db", out=tmp_path)
    assert marker.exists()
    assert result.cost <= 2
    assert [trial.run.state for trial in result.history if trial.run.state is RunState.FAILED] == []


@pytest.mark.adapters
def test_an_exception_in_a_candidate_is_a_failed_run_and_not_the_end(cluster, tmp_path):
    lr = 0.012345

    class Brittle(SGD):
        def build(self, model, epoch=1.0):
            class Breaks(torch.optim.SGD):
                def step(self, closure=None):
                    if self.param_groups[0]["lr"] == lr:
                        raise RuntimeError("the candidate broke")
                    return super().step(closure)

            return Breaks(model.parameters(), lr=1.0, momentum=0.9)

    known = lrs.parse(f"NSTEP(k0={lr}, gamma=0.5, l=[200, 300])")
    task = replace(TASK, optimizer=Brittle(), known=(known,))
    result = lrs.sweep(task, BUDGET, store=f"sqlite:///{tmp_path}/ledger.db", out=tmp_path)
    failed = [trial for trial in result.history if trial.run.state is RunState.FAILED]
    assert [(trial.role, trial.policy) for trial in failed] == [("candidate", known)]
    assert failed[0].run.error == "RuntimeError: the candidate broke"
    later = [t for t in result.history if t.role == "candidate" and t.horizon == TASK.horizon]
    assert [trial.run.state for trial in later] == [RunState.FINISHED]


@pytest.mark.adapters
def test_an_interrupted_sweep_keeps_what_ended_and_goes_on(cluster, tmp_path):
    arguments = {"store": f"sqlite:///{tmp_path}/ledger.db", "out": tmp_path}
    seen = []

    def interrupt(study, trial):
        seen.append(trial.stored.key)
        if trial.role == "default":
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        lrs.sweep(TASK, 2, watch=interrupt, **arguments)
    with lrs.open_store(arguments["store"]) as store:
        kept = {run.key for run in store.runs() if run.run.state.is_final}
    assert len(kept) >= 3
    assert kept <= set(seen)
    result = lrs.sweep(TASK, 2, **arguments)
    assert signal.getsignal(signal.SIGINT) is handler
    assert {trial.stored.key for trial in result.history if trial.reused} == kept
    assert result.cost <= 2


def failing_sweep(tmp_path, address, **environment):
    """The last line of a script that sweeps on a cluster that it cannot join."""
    script = f"import lrsearch as lrs; lrs.sweep('digits-mlp', 2, address={address!r}, store='sqlite:///:memory:')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.adapters
def test_a_cluster_that_is_not_there_is_named_with_what_would_do(tmp_path):
    last = failing_sweep(tmp_path, "127.0.0.1:1")
    assert "EngineError: no Ray cluster can be joined at 127.0.0.1:1: ConnectionRefusedError" in last
    assert "RAY_AUTH_TOKEN" in last
    assert "--address local" in last


@pytest.mark.adapters
def test_a_cluster_that_wants_another_token_says_so_first(cluster, tmp_path):
    address = ray.get_runtime_context().gcs_address
    last = failing_sweep(tmp_path, address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 32)
    assert f"EngineError: the Ray cluster at {address} answers, but wants its token: set RAY_AUTH_MODE=token" in last


def test_a_ray_client_is_refused(tmp_path):
    with pytest.raises(lrs.EngineError, match="--address auto"):
        lrs.sweep(TASK, 2, address="ray://127.0.0.1:10001", store="sqlite:///:memory:", out=tmp_path)


def test_all_runs_are_in_rays_files(swept):
    out, result, _ = swept
    lines = [json.loads(line) for file in out.glob("ray/*/0*/result.json") for line in file.read_text().splitlines()]
    runs = [run for line in lines for run in line["runs"]]
    assert len(runs) == result.spent.trained_runs
    assert {run["policy"] for run in runs} == {str(trial.spec(TASK).policy) for trial in result.history}
    assert len({line["pid"] for line in lines}) == len({line["trial_id"] for line in lines}) <= 2


FUNCTION = """
import os
from pathlib import Path
import lrsearch as lrs
import lrsearch.api

@lrs.task("line", horizon=64, epoch=16, minimize="loss", optimizer="sgd", settings={"where": ""})
def line(job):
    import torch
    weight = torch.nn.Parameter(torch.tensor(5.0))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = job.scheduler(optimizer)
    for step in range(job.horizon):
        optimizer.zero_grad()
        loss = weight.square()
        loss.backward()
        optimizer.step()
        scheduler.step()
        job.log(train_loss=loss)
    Path(job.settings["where"], f"{os.getpid()}").touch()
    return float(weight.square())
"""
PROGRAM = """
import lrsearch as lrs
import lrsearch.api
job = lrs.job()
value = 5.0
for step in range(job.horizon):
    value -= min(job.policy(step), 0.4) * value
    job.log(step + 1, loss=value)
"""


def test_a_function_of_a_file_is_swept(cluster, tmp_path):
    (tmp_path / "training.py").write_text(FUNCTION)
    (tmp_path / "pids").mkdir()
    from lrsearch.training.function_places import load_function

    checks = []
    result = lrs.sweep(
        load_function(f"{tmp_path}/training.py:line"),
        3,
        settings={"where": str(tmp_path / "pids")},
        store=f"sqlite:///{tmp_path}/ledger.db",
        out=tmp_path / "out",
        checked=checks.extend,
    )
    assert result.best.score < 1
    assert str(os.getpid()) not in {file.name for file in (tmp_path / "pids").iterdir()}
    assert [check.name for check in checks] == ["cluster", "resources", "versions", "folder"]
    assert all(check.is_right for check in checks)


@pytest.mark.adapters
def test_a_program_is_swept_from_the_folder_of_the_call(cluster, tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    source = lrs.program([sys.executable, "train.py"], "own", horizon=64, epoch=16, minimize="loss")
    result = lrs.sweep(source, 2, store=f"sqlite:///{tmp_path}/ledger.db", out="out")
    assert result.cost <= 2
    assert result.best.score < 5


RANKS = """
import os
import torch
import torch.distributed as dist
import lrsearch as lrs
import lrsearch.api

dist.init_process_group("gloo")
job = lrs.job()
value = torch.tensor(5.0)
for step in range(job.horizon):
    gradient = value / dist.get_world_size()
    dist.all_reduce(gradient)
    value -= min(job.policy(step), 0.4) * gradient
    if job.is_evaluation_due(step + 1):
        job.log(step + 1, loss=float(value))
    if job.should_stop:
        break
assert dist.get_world_size() == 2
dist.destroy_process_group()
"""


@pytest.mark.adapters
def test_a_program_of_two_ranks_has_a_worker_with_two_cpus(cluster, tmp_path, monkeypatch):
    (tmp_path / "ranks.py").write_text(RANKS)
    monkeypatch.chdir(tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ranks.py"]
    source = lrs.program(torchrun, "ranks", horizon=16, epoch=8, minimize="loss", known=["FIX(k0=0.1)"])
    checks = []
    result = lrs.sweep(
        source, 2, cpus_per_run=2, store=f"sqlite:///{tmp_path}/ledger.db", out="out", checked=checks.extend
    )
    assert "a run needs 2 CPUs and 0 GPUs: 1 node has them" in [check.text for check in checks]
    assert result.best.score < 5
    assert {trial.run.state for trial in result.history} <= {RunState.FINISHED, RunState.DIVERGED}


@pytest.mark.adapters
def test_what_the_cluster_cannot_train_is_refused_before_anything_trains(cluster, tmp_path):
    with pytest.raises(lrs.EngineError, match=r"resources: a run needs 1 CPU and 2 GPUs, and no node has them"):
        lrs.sweep(TASK, 2, gpus_per_run=2, store=f"sqlite:///{tmp_path}/ledger.db", out=tmp_path)
    with pytest.raises(lrs.EngineError, match=r"files: .*nowhere is not on 127|files: .*nowhere is not on"):
        lrs.sweep(TASK, 2, data_dir=tmp_path / "nowhere", store=f"sqlite:///{tmp_path}/ledger.db", out=tmp_path)


@pytest.mark.adapters
def test_a_table_of_policies_is_trained_on_a_cluster(cluster, tmp_path):
    rows = tuple(Row(lrs.parse(text), "", {}) for text in ("FIX(k0=0.1)", "FIX(k0=0.05)"))
    table = PolicyTable("two", TASK.with_horizon(64), rows, 2, "", 64, None)
    results = lrs.api.run_table(
        table, address="auto", workers=None, store=f"sqlite:///{tmp_path}/ledger.db", out=tmp_path
    )
    assert not results.missing
    assert len(list(tmp_path.glob("ray/*/0*/result.json"))) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"workers": 0}, "workers must be a whole number, 1 or more, got 0"),
        ({"cpus_per_run": 0}, "cpus_per_run is above 0"),
        ({"cpus_per_run": 1.5}, "a part of a CPU, such as 0.25, or a whole number of CPUs, got 1.5"),
        ({"gpus_per_run": -1}, "a part of a GPU"),
        ({"gpus_per_run": "all"}, "a part of a GPU"),
        ({"address": ""}, "address is local, auto or host:port, got ''"),
    ],
)
def test_impossible_resources_are_refused(tmp_path, wrong, why):
    with pytest.raises(lrs.UsageError, match=why):
        lrs.sweep(TASK, 2, store="sqlite:///:memory:", out=tmp_path, **wrong)
