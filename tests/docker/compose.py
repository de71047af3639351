"""Reads compose.yaml and the Dockerfile as Docker does, as far as these two files need it."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
VARIABLE = re.compile(r"\$\$|\$\{(\w+):-([^}]*)\}")
BYTES = {"k": 2**10, "m": 2**20, "g": 2**30}


def compose(**variables: str) -> dict[str, Any]:
    """The compose file, with variables of the environment put in."""
    return _filled(yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8")), variables)


def _filled(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: variables.get(found[1], found[2]) if found[1] else "$", value)
    return value


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: (name, rest)."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def image_environment() -> dict[str, str]:
    """The environment that the Dockerfile sets."""
    words = [word for name, rest in instructions() if name == "ENV" for word in rest.split()]
    return dict(word.split("=", 1) for word in words)


def size(text: str) -> int:
    """Bytes, of a size as `512m`."""
    return int(text[:-1]) * BYTES[text[-1]]
