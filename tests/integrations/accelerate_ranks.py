"""Run by torchrun in several processes: prints the LRs of rank 0's updates as JSON, once for each way to train."""

import json
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DataLoaderConfiguration

from lrsearch.integrations.accelerate import prepare_scheduler


def train(policy: str, split_batches: bool, accumulate: int) -> tuple[int, list[float]]:
    AcceleratorState._reset_state()
    GradientState._reset_state()
    accelerator = Accelerator(
        cpu=True,
        gradient_accumulation_steps=accumulate,
        dataloader_config=DataLoaderConfiguration(split_batches=split_batches),
    )
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    loader = torch.utils.data.DataLoader(torch.randn(96, 4), batch_size=4)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0), loader)
    scheduler = prepare_scheduler(accelerator, policy, optimizer)
    used: list[float] = []
    optimizer.optimizer.register_step_pre_hook(lambda *_: used.append(optimizer.param_groups[0]["lr"]))
    for _ in range(2):
        for batch in loader:
            with accelerator.accumulate(model):
                accelerator.backward(model(batch).square().mean())
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    assert scheduler.last_epoch == len(used)
    return accelerator.num_processes, used


if __name__ == "__main__":
    ways = [(split, accumulate) for split in (False, True) for accumulate in (1, 3)]
    told = [(*way, *train(sys.argv[1], *way)) for way in ways]
    accelerator = Accelerator(cpu=True)
    if accelerator.is_main_process:
        print(json.dumps(told))
    accelerator.end_training()
