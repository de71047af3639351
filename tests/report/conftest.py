"""One small real search that the tests of this room look at."""

from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import torch

from lrsearch import api
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
