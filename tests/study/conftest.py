"""Studies that run in a world without training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lrsearch.runs import Run
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.store import Store, Trial, open_store
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup
from lrsearch.study.study import Study
from lrsearch.tasks import Task, find_task


class RandomSampler:
    """Draws policy n of a study from (seed, n) alone; remembers what it was told."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.heard: dict[int, str] = {}

    def suggest(self, number: int, space: Space) -> Policy:
        return space.sample(np.random.default_rng((self.seed, number))).rounded()

    def add(self, trial: Trial, space: Space) -> None:
        self.heard.setdefault(trial.number, "open")

    def tell(self, trial: Trial, run: Run) -> None:
        self.heard[trial.number] = str(run.state)

    def save(self) -> None:
        """Nothing is written."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store.db"))


@pytest.fixture
def task() -> Task:
    return find_task("digits-mlp")


@pytest.fixture
def open_study(store: Store, task: Task) -> Callable[..., Study]:
    """Open a funnel study of digits-mlp with a random sampler."""

    def open_(budget: float = 12, seed: int = 0, functions: Sequence[str] = (), **options: object) -> Study:
        raw = Space.standard(*functions, horizon=task.horizon, epoch=task.epoch)
        setup = Setup(task, raw, budget, seed)
        return Study(setup, Funnel(), store, lambda name, known: RandomSampler(seed), **options)

    return open_


@pytest.fixture
def study_in(tmp_path: Path, task: Task) -> Callable[..., Study]:
    """Open a funnel study of budget 12 in a store of its own, by name."""

    def open_(name: str) -> Study:
        raw = Space.standard(horizon=task.horizon, epoch=task.epoch)
        own = open_store(str(tmp_path / name))
        return Study(Setup(task, raw, 12, 0), Funnel(), own, lambda name, known: RandomSampler())

    return open_
