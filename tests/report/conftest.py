"""Two small real searches that the tests of this room look at: of a shipped task, and of a function."""

import contextlib
import io
import random
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import torch

import lrsearch as lrs
from lrsearch import api
from lrsearch.cli.progress import ProgressPrinter
from lrsearch.report.panels import publish
from lrsearch.study.result import SearchResult


@dataclass(frozen=True)
class Searched:
    """A search's result, its folder, and its Optuna storage with note and figures published."""

    result: SearchResult
    folder: Path
    storage: str


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model only waits for its other threads, for minutes where cores are shared
    try:
        result = api.search("digits-mlp", budget=3.25, functions=["SIN2", "TRI"], out=folder)
    finally:
        torch.set_num_threads(threads)
    storage = f"sqlite:///{folder / 'optuna.db'}"
    publish(result, optuna.load_study(study_name=result.study, storage=storage))
    return Searched(result, folder, storage)


@lrs.task(
    "density",
    horizon=64,
    epoch=8,
    objectives=[lrs.maximize("elbo", unit="nats"), lrs.minimize("size")],
    optimizer="sgd",
)
def density(job):
    """Noisy descent on a parabola: a bound below 0 that is maximized. One policy breaks it."""
    if job.policy.name == "SIN2":
        raise ValueError("no sines here")
    w = 1 + 0.01 * random.random()
    for step in range(1, 1 + job.horizon):
        job.log(step, train_loss=w * w)
        w -= job.policy(step - 1) * (w + random.gauss(0, 0.1))
    return {"elbo": -3 - w * w, "size": abs(w), "extra": 2 * w, "test_elbo": -w}


@dataclass(frozen=True)
class Heard:
    """The result of a function's search, and what was said on stderr meanwhile."""

    result: SearchResult
    printer: str


@pytest.fixture(scope="session")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    folder = tmp_path_factory.mktemp("heard")
    with contextlib.redirect_stderr(io.StringIO()) as said, ProgressPrinter(7, density.task.horizon) as printer:
        result = api.search(density, budget=7, functions=["TRI", "SIN2"], out=folder, watch=printer.ended)
    return Heard(result, said.getvalue())
