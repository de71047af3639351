"""The job: what a training function receives, and what it tells of the training."""

import math
import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lrsearch as lrs
from lrsearch.errors import PolicyError, UsageError
from lrsearch.runs import RunSpec, RunState, Stop, maximize, minimize
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.counter import charge_count
from lrsearch.runs.job import Job, JobStopped
from lrsearch.runs.series import Log

N = 40


def task(objective=None, **changes):
    given = {"name": "toy", "horizon": N, "epoch": 8, "objectives": (objective or minimize("val_loss"),)}
    return lrs.Task(**(given | changes))


def job(policy="FIX(k0=0.1)", objective=None, stop=None, horizon=N, **more):
    return Job(RunSpec(task(objective), lrs.parse(policy), horizon, 0, stop), **more)


def optimizer(*lrs_of_groups):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs_of_groups or (1.0,)]
    return torch.optim.SGD(groups, lr=1.0)


def update(*optimizers):
    for one in optimizers:
        one.zero_grad()
        for group in one.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        one.step()


def train(made, updates=N, score=1.0):
    """A plain loop over a job, and the run that it becomes."""
    one = optimizer()
    scheduler = made.scheduler(one)
    for step in range(1, 1 + updates):
        update(one)
        scheduler.step()
        made.log(step, train_loss=1 / step)
        if made.is_evaluation_due(step):
            made.log(step, val_loss=score)
        if made.should_stop:
            break
    return conclude(made, None, seconds=1.0)


def test_a_plain_loop_applies_the_policy_and_has_its_score():
    made = job("TRI(k0=0.1, k1=0.5, l=10)")
    one, used = optimizer(1.0, 0.25), []
    scheduler = made.scheduler(one)
    for step in range(1, 1 + made.horizon):
        used.append([group["lr"] for group in one.param_groups])
        update(one)
        scheduler.step()
        if made.is_evaluation_due():
            made.log(val_loss=2.0 / step)
    run = conclude(made, None, seconds=1.0)
    assert used == [[made.policy(t), 0.25 * made.policy(t)] for t in range(N)]
    assert (run.state, run.score, run.steps, run.applied) == (RunState.FINISHED, 2.0 / N, N, "yes")
    assert [point.step for point in run.points] == [8, 16, 24, 32, 40]


def test_ratios_count_over_all_optimizers_of_one_call_and_a_second_call_is_refused():
    made = job("FIX(k0=0.4)")
    first, second = optimizer(3e-4), optimizer(0.02, 0.01)
    scheduler = made.scheduler(first, second)
    assert scheduler.get_last_lr() == pytest.approx([0.4 * 0.015, 0.4, 0.2])
    update(first, second)
    scheduler.step()
    assert (made.step, scheduler.get_last_lr()) == (1, pytest.approx([0.4 * 0.015, 0.4, 0.2]))
    state = scheduler.state_dict()
    scheduler.load_state_dict(state)
    assert made.step == 1
    with pytest.raises(UsageError, match="called before"):
        made.scheduler(first)


@pytest.mark.parametrize(("given", "match"), [((), "one or more"), ({"last_step": N + 1}, "0 to 40")])
def test_a_scheduler_that_cannot_be_is_refused(given, match):
    with pytest.raises(UsageError, match=match):
        job().scheduler(*([optimizer()] if given else ()), **dict(given))


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_are_as_many_as_the_updates_take_pass_after_pass(size, accumulate):
    class Loader(list):
        passes = ()

        def set_epoch(self, number):
            self.passes = (*self.passes, number)

    loader = Loader(range(size))
    seen = list(job().batches(loader, accumulate=accumulate))
    assert seen == [n % size for n in range(N * accumulate)]
    assert loader.passes == tuple(range(math.ceil(N * accumulate / size)))


@pytest.mark.parametrize(("size", "done"), [(7, 10), (7, 14), (100, 39), (3, 40)])
def test_batches_after_a_resume_are_those_that_would_have_come(size, done):
    made = job()
    made.scheduler(optimizer(), last_step=done)
    assert list(made.batches(list(range(size)))) == [n % size for n in range(done, N)]


def test_a_loader_that_is_used_up_is_refused():
    with pytest.raises(UsageError, match="used up"):
        list(job().batches(iter([1, 2])))


def test_a_stop_ends_the_batches_and_the_run():
    made = job(stop=Stop(target=0.5))
    one, seen = optimizer(), 0
    scheduler = made.scheduler(one)
    for step, _ in enumerate(made.batches(range(5)), 1):
        seen += 1
        update(one)
        scheduler.step()
        if made.is_evaluation_due(step):
            made.log(step, val_loss=4.0 / step)
    run = conclude(made, None, seconds=1.0)
    assert (seen, run.state, run.score, run.steps) == (8, RunState.STOPPED, 0.5, 8)


