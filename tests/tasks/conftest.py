"""What the tests of tasks share: CIFAR-10, unpacked once."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cifar(data_dir, tmp_path_factory) -> Path:
    """The python batches of CIFAR-10, unpacked."""
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, data_dir / "cifar10" / "decode.py", folder], check=True, capture_output=True)
    return folder
