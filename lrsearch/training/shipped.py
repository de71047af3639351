"""The trainings of shipped tasks that lrsearch's own loop does not train: small language models, and regressions.

They are functions of a job, as a user writes them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.runs.job import Job
from lrsearch.tasks.data import load_digits
from lrsearch.tasks.texts import read_text
from lrsearch.training.loop import NORM_EVERY, grad_norm


def train_language_model(job: Job) -> None:
    """Train a small GPT on the characters of a text; the settings are `text`, `width`, `layers`, `context`."""
    settings = job.settings
    train, validation, test = (part.to(job.device) for part in characters(settings["text"]))
    context, batch = settings["context"], settings["batch"]
    model = GPT(settings["width"], settings["layers"], context).to(job.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
    draw = torch.Generator().manual_seed(job.seed)

    def loss_of() -> torch.Tensor:
        return next_loss(model, train, torch.randint(len(train) - context, (batch,), generator=draw), context)

    @torch.no_grad()
    def evaluate(data: torch.Tensor) -> torch.Tensor:
        starts = torch.arange(0, len(data) - context, context)[:256]
        return next_loss(model, data, starts, context)

    descend(job, optimizer, loss_of, lambda: {"val_loss": evaluate(validation)}, lambda: {"test_loss": evaluate(test)})


def train_regression(job: Job) -> None:
    """Train a network on a mean squared error; the setting `data` is "waves" or "digits"."""
    (x, y), validation, test = (
        (inputs.to(job.device), targets.to(job.device)) for inputs, targets in regression_data(job.settings["data"])
    )
    model = regression_model(job.settings["data"]).to(job.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    batch, draw, order = job.settings["batch"], torch.Generator().manual_seed(job.seed), torch.empty(0).long()

    def loss_of() -> torch.Tensor:
        nonlocal order
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(len(x), generator=draw)])
        chosen, order = order[:batch], order[batch:]
        return F.mse_loss(model(x[chosen]), y[chosen])

    @torch.no_grad()
    def evaluate(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.mse_loss(model(pair[0]), pair[1])

    descend(job, optimizer, loss_of, lambda: {"val_mse": evaluate(validation)}, lambda: {"test_mse": evaluate(test)})


FUNCTIONS: Mapping[str, Callable[[Job], None]] = {
    "char-gpt": train_language_model,
    "code-gpt": train_language_model,
    "waves-mlp": train_regression,
    "digits-autoencoder": train_regression,
}
"""The function of each shipped task that one trains."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread; also a decorator."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def descend(
    job: Job,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[], torch.Tensor],
    evaluate: Callable[[], Mapping[str, Any]],
    test: Callable[[], Mapping[str, Any]],
) -> None:
    """Make the updates of a job with one thread, for the operations are small; the test metrics are of the last one."""
    scheduler = job.scheduler(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(1, 1 + job.horizon):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        is_due = step % NORM_EVERY == 0 and step < job.horizon  # what is logged at the last update is a metric
        norm = {"grad_norm_l1": grad_norm(parameters, 1)} if is_due else {}
        optimizer.step()
        scheduler.step()
        job.log(step, train_loss=loss, **norm)
        if job.is_evaluation_due(step):
            last = test() if step == job.horizon else {}
            job.log(step, **evaluate(), **last)
        if job.should_stop:
            break


@cache
def characters(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The characters of a text as numbers, in three parts: 80 % to train, 10 % to validate, 10 % to test.

    Line breaks are 0 and printable ASCII 1 to 95; any other character counts as "?".
    """
    codes = np.frombuffer(read_text(name).encode("ascii", "replace"), dtype=np.uint8).astype(np.int64)
    numbers = np.where(codes == ord("\n"), 0, np.where((codes >= 32) & (codes < 127), codes - 31, ord("?") - 31))
    data = torch.from_numpy(numbers)
    first, second = int(0.8 * len(data)), int(0.9 * len(data))
    return data[:first], data[first:second], data[second:]


KINDS = 96
"""Characters that a language model tells apart."""


class TransformerBlock(nn.Module):
    """Causal attention and two layers, each with a norm before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch of shape (n, context, width) to the same shape."""
        q, k, v = self.attend(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.project(mixed)
        result: torch.Tensor = x + self.layers(self.norms[1](x))
        return result


class GPT(nn.Module):
    """Characters to scores of the next one. Source: Radford et al. 2019, with tied embeddings."""

    def __init__(self, width: int, layers: int, context: int) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(KINDS, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads=4) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        for embedding in (self.characters, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map characters, shape (n, context), to scores, shape (n, context, kinds)."""
        y = self.characters(x) + self.places.weight[: x.shape[1]]
        return F.linear(self.norm(self.blocks(y)), self.characters.weight)


def next_loss(model: nn.Module, data: torch.Tensor, starts: torch.Tensor, context: int) -> torch.Tensor:
    """The mean cross-entropy of the next characters in windows of a text, in nats."""
    windows = data[starts[:, None] + torch.arange(context + 1)]
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


Pair = tuple[torch.Tensor, torch.Tensor]


@cache
def regression_data(name: str) -> tuple[Pair, Pair, Pair]:
    """The training, validation and test samples of a regression, each inputs and targets.

    "waves": 6 even numbers from -1 to 1, and a sum of waves of them. "digits": scikit-learn's digits, which are their
    own targets.
    """
    if name == "digits":
        splits = load_digits(None)
        flat = [split.x.flatten(1) for split in (splits.train, splits.validation, splits.test)]
        train, validation, test = [(x, x) for x in flat]
        return train, validation, test
    rng = np.random.default_rng(20_261_130)
    x = rng.uniform(-1, 1, size=(12_000, 6))
    y = np.sin(4 * x[:, 0] * x[:, 1]) + np.cos(5 * x[:, 2]) * x[:, 3] + np.sin(3 * (x[:, 4] + x[:, 5]))
    samples = [torch.from_numpy(part.astype(np.float32)) for part in (x, y[:, None])]
    train, validation, test = [(samples[0][n : n + 4000], samples[1][n : n + 4000]) for n in (0, 4000, 8000)]
    return train, validation, test


def regression_model(name: str) -> nn.Module:
    """The network of a regression: four layers of 48 with ReLU, or an autoencoder with 6 numbers in its middle."""
    widths = (64, 96, 48, 24, 6, 24, 48, 96, 64) if name == "digits" else (6, 48, 48, 48, 48, 1)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Tanh() if name == "digits" else nn.ReLU()]
    return nn.Sequential(*layers[:-1])
