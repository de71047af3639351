"""The place of a function from which another process can load it: a module, a file, or none."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lrsearch.errors import UsageError
from lrsearch.runs import Task
from lrsearch.runs.job import Job

Train = Callable[[Job], Any]


def place_of(function: Train) -> tuple[Path | None, str] | None:
    """The place of a function: (file, name), the file None where its module is importable; None where it has no place.

    Its module must hold this very function under its name.
    """
    module, path = sys.modules.get(function.__module__), getattr(function, "__qualname__", "")
    if module is None or named(module, path) is not function:
        return None
    module_file = getattr(module, "__file__", None)
    file = Path(module_file).resolve() if module_file else None
    if _is_importable(function.__module__, file):
        return None, path
    return (file, path) if file is not None and file.is_file() else None


def how_it_is_sent(function: Train) -> str:
    """How another process gets a function, as a text for people."""
    place = place_of(function)
    if place is None:
        return "as code: what it refers to outside of a file is copied to each"
    file, path = place
    if file is None:
        return f"from its module, as {function.__module__}.{path}"
    return f"from its file, as {file.name}:{path}"


def load_function(text: str) -> Any:
    """Load a function from a file: `train.py:name`, or `train.py` where one function in it is a task.

    The file is run as a module, so code under `if __name__ == "__main__":` does not run.

    Raises:
        UsageError: for a missing file, or a file without such a function.
    """
    file, _, name = text.partition(":") if ":" not in text[:2] else (text, "", "")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"no file {file!r}: a function of your own is named as train.py:function")
    module = module_of(path.resolve())
    tasks = {key: value for key, value in vars(module).items() if isinstance(getattr(value, "task", None), Task)}
    if not name and len(tasks) == 1:
        return next(iter(tasks.values()))
    if not tasks:
        raise UsageError(f"{file} has no task: put @lrs.task(...) above the function that trains")
    names = ", ".join(tasks)
    if not name:
        raise UsageError(f"name the function, as {file}:NAME; tasks in it: {names}")
    if name not in tasks:
        why = "is no task: put @lrs.task(...) above it" if hasattr(module, name) else "is not in it"
        raise UsageError(f"{file}: {name} {why}; tasks in it: {names}")
    return tasks[name]


def named(module: ModuleType, path: str) -> Any:
    """The value of a dotted name in a module; None where it has none."""
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _is_importable(name: str, file: Path | None) -> bool:
    """Whether a fresh process with the same import paths imports this very file under a name.

    It calls the finders, because `importlib.util.find_spec` answers from the modules that are loaded already.
    """
    places: Any = None
    spec = None
    for part in range(1, 1 + name.count(".") + 1):
        whole = ".".join(name.split(".")[:part])
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        spec = next((spec for find in finders if find and (spec := find(whole, places)) is not None), None)
        if spec is None:
            return False
        places = spec.submodule_search_locations
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file


def module_of(path: Path) -> ModuleType:
    """Import a file under a module name made of its path, once."""
    name = f"lrsearch_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file: a function of your own is named as train.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
