"""One rank of a distributed range test: `python range_test_of_a_rank.py RANK RANKS FILE`; what it saw, as JSON."""

import json
import sys

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import lrsearch as lrs
from lrsearch.errors import UsageError


def made_by(rank: int, ranks: int, meeting: str):
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    torch.manual_seed(4)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(rank)  # each rank has samples of its own
    x = torch.randn(256, 6) * (1 + 2 * rank)
    y = (x.sum(1) > 0).long() + (x[:, 0] > 1).long()
    batches = list(zip(x.split(16), y.split(16), strict=True))

    with lrs.range_test(model, optimizer, low=1e-5, high=1e3, steps=60) as test:
        test.run(batches, validation=batches[:1] if rank == 0 else None)
    seen = {"losses": test.ramp.losses, "advice": test.advice.to_json(), "evaluations": len(test.ramp.evaluations)}
    try:
        with lrs.range_test(model, optimizer, low=1e-5, high=1e3, steps=60) as test:
            for _ in range(3):
                optimizer.step()
                if rank == 1:
                    optimizer.param_groups[0]["lr"] = 0.5
                test.step(1.0)
    except UsageError as error:
        seen["refused"] = str(error)
    plateau = lrs.parse("PLATEAU(k0=0.4, gamma=0.5, patience=0)").scheduler(optimizer)
    seen["plateau"] = []
    for loss in ((1.0, 3.0), (1.2, 2.0), (1.4, 2.0), (1.0, 5.0)):  # means: 2, 1.6, 1.7, 3
        plateau.step(loss[rank])
        seen["plateau"].append(optimizer.param_groups[0]["lr"])
    distributed.destroy_process_group()
    return seen


if __name__ == "__main__":
    print(json.dumps(made_by(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