@pytest.mark.parametrize(("horizon", "passes"), [(N, [8, 16, 24, 32, 40]), (20, [8, 16, 20]), (2, [2])])
def test_a_loop_over_epochs_ends_where_the_run_does(horizon, passes):
    made, used, ends = job("TRI(k0=0.1, k1=0.5, l=10)", horizon=horizon), [], []
    one, loader = optimizer(1.0, 0.25), made.loader(range(8))
    made.scheduler(one, auto_step=True)
    with pytest.raises(JobStopped, match=f"ended at step {horizon}"):
        for _ in range(6):
            losses = []
            for _ in loader:
                used.append([group["lr"] for group in one.param_groups])
                update(one)
                losses.append(1 / len(used))
            ends.append(made.step)
            made.log(train_loss=losses, val_loss=2.0)
    run = conclude(made, JobStopped("x"), seconds=1.0)
    assert used == [[made.policy(t), 0.25 * made.policy(t)] for t in range(horizon)]
    assert ends == passes
    assert (run.state, run.score, run.applied) == (RunState.FINISHED, 2.0, "yes")
    assert run.train_losses == tuple(1 / step for step in range(1, 1 + horizon))


def test_a_loader_of_a_run_is_the_loader_in_all_else():
    epochs = []

    class Loader(list):
        dataset = "digits"

        def set_epoch(self, number):
            epochs.append(number)

    made = job()
    loader = made.loader(Loader("ab"))
    assert (len(loader), loader.dataset, list(loader), list(loader)) == (2, "digits", ["a", "b"], ["a", "b"])
    assert epochs == [0, 1]
    with pytest.raises(AttributeError, match="batch_size"):
        _ = loader.batch_size


@pytest.mark.parametrize(("done", "epochs"), [(0, [0, 1, 2, 3, 4]), (10, [1, 2, 3, 4]), (25, [3, 4]), (39, [4])])
def test_a_resumed_run_goes_on_in_the_pass_of_its_step(done, epochs):
    passes = []

    class Loader(list):
        def set_epoch(self, number):
            passes.append(number)

    made, one = job(), optimizer()
    made.scheduler(one, last_step=done, auto_step=True)
    loader = made.loader(Loader(range(8)))  # an epoch of the task
    while not made.is_done:
        for _ in loader:
            update(one)
    assert passes == epochs


def test_an_epoch_without_a_batch_and_a_list_without_a_value_are_refused():
    made, one = job(), optimizer()
    made.scheduler(one, auto_step=True)
    loader = made.loader(iter(range(10)))
    for _ in loader:
        update(one)
    with pytest.raises(UsageError, match="used up after one pass"):
        list(loader)
    for name in ("val_loss", "train_loss"):
        with pytest.raises(UsageError, match=f"{name} is an empty list"):
            made.log(**{name: []})


def test_a_pass_is_cut_after_the_batches_of_an_update_also_where_it_diverged():
    made = job(horizon=16)
    one, seen = optimizer(), 0
    made.scheduler(one, auto_step=True)
    for seen, _ in enumerate(made.loader(range(100)), 1):
        if seen % 4 == 0:
            update(one)
    assert (seen, made.step) == (64, 16)
    made = job()
    for seen, _ in enumerate(made.loader(range(30)), 1):
        made.log(seen, train_loss=math.nan)
    assert (seen, made.is_done) == (25, True)


def test_a_program_that_is_stopped_ends_with_0():
    program = "from lrsearch import JobStopped; raise JobStopped('the run ended')"
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0


def test_a_list_is_one_value_for_each_of_the_last_updates():
    made = job()
    made.log(3, train_loss=[3.0, 2.0, 1.0])
    made.log(5, train_loss=[torch.tensor(0.5), 0.25])
    assert made.values.series["train_loss"] == [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.5), (5, 0.25)]
    with pytest.raises(UsageError, match="train_loss is a list of 3 values, of 2 updates since it was logged last"):
        made.log(7, train_loss=[1.0, 1.0, 1.0])


def test_a_scheduler_that_steps_by_itself_takes_no_other_step_and_one_optimizer():
    made = job()
    with pytest.raises(UsageError, match="auto_step follows the updates of one optimizer, got 2"):
        made.scheduler(optimizer(), optimizer(), auto_step=True)
    scheduler = made.scheduler(optimizer(), auto_step=True)
    with pytest.raises(PolicyError, match="steps by itself after each update"):
        scheduler.step()


def test_patience_counts_evaluations_that_were_no_better_in_the_metric_s_own_direction():
    for objective, sign in ((minimize("val_loss"), 1), (maximize("val_loss"), -1)):
        made = job(objective=objective, stop=Stop(patience=2))
        for step, value in ((8, 3.0), (16, 2.0), (24, 2.5), (32, 2.0)):
            assert not made.should_stop
            made.log(step, val_loss=sign * value)
        assert made.should_stop


def test_a_stop_that_nobody_hears_ends_the_training_two_evaluations_later():
    made = job(stop=Stop(target=10.0))
    made.log(8, val_loss=1.0)
    made.log(16, val_loss=1.0)
    with pytest.raises(JobStopped, match="was to stop at step 8"):
        made.log(24, val_loss=1.0)
    run = conclude(made, JobStopped("x"), seconds=1.0)
    assert (run.state, run.score) == (RunState.STOPPED, 1.0)


