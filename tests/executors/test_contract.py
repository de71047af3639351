"""What every executor keeps to, whoever trains: each run is told once, and nothing that finished is lost."""

import os
import signal
from collections import deque
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from lrsearch.errors import EngineError, UsageError
from lrsearch.executors.local import LocalExecutor
from lrsearch.executors.pool import Pool
from lrsearch.runs import RunSpec, RunState
from lrsearch.runs.executor import DONE, WAIT, Group
from lrsearch.schedules import FIX, HALFCOS, NSTEP
from lrsearch.tasks import find_task
from lrsearch.training.source import ClassificationSource

LONG = 200_000_000
IGNORED = [
    # Ray leaves pipes and log files to the garbage collector, and warns of its own deprecations.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"),
]
MLP = find_task("digits-mlp")


@contextmanager
def local(source):
    yield LocalExecutor(source.open())


@contextmanager
def pool(source):
    with Pool(source, 2) as opened:
        yield opened


EXECUTORS = {"local": (local, LocalExecutor, 1), "pool": (pool, Pool, 2)}


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory):
    """Opens the executor on a Ray cluster of this process."""
    import ray

    from lrsearch.executors.cluster.workers import RayExecutor

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    yield lambda source: RayExecutor(source, tmp_path_factory.mktemp("ray"), workers=2), RayExecutor, 2
    ray.shutdown()


RAY = pytest.param("ray", marks=[pytest.mark.adapters, pytest.mark.ray, *IGNORED])


@pytest.fixture(params=[*EXECUTORS, RAY])
def opened(request):
    """Opens an executor of a source, and sees that it is the one that is meant."""
    made, kind, slots = request.getfixturevalue("on_ray") if request.param == "ray" else EXECUTORS[request.param]

    @contextmanager
    def open_(source):
        with made(source) as executor:
            assert type(executor) is kind
            assert executor.slots == slots
            yield executor

    return open_


def spec(task, seed=0, k0=0.1, horizon=20):
    return RunSpec(task, FIX(k0=k0), horizon, seed)


class Plan:
    """Groups in an order: the next is given as soon as all runs before a `None` are told; it remembers what it heard.

    Args:
        groups: the groups, with None where all before must have ended.
    """

    def __init__(self, *groups):
        self.left, self.open, self.said, self.told = deque(groups), set(), [], []

    def ask(self):
        while self.left and self.left[0] is None and not self.open:
            self.left.popleft()
        answer = WAIT if self.left and self.left[0] is None else None
        if answer is None:
            answer = self.left.popleft() if self.left else WAIT if self.open else DONE
        if isinstance(answer, Group):
            self.open |= {spec.key for spec in answer.specs}
        self.said.append(answer)
        return answer

    def ended(self, spec, run):
        self.open.discard(spec.key)
        self.told.append((spec, run))

    def states(self):
        return {spec.seed: run.state for spec, run in self.told}


def alone(task, *seeds):
    return [Group((spec(task, seed),)) for seed in seeds]


def test_every_run_that_is_asked_for_is_told_once_and_in_its_group(opened, plain):
    pairs = [Group((spec(plain.TASK, seed), spec(plain.TASK, seed + 10))) for seed in range(4)]
    plan = Plan(*pairs)
    with opened(plain.PlainSource()) as executor:
        executor.train(plan.ask, plan.ended)
    asked = [one for group in pairs for one in group.specs]
    assert sorted(one.key for one, _ in plan.told) == sorted(one.key for one in asked)
    assert {run.state for _, run in plan.told} == {RunState.FINISHED}
    for group in pairs:
        places = [n for n, (one, _) in enumerate(plan.told) if one in group.specs]
        assert [plan.told[n][0] for n in places] == list(group.specs)


