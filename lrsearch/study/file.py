"""Study files: tables of policies in TOML."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, unknown
from lrsearch.schedules import parse
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks import Classification, find_classification, find_task
from lrsearch.training.function_places import load_function
from lrsearch.training.program import ProgramSource, program
from lrsearch.training.settings import with_settings
from lrsearch.training.user_source import is_user_training, user_source

PROGRAM_KEYS = {
    "command": str | list,
    "name": str,
    "epoch": int | float,
    "minimize": str,
    "maximize": str,
    "samples": int,
    "version": str,
    "lr_range": list,
    "facts": dict,
}
TABLE_KEYS = {
    "task": str,
    "horizon": int,
    "precision": str,
    "protocol": str,
    "seeds": int,
    "source": str,
    "policies": list,
    "settings": dict,
    **PROGRAM_KEYS,
}
ROW_KEYS = {"policy": str, "label": str, "published": dict}


def read_study(path: Path, seeds: int | None = None, horizon: int | None = None) -> PolicyTable:
    """Read a study file: a table of policies.

    Args:
        path: the TOML file. It has `task` (a shipped task, or train.py:name of a file beside it), `seeds` and
            `[[policies]]`, each with a `policy`. Optional: `protocol` ("validation" or "paper"), `horizon`,
            `precision`, `source`, `[settings]` of a function or program; for a policy its `label` and its `published`
            numbers. Instead of `task` it may have a program: `command`, `name`, `horizon`, `minimize` or `maximize`,
            and other arguments of `lrs.program`.
        seeds, horizon: replace those of the file.

    Raises:
        UsageError: if the file cannot be read, or has wrong keys or values; the message names the place.
    """
    values = _checked(_read(path), TABLE_KEYS, f"{path}")
    for key in ("name" if "command" in values else "task", "seeds", "policies"):
        if key not in values:
            raise UsageError(
                f"{path} has no {key!r}: a table of policies needs task, or command and name; seeds and [[policies]]"
            )
    with _named(path):
        own = _program(values) if "command" in values else _function(values, path.parent)
        source = _task(values) if own is None else own
        written = find_task(with_settings(source, values.get("settings")))
    rows = tuple(_row(row, f"{path}, policy {n}") for n, row in enumerate(values["policies"], 1))
    steps = horizon if horizon is not None else values.get("horizon", written.horizon)
    number = seeds if seeds is not None else values["seeds"]
    with _named(path):
        task = written.with_horizon(steps) if steps != written.horizon else written
        return PolicyTable(path.stem, task, rows, number, values.get("source", ""), written.horizon, own)


@contextmanager
def _named(where: object) -> Iterator[None]:
    """Put the place in the file in front of the message of a `UsageError`."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"{where}: {error}") from None


def _program(values: Mapping[str, Any]) -> ProgramSource:
    """The program that a study file describes."""
    odd = next((key for key in ("task", "precision", "protocol") if key in values), None)
    if odd is not None:
        raise UsageError(f"{odd} is of shipped tasks and functions, and a command trains itself: leave one of them out")
    arguments = {key: values[key] for key in ("horizon", *PROGRAM_KEYS) if key in values}
    return program(arguments.pop("command"), arguments.pop("name"), **arguments)


def _function(values: Mapping[str, Any], folder: Path) -> Any:
    """The function that `task` names as `train.py:name`, a file beside the study file, or that of a shipped task.

    None for a shipped classification.
    """
    of_program = next((key for key in PROGRAM_KEYS if key in values), None)
    if of_program is not None:
        raise UsageError(f"{of_program} describes a program: give its command in the place of task")
    name = values["task"]
    is_file = name.partition(":")[0].endswith(".py")
    if not is_file and not is_user_training(name):
        return None
    odd = next((key for key in ("precision", "protocol") if key in values), None)
    if odd is not None:
        raise UsageError(f"{odd} is of classifications, and {name!r} trains itself: leave it out")
    if not is_file:
        return user_source(name)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(f"{name!r} is not in the folder of the study file: a function stands beside it")
    return load_function(str(folder / name))


def _task(values: Mapping[str, Any]) -> Classification:
    task = replace(find_classification(values["task"]), precision=values.get("precision", "fp32"))
    protocol = values.get("protocol", "validation")
    if protocol == "validation":
        return task
    if protocol != "paper":
        raise UsageError(unknown("protocol", protocol, ("validation", "paper")))
    return task.in_paper_protocol()


def _row(values: Any, where: str) -> Row:
    row = _checked(values, ROW_KEYS, where)
    if "policy" not in row:
        raise UsageError(f"{where} has no 'policy'")
    published = row.get("published", {})
    for name, number in published.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UsageError(f"{where}: published {name} is a number, got {number!r}")
    with _named(where):
        policy = parse(row["policy"])
    return Row(policy, row.get("label", ""), published)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


def _checked(values: Any, kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values. Refuse unknown keys, and values of another type."""
    if not isinstance(values, dict):
        raise UsageError(f"{where} is a table of keys and values, got {values!r}")
    for name, value in values.items():
        if name not in kinds:
            raise UsageError(f"{where}: {unknown('key', name, kinds)}")
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            kind = getattr(kinds[name], "__name__", kinds[name])
            raise UsageError(f"{where}: {name} is of type {kind}, got {value!r}")
    return values
