"""What the tests of executors share: a training that needs nothing, where workers can import it."""

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `plain_trainer`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import plain_trainer

    return plain_trainer
