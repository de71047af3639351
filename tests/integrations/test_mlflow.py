"""MLflow: what is logged is read back from a real tracking store, a file of SQLite."""

import math

import mlflow
import pytest
import torch
from mlflow.entities import Metric

import lrsearch as lrs
from lrsearch import Task, minimize, parse
from lrsearch.errors import PolicyError, UsageError
from lrsearch.integrations.mlflow import log_job, log_policy, log_result
from lrsearch.runs.job import Job
from lrsearch.runs.run import RunSpec

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
TRI = parse("TRI(k0=0.001, k1=0.1, l=7)")


@pytest.fixture(scope="module", autouse=True)
def tracking(tmp_path_factory):
    """The user's own tracking URI."""
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(autouse=True)
def experiment(request):
    """An experiment of each test's own; whatever fails, no run stays active."""
    experiment = mlflow.set_experiment(request.node.name)
    yield experiment.experiment_id
    while mlflow.active_run():
        mlflow.end_run()


def curve_of(run_id: str, name: str) -> list[tuple[int, float]]:
    history: list[Metric] = mlflow.MlflowClient().get_metric_history(run_id, name)
    return sorted((metric.step, metric.value) for metric in history)


def runs() -> list[mlflow.entities.Run]:
    return mlflow.search_runs(output_format="list")


def job_of(policy=TRI, horizon: int = 40, folder=None) -> Job:
    task = Task(name="toy", horizon=40, epoch=8, objectives=(minimize("loss"),))
    return Job(RunSpec(task, policy, horizon, seed=0), folder=folder)


