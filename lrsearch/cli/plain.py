"""What every command may print, without loading a room."""

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
