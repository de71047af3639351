"""A scheduler in a loop with Accelerate counts the updates that are made, and its optimizer has the policy's LR."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import lrsearch as lrs
from lrsearch.errors import PolicyError, SchedulerWarning, UsageError
from lrsearch.runs.job import Job
from lrsearch.runs.run import RunSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the library imports
    from accelerate import Accelerator, DistributedType
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration

    from lrsearch.integrations.accelerate import prepare_scheduler

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
COSINE = lrs.parse("WARMUP(policy=HALFCOS(k0=0.05, l=14), l=4)")
RANKS = Path(__file__).parent / "accelerate_ranks.py"


@pytest.fixture(autouse=True)
def _fresh_state():
    """Accelerate keeps its state in the class: each test has its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Loop:
    """A loop with Accelerate over 18 batches, which records the LR of each update."""

    def __init__(self, source, spoiled=(), lrs_at_first=(1.0,), optimizers=1, adopt=False, **options):
        self.accelerator = Accelerator(cpu=True, **options)
        torch.manual_seed(0)
        self.model = torch.nn.ModuleList(torch.nn.Linear(4, 1) for _ in lrs_at_first)
        groups = [{"params": part.parameters(), "lr": lr} for part, lr in zip(self.model, lrs_at_first, strict=True)]
        each = [[group] for group in groups] if optimizers > 1 else [groups]
        loader = torch.utils.data.DataLoader(torch.randn(18, 4), batch_size=1)
        made = [torch.optim.SGD(one, lr=1.0, momentum=0.5) for one in each]
        self.model, self.loader, *self.optimizers = self.accelerator.prepare(self.model, loader, *made)
        self.scheduler = prepare_scheduler(self.accelerator, source, *self.optimizers, adopt=adopt)
        self.spoiled, self.lrs = spoiled, []
        if spoiled:
            for one in self.optimizers:
                self.accelerator.scaler = one.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
                one.__setstate__({})
        self.optimizers[0].optimizer.register_step_pre_hook(lambda *_: self.lrs.append(self.present))

    @property
    def present(self):
        return [group["lr"] for one in self.optimizers for group in one.param_groups]

    def train(self, batches=18, start=0):
        for number, batch in enumerate(self.loader):
            if not start <= number < batches:
                continue
            with self.accelerator.accumulate(self.model):
                loss = sum(part(batch).square().mean() for part in self.model)
                self.accelerator.backward(loss)
                if number in self.spoiled:
                    self.model[0].weight.grad.fill_(torch.inf)
                for optimizer in self.optimizers:
                    optimizer.step()
                self.scheduler.step()
                for optimizer in self.optimizers:
                    optimizer.zero_grad()
        return self


def job_of(policy=COSINE):
    task = lrs.Task(name="line", horizon=18, epoch=6, objectives=(lrs.minimize("val_loss"),))
    return Job(RunSpec(task, policy, 18, 0))


