"""Where an adapter's learning rates come from."""

import pytest
import torch

from lrsearch import FIX, Task, minimize, parse
from lrsearch.errors import PolicyError, UsageError
from lrsearch.integrations.source import policy_of, read_source, scheduler_of
from lrsearch.runs.job import Job
from lrsearch.runs.run import RunSpec

COSINE = parse("HALFCOS(k0=0.1, l=8)")


def sgd(*lrs: float) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs])


@pytest.mark.parametrize("bad", [None, 0.1, [COSINE], torch.nn.Linear, {}])
def test_what_has_no_learning_rates_is_refused(bad) -> None:
    with pytest.raises(PolicyError, match="come from a policy, its text or a job, got"):
        read_source(bad)


def test_a_text_a_policy_and_a_job_are_read() -> None:
    job = Job(RunSpec(Task(name="toy", horizon=16, epoch=4, objectives=(minimize("loss"),)), COSINE, 16, seed=0))
    assert read_source(str(COSINE)) == COSINE == read_source(COSINE)
    assert read_source(job) is job
    assert policy_of(job) == COSINE == policy_of(COSINE)


def test_ratios_count_over_all_groups_of_all_optimizers() -> None:
    optimizers = sgd(1.0, 0.5), sgd(0.25)
    scheduler = scheduler_of(COSINE, *optimizers)
    for t in range(8):
        assert scheduler.get_last_lr() == [COSINE(t), 0.5 * COSINE(t), 0.25 * COSINE(t)]
        for optimizer in optimizers:
            optimizer.step()
        scheduler.step()


def test_what_cannot_be_scheduled_says_why() -> None:
    with pytest.raises(UsageError, match="one or more"):
        scheduler_of(COSINE)
    with pytest.raises(UsageError, match="do not adopt"):
        scheduler_of(FIX(k0=1), sgd(1.0), sgd(1.0), adopt=True)
    job = Job(RunSpec(Task(name="toy", horizon=16, epoch=4, objectives=(minimize("loss"),)), COSINE, 16, seed=0))
    with pytest.raises(UsageError, match="a job does not adopt"):
        scheduler_of(job, sgd(1.0), adopt=True)