def test_what_comes_after_a_wait_is_asked_for_once_what_is_open_has_ended(opened, plain):
    plan = Plan(*alone(plain.TASK, 0, 1, 2), None, *alone(plain.TASK, 3), None, *alone(plain.TASK, 4, 5))
    with opened(plain.PlainSource()) as executor:
        executor.train(plan.ask, plan.ended)
    assert plan.said[-1] is DONE
    assert plan.said.count(DONE) == 1
    assert (WAIT in plan.said) is (executor.slots > 1)
    order = [one.seed for one, _ in plan.told]
    assert (set(order[:3]), order[3], set(order[4:])) == ({0, 1, 2}, 3, {4, 5})


def test_each_slot_trains_in_a_process_of_its_own_at_the_same_time(opened, plain, tmp_path):
    """The first of two runs ends once the other has begun."""
    with opened(plain.PlainSource()) as executor:
        plan = Plan(*alone(plain.TASK, *(plain.WAITS, plain.MEETS)[-executor.slots :]))
        executor.train(plan.ask, plan.ended, folder=tmp_path)
        usage = executor.usage
    pids = {file.read_text() for file in tmp_path.glob("*.pid")}
    assert len(pids) == len(plan.told) == executor.slots
    assert set(plan.states().values()) == {RunState.FINISHED}
    assert usage.slots == executor.slots
    assert 0 < usage.busy <= usage.seconds


def test_an_executor_can_be_asked_again_once_it_is_done(opened, plain):
    with opened(plain.PlainSource()) as executor:
        for seed in range(2):
            plan = Plan(*alone(plain.TASK, seed))
            executor.train(plan.ask, plan.ended)
            assert plan.states() == {seed: RunState.FINISHED}
        executor.train(lambda: DONE, plan.ended)


def test_to_wait_for_nothing_is_refused_and_not_waited_for(opened, plain):
    with opened(plain.PlainSource()) as executor, pytest.raises(EngineError, match="told to wait for runs that are"):
        executor.train(lambda: WAIT, lambda spec, run: None)


def test_a_failed_run_takes_no_other_along(opened, plain):
    group = Group(tuple(spec(plain.TASK, seed) for seed in (0, plain.FAILS, 1)))
    plan = Plan(group, *alone(plain.TASK, 2))
    with opened(plain.PlainSource()) as executor:
        executor.train(plan.ask, plan.ended)
    finished = dict.fromkeys((0, 1, 2), RunState.FINISHED)
    assert plan.states() == finished | {plain.FAILS: RunState.FAILED}
    assert next(run.error for one, run in plan.told if one.seed == plain.FAILS) == "RuntimeError: it broke"


def test_progress_is_told_of_runs_that_are_open(opened, plain):
    plan, seen = Plan(Group((spec(plain.TASK, 0, horizon=LONG), spec(plain.TASK, 1, horizon=LONG)))), []

    def progress(one, steps):
        seen.append((one, steps))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with opened(plain.PlainSource()) as executor, pytest.raises(KeyboardInterrupt):
        executor.train(plan.ask, plan.ended, progress=progress)
    assert [one.seed for one, _ in seen] == [0, 0, 0]
    steps = [steps for _, steps in seen]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("how", ["signal", "raised"])
def test_an_interrupt_while_runs_are_trained_tells_every_open_one_and_is_raised_once(opened, plain, how):
    plan = Plan(
        *alone(plain.TASK, 0),
        None,
        Group(tuple(spec(plain.TASK, seed, horizon=LONG) for seed in (1, 2))),
        *alone(plain.TASK, 3),
    )

    def interrupt(one, steps):
        if one.seed == 1:
            if how == "raised":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)

    with opened(plain.PlainSource()) as executor, pytest.raises(KeyboardInterrupt):
        executor.train(plan.ask, plan.ended, progress=interrupt)
    states = plan.states()
    third = states.pop(3, RunState.FINISHED)  # a pool's second worker may have begun it by then, or ended it
    assert third in (RunState.FINISHED, RunState.INTERRUPTED)
    assert states == {0: RunState.FINISHED, 1: RunState.INTERRUPTED, 2: RunState.INTERRUPTED}
    assert len(plan.told) == len(plan.states())


