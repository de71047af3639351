"""A native Ray Tuner on a real cluster of two CPUs, and what it refuses before a cluster is started."""

import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, HyperBandScheduler, MedianStoppingRule, PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

import lrsearch as lrs
from lrsearch.api.ray import trainable, tuner
from lrsearch.training.function_places import module_of

tasks = module_of(Path(__file__).parent / "bowl.py")
bowl = tasks.bowl
SPACE = lrs.Space.standard("FIX", "TRI", horizon=200, epoch=10, peak=(1e-3, 0.9))
MOST_SECONDS = 300
"""A sweep that hangs ends then, and lacks results."""
GOOD, BAD = "FIX(k0=0.1)", "FIX(k0=0.001)"

pytestmark = [
    # Ray leaves pipes and log files to the garbage collector, and warns of its own deprecations.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*RAY_CHDIR_TO_TRIAL_DIR", "ignore::DeprecationWarning:tensorboardX"),
]


def on_a_cluster(test):
    """Marks a test that starts a cluster: it runs with the adapters' long tests."""
    for mark in (pytest.mark.ray, pytest.mark.slow, pytest.mark.adapters, pytest.mark.usefixtures("cluster")):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    yield
    ray.shutdown()


@pytest.fixture
def sweep(tmp_path):
    """Fits a tuner over `bowl`, or another task, without noise; checks that each of its trials has a result."""

    def fit(num_samples, task=bowl, space=SPACE, failures=0, **more):
        made = tuner(
            task,
            space,
            num_samples=num_samples,
            run_config=tune.RunConfig(name="sweep", storage_path=str(tmp_path), verbose=0),
            tune_config=replace(
                more.pop("tune_config", tune.TuneConfig()), reuse_actors=True, time_budget_s=MOST_SECONDS
            ),
            **more,
        )
        results = made.fit()
        assert len(results) == num_samples
        assert results.num_errors == failures
        assert results.num_terminated == num_samples - failures
        return results

    return fit


def one_after_the_other(*texts):
    """Trials of given policies, so that it is known which of them a scheduler compares."""
    return BasicVariantGenerator(points_to_evaluate=[{"policy": text} for text in texts], max_concurrent=1)


def distance(text, steps):
    """What `bowl` logs after so many updates under a policy, from its formula."""
    policy, at = lrs.parse(text), 5.0
    for step in range(steps):
        at *= 1 - 2 * policy(step)
    return abs(at - 0.01)


def assert_trained_under_its_policy(result):
    metrics = result.metrics
    assert metrics["distance"] == pytest.approx(distance(result.config["policy"], metrics["step"]))


@on_a_cluster
def test_every_evaluation_of_a_run_is_a_report(sweep):
    results = sweep(4)
    for result in results:
        rows = result.metrics_dataframe
        assert list(rows["step"]) == list(range(20, 201, 20))
        assert list(rows["training_iteration"]) == list(range(1, 11))
        text = result.config["policy"]
        assert list(rows["distance"]) == pytest.approx([distance(text, step) for step in rows["step"]])
        assert lrs.parse(text) in SPACE
    assert len({result.config["policy"] for result in results}) == 4
    best = results.get_best_result()
    assert best.metrics["distance"] == min(result.metrics["distance"] for result in results)
    assert lrs.train(bowl, best.config["policy"]).score == pytest.approx(best.metrics["distance"])


@on_a_cluster
def test_asha_stops_what_is_worse_at_its_first_rungs(sweep):
    scheduler = ASHAScheduler(time_attr="step", max_t=200, grace_period=20, reduction_factor=2)
    results = sweep(4, scheduler=scheduler, search_alg=one_after_the_other(GOOD, GOOD, BAD, BAD))
    assert [result.metrics["step"] for result in results] == [200, 200, 20, 20]
    assert [result.metrics["training_iteration"] for result in results] == [10, 10, 1, 1]
    for result in results:
        assert_trained_under_its_policy(result)


@on_a_cluster
def test_the_median_rule_stops_what_is_worse_than_most(sweep):
    scheduler = MedianStoppingRule(time_attr="training_iteration", grace_period=2, min_samples_required=2)
    results = sweep(4, scheduler=scheduler, search_alg=one_after_the_other(GOOD, GOOD, BAD, GOOD))
    assert [result.metrics["step"] for result in results] == [200, 200, 40, 200]