@pytest.mark.parametrize("split_batches", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3, 4])
def test_each_update_has_the_lr_of_the_policy(accumulate, split_batches) -> None:
    loop = Loop(
        str(COSINE),
        gradient_accumulation_steps=accumulate,
        dataloader_config=DataLoaderConfiguration(split_batches=split_batches),
    ).train()
    updates = -(-18 // accumulate)  # the end of the loader ends an update, too
    assert loop.lrs == [[COSINE(t)] for t in range(updates)]
    assert loop.scheduler.last_epoch == updates
    assert loop.scheduler.get_last_lr() == [COSINE(updates)]


def test_bfloat16_and_ratios() -> None:
    loop = Loop(COSINE, lrs_at_first=(0.5, 0.125), mixed_precision="bf16").train()
    assert loop.lrs == [[COSINE(t), 0.25 * COSINE(t)] for t in range(18)]


@pytest.mark.parametrize("source", ["policy", "job"])
def test_several_optimizers_keep_their_ratios(source) -> None:
    job = job_of()
    loop = Loop(job if source == "job" else COSINE, lrs_at_first=(0.5, 0.125), optimizers=2).train()
    assert loop.lrs == [[COSINE(t), 0.25 * COSINE(t)] for t in range(18)]
    assert source == "policy" or (job.step == 18 and job.changed is None)


@pytest.mark.parametrize("as_job", [False, True])
@pytest.mark.parametrize("spoiled", [(0,), (5, 6, 11)])
def test_updates_that_a_gradient_scaler_skips(spoiled, as_job) -> None:
    """A policy waits for the next update; a job counts it and is told."""
    job = job_of()
    loop = Loop(job if as_job else COSINE, spoiled=spoiled).train()
    made = [t for t in range(18) if t not in spoiled]
    assert loop.lrs == [[COSINE(t)] for t in (made if as_job else range(len(made)))]
    if as_job:
        assert (job.step, job.skipped, job.changed) == (18, len(spoiled), None)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_saved_state_is_resumed_to_the_bit(tmp_path, accumulate) -> None:
    whole = Loop(COSINE, gradient_accumulation_steps=accumulate).train()
    first = Loop(COSINE, gradient_accumulation_steps=accumulate).train(8)
    first.accelerator.save_state(str(tmp_path))
    second = Loop(COSINE, gradient_accumulation_steps=accumulate)
    second.accelerator.load_state(str(tmp_path))
    assert second.scheduler.last_epoch == 8 // accumulate
    second.train(start=8)
    assert first.lrs + second.lrs == whole.lrs
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_longer_policy_takes_up_the_state_of_a_shorter(tmp_path) -> None:
    first = Loop(COSINE).train(8)
    first.accelerator.save_state(str(tmp_path))
    with pytest.raises(PolicyError, match="belongs to WARMUP"):
        Loop(COSINE.stretch(2)).accelerator.load_state(str(tmp_path))
    longer = Loop(COSINE.stretch(2), adopt=True)
    with pytest.warns(SchedulerWarning, match="adopted at step 8"):
        longer.accelerator.load_state(str(tmp_path))
    assert longer.train(start=8).lrs == [[COSINE.stretch(2)(t)] for t in range(8, 18)]


def test_a_job_resumes_from_its_state(tmp_path) -> None:
    first = Loop(job_of()).train(8)
    first.accelerator.save_state(str(tmp_path))
    job = job_of()
    second = Loop(job)
    second.accelerator.load_state(str(tmp_path))
    assert second.train(start=8).lrs == [[COSINE(t)] for t in range(8, 18)]
    assert (job.step, job.trained) == (18, 10)


def test_preparing_the_scheduler_again_leaves_it(tmp_path) -> None:
    loop = Loop(COSINE, project_config=ProjectConfiguration(project_dir=str(tmp_path)))
    assert loop.accelerator.prepare(loop.scheduler) is loop.scheduler
    assert loop.train().lrs == [[COSINE(t)] for t in range(18)]


def test_a_controller_takes_its_metric() -> None:
    loop = Loop("PLATEAU(k0=0.1, gamma=0.5, patience=0)").train()
    for loss in (1.0, 2.0):
        loop.scheduler.step(loss)
    assert loop.scheduler.get_last_lr() == [0.05]


def test_what_cannot_be_is_refused() -> None:
    accelerator = Accelerator(cpu=True)
    plain = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0)
    with pytest.raises(UsageError, match=r"takes an accelerate\.Accelerator first, got 'FIX"):
        prepare_scheduler("FIX(k0=0.1)", plain)
    with pytest.raises(UsageError, match=r"accelerator\.prepare returned, got an object of type SGD"):
        prepare_scheduler(accelerator, COSINE, plain)
    with pytest.raises(UsageError, match="one or more"):
        prepare_scheduler(accelerator, COSINE)
    with pytest.raises(PolicyError, match="policy, its text or a job"):
        prepare_scheduler(accelerator, None, accelerator.prepare(plain))
    with pytest.raises(UsageError, match="a job does not adopt"):
        prepare_scheduler(accelerator, job_of(), accelerator.prepare(plain), adopt=True)


@pytest.mark.parametrize("engine", [DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM])
def test_engines_with_schedulers_of_their_own_are_refused(engine) -> None:
    """They are not installed here: the state says which is used."""
    accelerator = Accelerator(cpu=True)
    accelerator.state.distributed_type = engine
    with pytest.raises(UsageError, match=f"{engine.value} steps a scheduler of its own"):
        prepare_scheduler(accelerator, COSINE)


@pytest.mark.adapters
def test_two_processes_go_on_together() -> None:
    """With batches of their own and with split ones, accumulated and not."""
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", RANKS, str(COSINE)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    for split, accumulate, processes, lrs_used in json.loads(ended.stdout.splitlines()[-1]):
        updates = 2 * (24 if split else 12) // accumulate
        assert (processes, lrs_used) == (2, [COSINE(t) for t in range(updates)])