def test_a_range_test_has_no_evaluations_and_is_read_by_its_training_losses():
    made = job("RAMP(k0=0.001, k1=1, l=39)")
    run = train(made)
    assert not any(made.is_evaluation_due(step) for step in range(N + 1))
    assert (run.state, run.score, len(run.train_losses)) == (RunState.FINISHED, None, N)


def test_a_controller_learns_from_the_objective_s_cost():
    found = {}
    for objective, sign in ((minimize("val_loss"), 1), (maximize("val_loss"), -1)):
        made = job("PLATEAU(k0=0.1, gamma=0.5, patience=1)", objective)
        run = train(made, score=sign * 1.0)
        found[sign] = run.lrs
        assert (len(run.lrs), run.applied) == (N, "yes")
    assert found[1] == found[-1]
    assert found[1][-1] < 0.1


def test_a_killed_process_cannot_hide_its_steps(tmp_path):
    train(job(folder=tmp_path), updates=30)
    assert struct.unpack("<qqq", (tmp_path / "steps").read_bytes()) == (30, 0, 0)
    again = job(folder=tmp_path)
    assert again.resumed
    assert again.lost == 30
    again.scheduler(optimizer(), last_step=20)
    assert again.lost == 10  # what it goes on from was not lost


def test_a_scheduler_that_takes_up_a_state_says_from_where_the_training_goes_on(tmp_path):
    first = job(folder=tmp_path)
    train(first, updates=30)
    again = job(folder=tmp_path)
    scheduler = again.scheduler(optimizer())
    scheduler.load_state_dict({"policy": "FIX(k0=0.1)", "last_epoch": 20, "largest": 1.0})
    assert (again.step, again.trained, again.lost) == (20, 0, 10)
    assert len(list(again.batches([1, 2, 3]))) == 20


def test_charged_steps_are_not_charged_again(tmp_path):
    first = job(folder=tmp_path)
    train(first, updates=30)
    charge_count(tmp_path, 30)
    again = job(folder=tmp_path)
    assert again.lost == 0
    again.scheduler(optimizer(), last_step=20)
    assert again.lost == -20


def test_whoever_asked_hears_of_the_steps_and_can_interrupt():
    heard = []

    def listen(step):
        heard.append(step)
        if step >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(job(on_progress=listen))
    assert heard == [8, 16]


@pytest.mark.parametrize("value", ["two", None, (1, 2), True, torch.ones(3)])
def test_what_is_no_number_is_refused_by_its_name(value):
    made = job()
    made.log(1, odd=value)
    with pytest.raises(UsageError, match=r"odd is a number|log one number"):
        _ = made.values


@pytest.mark.parametrize("step", [-1, 1.5, "3", True])
def test_a_step_that_cannot_be_is_refused(step):
    with pytest.raises(UsageError, match="a step is"):
        job().log(step, a=1)


def test_a_tensor_on_the_cpu_is_what_it_was_when_it_was_logged():
    made, running = job(), torch.zeros(())
    made.log(1, mean=running)
    running += 1
    assert made.values.last("mean") == (1, 0.0)


class OnADevice:
    """What a job sees of a tensor that is read later: there is no GPU here."""

    is_cpu, _version, device, dtype = False, 0, "gpu", torch.float32

    def detach(self):
        return self

    def numel(self):
        return 1


def test_a_tensor_of_a_device_that_is_changed_after_it_was_logged_is_refused():
    made, running = job(), OnADevice()
    made.log(1, mean=running)
    running._version = 1
    with pytest.raises(UsageError, match="changed in place"):
        _ = made.values


def test_tensors_of_a_device_are_read_together_and_keep_no_graph():
    """On the meta device, which stands for one whose numbers are not at hand."""
    made, weight = job(), torch.ones(3, requires_grad=True, device="meta")
    for step in (1, 2):
        made.log(step, a=(2 * weight).sum())
    assert [type(value) for _, _, value, _ in made._values._pending] == [torch.Tensor] * 2
    assert not any(value.requires_grad for _, _, value, _ in made._values._pending)


def test_tensors_of_any_kind_are_read():
    made = job()
    weight = torch.ones(3, requires_grad=True)
    made.log(1, a=(2 * weight).sum(), b=torch.tensor([3], dtype=torch.int64), c=torch.tensor(0.5).bfloat16())
    assert {name: made.values.last(name) for name in "abc"} == {"a": (1, 6.0), "b": (1, 3.0), "c": (1, 0.5)}


@given(st.integers(1, 3000), st.integers(1, 50))
def test_means_have_no_empty_stride_however_rarely_a_loss_is_logged(steps, every):
    log = Log()
    for step in range(1, 1 + steps):
        if step % every == 0:
            log.add(step, "train_loss", float(step))
    log.read()
    stride, means = log.means("train_loss", steps)
    assert all(mean is not None for mean in means)
    assert len(means) <= 201
    assert (len(means) - 1) * stride <= steps
    assert list(means) == sorted(means)


def test_a_curve_is_thinned_and_keeps_its_last_point():
    log = Log()
    for step in range(1, 5001):
        log.add(step, "a", step)
    log.read()
    curve = log.curve("a")
    assert len(curve) <= 1001
    assert (curve[0], curve[-1]) == ((1, 1.0), (5000, 5000.0))