@on_a_cluster
def test_hyperband_pauses_trials_and_goes_on_from_their_checkpoints(sweep):
    results = sweep(6, scheduler=HyperBandScheduler(max_t=10, reduction_factor=3))
    steps = [result.metrics["step"] for result in results]
    assert max(steps) == 200
    assert min(steps) < 200
    for result in results:
        assert_trained_under_its_policy(result)
        assert list(result.metrics_dataframe["step"]) == list(range(20, result.metrics["step"] + 1, 20))
    assert any(result.metrics["iterations_since_restore"] < result.metrics["training_iteration"] for result in results)


@on_a_cluster
def test_pbt_hands_on_checkpoints_and_perturbs_policies_within_the_space(sweep, tmp_path):
    slow, fast = (str(SPACE.to_ray()["policy"].sample(size=2)[number]) for number in (0, 1))
    assert distance(slow, 200) > 1 > distance(fast, 200)
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=4,
        quantile_fraction=0.5,
        hyperparam_mutations=SPACE.to_ray(),
        synch=True,
    )
    results = sweep(2, scheduler=scheduler)
    exploits = [json.loads(line) for line in (tmp_path / "sweep" / "pbt_global.txt").read_text().splitlines()]
    pairs = [(before["policy"], after["policy"]) for *_, before, after in exploits]
    assert len(pairs) == 2
    assert all(before != after and lrs.parse(after) in SPACE for before, after in pairs)
    assert [result.metrics["step"] for result in results] == [200, 200]
    assert max(result.metrics["distance"] for result in results) < 0.1  # the slow one went on from the other


@on_a_cluster
def test_optuna_search_suggests_and_is_told_by_its_own_study(sweep):
    search = OptunaSearch(space=SPACE.define_by_run, metric="distance", mode="min", seed=1)
    results = sweep(4, search_alg=search, scheduler=ASHAScheduler(max_t=10))
    trials = search._ot_study.trials
    assert sorted(trial.user_attrs["lrsearch:policy"] for trial in trials) == sorted(
        result.config["policy"] for result in results
    )
    for result in results:
        assert {"function", "peak", "policy"} <= set(result.config)
        assert_trained_under_its_policy(result)


@on_a_cluster
def test_a_returned_metric_is_reported_and_a_divergence_is_the_worst(sweep):
    results = sweep(6, task=tasks.returns)
    gains = [result.metrics["gain"] for result in results]
    peaks = [max(lrs.parse(result.config["policy"]).curve(200)) for result in results]
    assert gains == pytest.approx([-math.inf if peak > 0.1 else peak for peak in peaks])
    assert {math.isfinite(gain) for gain in gains} == {True, False}
    assert results.get_best_result().metrics["gain"] == max(gains)


@on_a_cluster
def test_a_failed_training_is_an_error_with_its_own_traceback(sweep):
    results = sweep(1, task=tasks.breaks, failures=1)
    assert "bowl.py" in str(results.errors[0])
    assert "RuntimeError: the data set is gone" in str(results.errors[0])


@on_a_cluster
def test_a_trainable_of_ones_own_gets_policies_and_resources(sweep):
    def train(config):
        policy = lrs.parse(config["policy"])
        tune.report({"loss": policy(0), "cpus": tune.get_context().get_trial_resources().head_cpus})

    config = tune.TuneConfig(metric="loss", mode="min")
    results = sweep(2, task=train, tune_config=config, resources={"cpu": 2})
    assert [result.metrics["cpus"] for result in results] == [2, 2]
    assert all(result.metrics["loss"] == lrs.parse(result.config["policy"])(0) for result in results)


@on_a_cluster
def test_a_tuner_is_restored_by_the_functions_trainable(sweep, tmp_path):
    """Of a function that lives nowhere: it is sent as code."""

    @lrs.task("needs-data", horizon=200, epoch=10, minimize="loss")
    def needs_data(job):
        return job.policy(0) if (tmp_path / "data").exists() else 1 / 0

    failed = sweep(2, task=needs_data, failures=2)
    (tmp_path / "data").touch()
    results = tune.Tuner.restore(str(tmp_path / "sweep"), trainable(needs_data), restart_errored=True).fit()
    assert [result.metrics["loss"] for result in results] == [
        lrs.parse(result.config["policy"])(0) for result in results
    ]
    assert [result.config for result in results] == [result.config for result in failed]
    assert len(results) == 2