def train(job: Job, until: int | None = None, state: dict | None = None) -> list[float]:
    """Train up to an update, from a scheduler's state on where one is given; the LR of each update."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler, used = job.scheduler(optimizer), []
    if state is not None:
        scheduler.load_state_dict(state)
    optimizer.register_step_pre_hook(lambda *_: used.append(optimizer.param_groups[0]["lr"]))
    for step in range(1 + job.step, 1 + (until or job.horizon)):
        loss = weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        job.log(train_loss=loss)
        if job.is_evaluation_due(step):
            job.log(loss=loss)
    job.state = scheduler.state_dict()
    return used


@pytest.mark.parametrize("horizon", [1, 40, 1000])
def test_the_lrs_of_a_policy_are_those_of_its_updates(horizon) -> None:
    with mlflow.start_run() as active:
        mlflow.log_metric("loss", 1.0, step=1)
        log_policy(str(TRI), horizon)
        log_policy(TRI, horizon)
    run = mlflow.get_run(active.info.run_id)
    assert {(step, lr) for step, lr in curve_of(active.info.run_id, "lr")} == {(t + 1, TRI(t)) for t in range(horizon)}
    assert run.data.params == {"policy": str(TRI), "horizon": str(horizon)}
    assert run.data.metrics["loss"] == 1.0


@pytest.mark.parametrize("horizon", [1001, 70_000, 70_001])
def test_a_long_curve_is_thinned_and_ends_at_its_last_update(horizon) -> None:
    with mlflow.start_run() as active:
        log_policy(TRI, horizon)
    curve = curve_of(active.info.run_id, "lr")
    assert 500 < len(curve) <= 1000
    assert (curve[0][0], curve[-1][0]) == (1, horizon)
    assert all(lr == TRI(step - 1) for step, lr in curve)


def test_every_update_is_logged_where_it_is_asked_for() -> None:
    with mlflow.start_run() as active:
        log_policy(TRI, 2500, every=1)
    assert curve_of(active.info.run_id, "lr") == [(t + 1, TRI(t)) for t in range(2500)]


def test_the_longest_policy_fits_into_a_param() -> None:
    milestones = ", ".join(str(100_000_000_000 + n) for n in range(64))
    long = parse(f"CHAIN(policies=[NSTEP(k0=0.1, gamma=0.5, l=[{milestones}]), FIX(k0=0.1)], at=[200000000000])")
    with mlflow.start_run() as active:
        log_policy(long, 3)
    assert mlflow.get_run(active.info.run_id).data.params["policy"] == str(long)


def test_a_controller_has_its_text_and_no_curve() -> None:
    log_policy("PLATEAU(k0=0.1, gamma=0.1, patience=0)", 40)
    active = mlflow.active_run()
    assert active is not None  # as mlflow.log_param does, it starts a run where there is none
    run = mlflow.get_run(active.info.run_id)
    assert run.data.params["policy"].startswith("PLATEAU") and "lr" not in run.data.metrics


def test_what_is_no_policy_is_refused_before_a_run_is_started() -> None:
    for bad in (None, 0.1, torch.nn.Linear):
        with pytest.raises(PolicyError, match="come from a policy, its text or a job, got"):
            log_policy(bad, 40)
    for bad in (0, 2.5, True, None, "40"):
        with pytest.raises(UsageError, match="horizon is a whole number of updates, 1 or more, got"):
            log_policy(TRI, bad)
    with pytest.raises(UsageError, match=r"with log_job\(job\)"):
        log_policy(job_of(), 40)
    with pytest.raises(UsageError, match="takes the job that the training function was given, got"), log_job(TRI):
        pass
    with pytest.raises(UsageError, match=r"takes what lrs\.search returned, got"):
        log_result(job_of())
    assert mlflow.active_run() is None
    assert runs() == []


def test_a_job_has_a_run_with_all_that_it_logged() -> None:
    job = job_of()
    with log_job(job) as active:
        used = train(job)
        mlflow.log_metric("gradient", 3.0, step=1)
    run = mlflow.get_run(active.info.run_id)
    assert curve_of(active.info.run_id, "lr") == list(enumerate(used, 1)) == [(t + 1, TRI(t)) for t in range(40)]
    assert curve_of(active.info.run_id, "train_loss") == job.values.series["train_loss"]
    assert curve_of(active.info.run_id, "loss") == job.values.series["loss"] != []
    assert run.data.metrics["gradient"] == 3.0
    assert run.data.params == {"task": "toy", "policy": str(TRI), "function": "TRI", "horizon": "40", "seed": "0"}
    assert (run.data.tags["lrsearch.run"], run.data.tags["lrsearch.state"]) == (job.key, "finished")
    assert run.info.status == "FINISHED"


def test_the_lrs_of_a_controller_are_those_that_it_took() -> None:
    job = job_of(parse("PLATEAU(k0=0.1, gamma=0.1, patience=0)"))
    with log_job(job) as active:
        used = train(job)
    assert curve_of(active.info.run_id, "lr") == list(enumerate(used, 1))


def test_a_job_that_fails_or_diverges_says_so() -> None:
    with pytest.raises(ZeroDivisionError), log_job(job := job_of()) as failed:
        train(job, until=3)
        raise ZeroDivisionError
    with log_job(job := job_of()) as diverged:
        train(job, until=3)
        job.log(train_loss=math.inf, **{"odd@name": 1.0})
        job.log(loss=math.nan)
    assert [run.info.status for run in runs()] == ["FAILED", "FAILED"]
    assert [run.data.tags["lrsearch.state"] for run in runs()] == ["diverged", "failed"]
    assert len(curve_of(failed.info.run_id, "lr")) == len(curve_of(failed.info.run_id, "train_loss")) == 3
    assert math.isnan(curve_of(diverged.info.run_id, "train_loss")[-1][1])
    assert math.isnan(curve_of(diverged.info.run_id, "loss")[-1][1])
    assert curve_of(diverged.info.run_id, "odd_name") == [(3, 1.0)]


@pytest.mark.parametrize("policy", [TRI, parse("PLATEAU(k0=0.1, gamma=0.1, patience=0)")], ids=["policy", "controller"])
def test_a_job_that_is_resumed_goes_on_in_its_run_with_one_lr_for_each_update(tmp_path, policy) -> None:
    with pytest.raises(KeyboardInterrupt), log_job(job := job_of(policy, folder=tmp_path)) as first:
        used = train(job, until=12)
        raise KeyboardInterrupt
    (run,) = runs()
    assert (run.info.status, run.data.tags["lrsearch.state"]) == ("KILLED", "interrupted")
    again = job_of(policy, folder=tmp_path)
    assert again.resumed
    with log_job(again) as second:
        used += train(again, state=job.state)
    assert second.info.run_id == first.info.run_id
    assert len(runs()) == 1 and runs()[0].info.status == "FINISHED"
    assert curve_of(first.info.run_id, "lr") == list(enumerate(used, 1))


def test_a_loop_over_epochs_that_its_job_ends_has_finished() -> None:
    job, weight = job_of(), torch.nn.Parameter(torch.ones(1))
    with pytest.raises(lrs.JobStopped), log_job(job):
        optimizer = torch.optim.SGD([weight], lr=1.0)
        job.scheduler(optimizer, auto_step=True)
        loader = job.loader(range(8))
        for _ in range(9):
            for _ in loader:
                weight.square().sum().backward()
                optimizer.step()
            job.log(loss=1.0)
    (run,) = runs()
    assert (job.step, run.info.status, run.data.tags["lrsearch.state"]) == (40, "FINISHED", "finished")


@lrs.task("bowl", horizon=320, epoch=16, minimize="distance", lr_range=(1e-3, 10))
def bowl(job: Job) -> float:
    """A bowl, which diverges where the LR is large."""
    at = 3.0
    for step in range(1, 1 + job.horizon):
        at -= min(job.policy(step - 1), 1e3) * at
        if abs(at) > 1e6:
            return math.nan
        job.log(step, train_loss=at * at)
    return abs(at - 0.01)


@lrs.task("bowl", horizon=320, epoch=16, minimize="distance", lr_range=(1e-3, 10))
def logged_bowl(job: Job) -> float:
    with log_job(job):
        return bowl(job)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return lrs.search(bowl, budget=4, out=tmp_path_factory.mktemp("search"))


def test_a_search_is_a_run_with_a_child_for_each_of_its_runs(result) -> None:
    parent = mlflow.get_run(log_result(result))
    children = {run.data.tags["lrsearch.run"]: run for run in runs() if run.info.run_id != parent.info.run_id}
    stored = {trial.stored.key: trial for trial in result.history}
    assert children.keys() == stored.keys()
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert parent.data.tags["verdict"] == result.verdict in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["best_policy"] == str(result.best.policy)
    assert parent.data.metrics["fre"] == result.cost
    assert parent.data.metrics["best_score"] == result.best.score
    for key, run in children.items():
        trial, policy = stored[key], stored[key].stored.policy
        assert run.data.params["policy"] == str(policy)
        assert run.data.params["role"] == trial.role
        assert run.data.tags["lrsearch.state"] == trial.run.state
        assert run.data.metrics.get("distance") == trial.run.score
        assert all(lr == policy(step - 1) for step, lr in curve_of(run.info.run_id, "lr"))
        assert len(curve_of(run.info.run_id, "lr")) == trial.run.steps
    assert {run.info.status for run in children.values()} == {"FINISHED", "FAILED"}


def test_a_search_that_is_logged_twice_is_there_once(result) -> None:
    first = log_result(result)
    before = {run.info.run_id: run for run in runs()}
    assert log_result(result) == first
    after = {run.info.run_id: run for run in runs()}
    assert before.keys() == after.keys()
    for run_id, run in before.items():
        assert run.data.metrics == after[run_id].data.metrics
        assert all(len(curve_of(run_id, name)) == len(set(curve_of(run_id, name))) for name in run.data.metrics)
        assert run.data.tags == after[run_id].data.tags


def test_the_users_own_run_is_the_parent_of_jobs_and_result(tmp_path) -> None:
    with mlflow.start_run(run_name="mine") as mine:
        result = lrs.search(logged_bowl, budget=4, out=tmp_path)
        made = {run.info.run_id for run in runs()}
        assert log_result(result) == mine.info.run_id
    assert {run.info.run_id for run in runs()} == made  # the jobs made all of them
    children = [run for run in runs() if run.info.run_id != mine.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {mine.info.run_id}
    assert len(children) == len({trial.stored.key for trial in result.history})
    assert all("role" in run.data.params for run in children)
    assert {run.data.metrics["distance"] for run in children if "distance" in run.data.metrics} == {
        trial.run.score for trial in result.history if trial.run.score is not None
    }
