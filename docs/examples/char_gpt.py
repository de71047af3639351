"""A small language model over characters, searched by `lrsearch search docs/examples/char_gpt.py`.

AdamW without weight decay on biases and norms, two batches an update, clipped gradients. The text is the source of
Python's standard library, which every machine has. On two CPU cores an update takes about 20 ms.
"""

import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import lrsearch as lrs

CONTEXT, WIDTH, HEADS, LAYERS, BATCH, ACCUMULATE = 48, 64, 4, 2, 16, 2
MODULES = ("argparse", "ast", "configparser", "datetime", "decimal", "doctest", "inspect", "pathlib", "statistics")


@cache
def text() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Training and validation characters as numbers, and how many kinds there are: loaded once a process."""
    folder = Path(sysconfig.get_path("stdlib"))
    written = "".join(path.read_text() for name in MODULES if (path := folder / f"{name}.py").is_file())
    kinds = sorted(set(written))
    data = torch.tensor([kinds.index(character) for character in written[:200_000]])
    cut = int(0.9 * len(data))
    return data[:cut], data[cut:], len(kinds)


class Block(nn.Module):
    """Attention and a layer of two, each with a norm before it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.layers = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix over the characters before, then each by itself."""
        q, k, v = self.attend(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.project(mixed)
        return x + self.layers(self.norms[1](x))


class GPT(nn.Module):
    """Characters to scores of the next one."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(kinds, WIDTH), nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.last = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, kinds))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores, shape (batch, characters, kinds)."""
        return self.last(self.blocks(self.characters(x) + self.places))


def groups(model: nn.Module) -> list[dict[str, object]]:
    """Weights with decay, biases and norms without."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    return [
        {"params": matrices, "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]


def loss_of(model: nn.Module, data: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of the next characters in windows of the text."""
    windows = data[starts[:, None] + torch.arange(CONTEXT + 1)]
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


@lrs.task(
    "char-gpt",
    horizon=600,
    epoch=60,
    minimize="val_loss",
    unit="nats",
    version="1",
    optimizer="adamw",
    batch_size=BATCH * ACCUMULATE,
    parameters=1.2e5,
    data="stdlib sources",
    model="gpt",
)
def char_gpt(job: lrs.Job) -> None:
    """Train the model; its validation loss is logged at evaluations."""
    torch.set_num_threads(1)  # several wait for each other at every small operation
    train, validation, kinds = text()
    model = GPT(kinds).to(job.device)
    optimizer = torch.optim.AdamW(groups(model), lr=1.0, betas=(0.9, 0.95))
    scheduler = job.scheduler(optimizer)
    held_out = torch.linspace(0, len(validation) - CONTEXT - 1, 128).long()
    for step in range(1, 1 + job.horizon):
        total = torch.zeros(())
        for _ in range(ACCUMULATE):
            loss = loss_of(model, train, torch.randint(len(train) - CONTEXT, (BATCH,))) / ACCUMULATE
            loss.backward()
            total = total + loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        job.log(step, train_loss=total)
        if job.is_evaluation_due(step):
            with torch.no_grad():
                job.log(step, val_loss=loss_of(model, validation, held_out))
        if job.should_stop:
            break
