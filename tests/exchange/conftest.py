"""What the tests of exchange share: random policies of the whole table, and Caffe as its sources have it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def _loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


policies = _loaded("random_policies", HERE.parent / "schedules" / "conftest.py").policies


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """Caffe's formulas, its checks, and protobuf's numbers."""
    return _loaded("caffe_oracle", HERE / "caffe_oracle.py")