@on_a_cluster
def test_two_tuners_train_their_own_functions(tmp_path):
    made = [
        tuner(task, SPACE, num_samples=1, run_config=tune.RunConfig(name=name, storage_path=str(tmp_path), verbose=0))
        for name, task in (("a", bowl), ("b", tasks.returns))
    ]
    assert [{"distance", "gain"} & set(one.fit()[0].metrics) for one in made] == [{"distance"}, {"gain"}]


SCRIPT = """
import ray
import lrsearch as lrs
from lrsearch.api.ray import tuner
from ray import tune

open("starts.txt", "a").write("once\\n")

@lrs.task("in-a-script", horizon=100, minimize="loss")
def train(job):
    return job.policy(0)

ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=10**8)
results = tuner(train, num_samples=1, run_config=tune.RunConfig(storage_path={folder!r}, verbose=0)).fit()
assert [result.metrics["loss"] for result in results] == [lrs.parse(results[0].config["policy"])(0)]
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.adapters
def test_a_script_that_fits_a_tuner_at_its_top_is_run_once(tmp_path):
    """Without `if __name__ == "__main__"`, as scripts of Ray Tune are."""
    (tmp_path / "script.py").write_text(SCRIPT.format(folder=str(tmp_path / "tune")))
    program = [sys.executable, "-W", "ignore", "script.py"]
    ended = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "starts.txt").read_text() == "once\n"


def test_a_program_and_a_shipped_task_are_refused_with_the_way_out():
    program = lrs.program("python train.py", name="mine", horizon=100, minimize="loss")
    with pytest.raises(lrs.UsageError, match=r"'mine' is a program, which no Tuner can train: sweep it, lrs\.sweep"):
        tuner(program, num_samples=2)
    for task in ("digits-mlp", lrs.TASKS["digits-mlp"], None):
        with pytest.raises(lrs.UsageError, match=r"a Tuner trains a function under @lrs\.task"):
            tuner(task, num_samples=2)


def test_a_trainable_needs_a_space_and_a_space_is_one():
    with pytest.raises(lrs.UsageError, match=r"give it, as lrs\.ray\.tuner\(train, space\)"):
        tuner(lambda config: None, num_samples=2)
    with pytest.raises(lrs.UsageError, match=r"space is a Space, such as .*, got an object of type dict"):
        tuner(bowl, SPACE.to_ray(), num_samples=2)
    with pytest.raises(lrs.UsageError, match=r"horizon is 100 updates, and bowl trains 200: .*horizon=200"):
        tuner(bowl, lrs.Space.standard("FIX", horizon=100, epoch=10), num_samples=2)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "4", None])
def test_impossible_numbers_are_refused(number):
    with pytest.raises(lrs.UsageError, match="num_samples is a whole number of trials, 1 or more, got"):
        tuner(bowl, num_samples=number)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "4", None])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(lrs.UsageError, match="the seed is a whole number"):
        tuner(bowl, num_samples=2, seed=seed)
    with pytest.raises(lrs.UsageError, match="the seed is a whole number from 0 to"):
        trainable(bowl, seed=seed)


def test_another_metric_than_the_tasks_is_refused():
    right = "make it with metric='distance', mode='min'"
    searcher = OptunaSearch(space=SPACE.define_by_run, metric="loss", mode="min")
    with pytest.raises(lrs.UsageError, match=f"OptunaSearch has metric='loss', .* minimizes distance: {right}"):
        tuner(bowl, SPACE, num_samples=2, search_alg=searcher)
    with pytest.raises(lrs.UsageError, match=f"OptunaSearch has metric=None, mode=None, .*: {right}"):
        tuner(bowl, SPACE, num_samples=2, search_alg=OptunaSearch(space=SPACE.define_by_run))
    with pytest.raises(lrs.UsageError, match=f"tune_config has metric='distance', mode='max', .*: {right}"):
        tuner(bowl, SPACE, num_samples=2, tune_config=tune.TuneConfig(mode="max"))


def test_a_function_that_cannot_be_sent_is_refused():
    lock = threading.Lock()

    @lrs.task("locked", horizon=100, minimize="loss")
    def locked(job):
        return lock.locked()

    with pytest.raises(lrs.TaskError, match="its function cannot be sent to another process"):
        trainable(locked)


def test_a_function_without_a_description_is_no_task_of_ours():
    with pytest.raises(lrs.UsageError, match=r"takes a function with @lrs\.task"):
        trainable(lambda job: None)
