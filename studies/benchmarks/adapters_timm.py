"""What timm's scheduler costs an update, and what the adapter of timm does. Prints ratios; asserts nothing.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_timm.py

A small vision transformer of timm's with AdamW, layer decay and 25 samples an update, in the loop of timm's training
script. Two trainings are under way in one process and take turns of 4 updates: one with `create_scheduler_v2`'s
scheduler stepped at each update, one with the adapter on a policy. Printed are the medians of an update's processor
time, the median of the ratios of paired turns with its quartiles, and the time of the schedulers alone.
"""

import time
from collections.abc import Callable, Iterator

import torch
from timm import create_model
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from turns import show, time_turns

from lrsearch.integrations.timm import TimmScheduler

TURNS, TURN, CALLS = 100, 4, 20_000
N = TURNS * TURN
SHAPE = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
Make = Callable[[torch.optim.Optimizer], object]


def timms(optimizer: torch.optim.Optimizer) -> object:
    return create_scheduler_v2(optimizer, num_epochs=10, step_on_epochs=False, updates_per_epoch=N // 10)[0]


def ours(optimizer: torch.optim.Optimizer) -> object:
    return TimmScheduler(f"HALFCOS(k0=0.001, l={N})", optimizer)


def training(make: Make) -> Iterator[None]:
    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", in_chans=1, num_classes=10, **SHAPE)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=0.001, layer_decay=0.75)
    scheduler, x, y = make(optimizer), torch.randn(25, 1, 16, 16), torch.arange(25) % 10
    for num_updates in range(1, 1 + N):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step_update(num_updates=num_updates)
        if num_updates % TURN == 0:
            yield


def calls(make: Make) -> float:
    """Microseconds of one `step_update` of an optimizer with 12 param groups."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": 0.9**n} for n in range(12)]
    scheduler = make(torch.optim.SGD(groups, lr=0.001))
    began = time.process_time()
    for num_updates in range(1, 1 + CALLS):
        scheduler.step_update(num_updates=num_updates)
    return 1e6 * (time.process_time() - began) / CALLS


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(time_turns({"timm": training(timms), "lrsearch": training(ours)}, TURNS), TURN)
    print(f"step_update alone, 12 groups: timm {calls(timms):.1f} us, lrsearch {calls(ours):.1f} us")
