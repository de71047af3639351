"""A regression by mean squared error, searched by `lrsearch search docs/examples/diabetes.py`: seconds on a CPU."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

import lrsearch as lrs

X, Y = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True, scaled=True))
Y = (Y[:, None] - Y.mean()) / Y.std()
ORDER = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
TRAIN, VALIDATION = ORDER[:342], ORDER[342:]


@lrs.task(
    "diabetes",
    horizon=600,
    epoch=342 / 32,
    minimize="val_mse",
    version="1",
    optimizer="sgd",
    batch_size=32,
    parameters=769,
    data="diabetes",
    model="mlp",
)
def diabetes(job: lrs.Job) -> None:
    """Train a small network; its validation error is logged at evaluations."""
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1)).to(job.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    scheduler = job.scheduler(optimizer)
    samples = torch.utils.data.TensorDataset(X[TRAIN], Y[TRAIN])
    loader = torch.utils.data.DataLoader(samples, batch_size=32, shuffle=True, drop_last=True)
    for step, (x, y) in enumerate(job.batches(loader), 1):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        job.log(step, train_loss=loss)
        if job.is_evaluation_due(step):
            with torch.no_grad():
                job.log(step, val_mse=nn.functional.mse_loss(model(X[VALIDATION]), Y[VALIDATION]))
