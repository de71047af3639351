"""What the Accelerate adapter costs: an update of a small loop with torch's prepared scheduler, and with a policy's.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_accelerate.py

A network of two layers on batches of 64, AdamW. Both loops are under way in one process, and take turns of 50 updates.
Printed are the processor time of an update, the ratio of the sums, and its quartiles over tenths of the turns. It
asserts nothing.
"""

import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator

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
    loops = {"own": loop(False), "policy": loop(True)}
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for each in loops.values():
        next(each)  # what the first turn alone does is left out
    for turn in range(TURNS - 1):
        for name in loops if turn % 2 else reversed(loops):
            began = time.process_time()
            next(loops[name])
            taken[name].append(time.process_time() - began)
    size = TURNS // 10
    parts = sorted(
        sum(taken["policy"][a : a + size]) / sum(taken["own"][a : a + size]) for a in range(0, TURNS - 1, size)
    )
    update = 1e6 * sum(taken["own"]) / (TURNS * TURN)
    ratio = sum(taken["policy"]) / sum(taken["own"])
    print(f"policy / own: {ratio:.3f} (quartiles {parts[2]:.3f} to {parts[7]:.3f}; {update:.0f} us an update)")
