"""What the Accelerate adapter costs: an update of a small loop with torch's prepared scheduler, and with a policy's.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_accelerate.py

A network of two layers on batches of 64, AdamW. Both loops are under way in one process, and take turns of 50 updates.
Printed are the medians of an update's processor time, and the median of the ratios of paired turns with its quartiles.
It asserts nothing.
"""

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from turns import show, time_turns

from lrsearch.integrations.accelerate import prepare_scheduler

TURNS, TURN = 200, 50


def loop(with_policy: bool) -> Iterator[None]:
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    if with_policy:
        scheduler = prepare_scheduler(accelerator, f"LINEAR(k0=0.001, l={TURNS * TURN})", optimizer)
    else:
        linear = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (TURNS * TURN))
        scheduler = accelerator.prepare(linear)
    x = torch.randn(64, 64)
    for step in range(TURNS * TURN):
        with accelerator.accumulate(model):
            accelerator.backward(model(x).square().mean())
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        if (step + 1) % TURN == 0:
            yield


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(time_turns({"own": loop(False), "policy": loop(True)}, TURNS), TURN)