@pytest.mark.parametrize("task", ["plain", "digits-mlp in lockstep", "digits-mlp"])
def test_an_interrupt_while_a_run_is_being_told_loses_none_that_finished(opened, plain, task):
    source = plain.PlainSource() if task == "plain" else ClassificationSource(MLP)
    specs = tuple(spec(source.task, k0=k0) for k0 in (0.02, 0.05, 0.1, 0.2))
    plan, landed = Plan(Group(specs, task.endswith("lockstep")), None, Group((spec(source.task, k0=0.3),))), []

    def ended(one, run):
        if len(plan.told) == 1 and not landed:
            landed.append(one)
            raise KeyboardInterrupt
        plan.ended(one, run)

    with opened(source) as executor, pytest.raises(KeyboardInterrupt):
        executor.train(plan.ask, ended)
    finished = [one for one, run in plan.told if run.state is RunState.FINISHED]
    assert landed[0] in finished
    assert len({one.key for one, _ in plan.told}) == len(plan.told) == len(specs)
    assert plan.left


def test_what_cannot_be_trained_ends_it_with_what_finished_told(opened, plain):
    plan = Plan(*alone(plain.TASK, 0), None, *alone(plain.TASK, plain.EXITS), *alone(plain.TASK, 1))
    with opened(plain.PlainSource()) as executor, pytest.raises(BaseException, match="the user's script has left"):
        executor.train(plan.ask, plan.ended)
    assert plan.states()[0] is RunState.FINISHED
    assert plain.EXITS not in plan.states()


def test_an_error_while_a_run_is_told_ends_it(opened, plain):
    plan = Plan(*alone(plain.TASK, 0, 1, 2, 3, 4))

    def ended(one, run):
        plan.ended(one, run)
        raise UsageError("no more of this")

    with opened(plain.PlainSource()) as executor, pytest.raises(UsageError, match="no more of this"):
        executor.train(plan.ask, ended)
    assert plan.left


def test_a_full_run_leaves_its_files_in_the_folder_and_others_leave_none(opened, tmp_path):
    task = MLP.with_horizon(64)
    full, short = RunSpec(task, HALFCOS(k0=0.1, l=64), 64, 0), RunSpec(task, HALFCOS(k0=0.1, l=32), 32, 0)
    plan = Plan(Group((full,)), Group((short,)))
    with opened(ClassificationSource(task)) as executor:
        executor.train(plan.ask, plan.ended, folder=tmp_path)
        assert executor.lockstep.rows >= 4
        assert executor.lockstep.reason.startswith("a batch takes its model")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [f"{full.key}.pt"]
    assert {run.state for _, run in plan.told} == {RunState.FINISHED}


def test_executors_give_the_same_runs_to_the_bit():
    """In lockstep, from a shared beginning, and alone; one of them diverges."""
    rows = Group(tuple(spec(MLP, k0=k0, horizon=40) for k0 in (0.01, 0.1, 1e6, 0.3)), in_lockstep=True)
    drops = Group(tuple(RunSpec(MLP, NSTEP(k0=0.3, gamma=gamma, l=[20]), 40, 0) for gamma in (0.1, 0.5)))
    single = Group((RunSpec(MLP, HALFCOS(k0=0.1, l=60), 60, 1),))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {}
        for name, (made, _, _) in EXECUTORS.items():
            plan = Plan(rows, drops, single)
            with made(ClassificationSource(MLP)) as executor:
                executor.train(plan.ask, plan.ended)
            found[name] = {one.key: replace(run, seconds=0.0) for one, run in plan.told}
    finally:
        torch.set_num_threads(threads)
    assert found["local"] == found["pool"]
    assert len(found["local"]) == 7
    states = [run.state for run in found["local"].values()]
    assert states.count(RunState.DIVERGED) == 1
