"""A training of several ranks under torchrun; a rank is killed at the update that KILLED_AT names."""

import os
import signal

import torch
from torch import distributed

import lrsearch as lrs

if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank, job = distributed.get_rank(), lrs.job()
    model = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.constant_(model.weight, 5.0)
    model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = job.scheduler(optimizer)
    generator = torch.Generator().manual_seed(2 * job.seed + rank)
    used = []
    for step in range(1, 1 + job.horizon):
        loss = model(torch.randn(8, 4, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        if rank == 0:
            job.log(step, train_loss=loss)
        if rank == 1 and step == int(os.environ.get("KILLED_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        if job.is_evaluation_due(step):
            mean = loss.detach()
            distributed.all_reduce(mean)
            if rank == 0:
                job.log(step, val_loss=mean / 2)
        if job.should_stop:
            break
    off = max(abs(lr - job.policy(t)) for t, lr in enumerate(used))
    print(f"rank {rank} of {distributed.get_world_size()} pid {os.getpid()} ended at {step}, off by {off}", flush=True)
    distributed.destroy_process_group()
