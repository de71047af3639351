"""Where a function lives, so that another process finds it: in a module, in a file, or nowhere."""

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
    """Where another process finds a function: (file, name), the file None where its module is importable; or None.

    It must be what its module holds under its name, or wrap it.
    """
    module, path = sys.modules.get(function.__module__), getattr(function, "__qualname__", "")
    if module is None or named(module, path) is not function:
        return None
    found = getattr(module, "__file__", None)
    file = Path(found).resolve() if found else None
    if _is_importable(function.__module__, file):
        return None, path
    return (file, path) if file is not None and file.is_file() else None


def how_it_is_sent(function: Train) -> str:
    """How another process gets a function, for people."""
    place = place_of(function)
    if place is None:
        return "as code: what it refers to outside of a file is copied to each"
    file, path = place
    if file is None:
        return f"from its module, as {function.__module__}.{path}"
    return f"from its file, as {file.name}:{path}"


def load_function(text: str) -> Any:
    """Take a function out of a file: `train.py:name`, or `train.py` where one function in it is a task.

    The file is run as a module: what stands under `if __name__ == "__main__":` is not.

    Raises:
        UsageError: for a file that is not there, or without such a function.
    """
    file, _, name = text.partition(":") if ":" not in text[:2] else (text, "", "")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"no file {file!r}: a function of your own is named as train.py:function")
    module = module_of(path.resolve())
    tasks = {key: one for key, one in vars(module).items() if isinstance(getattr(one, "task", None), Task)}
    if not name and len(tasks) == 1:
        return next(iter(tasks.values()))
    held = ", ".join(tasks) or "none"
    if not name:
        raise UsageError(f"name the function, as {file}:NAME; tasks in it: {held}")
    if name not in tasks:
        why = "is no task: put @lrs.task(...) above it" if hasattr(module, name) else "is not in it"
        raise UsageError(f"{file}: {name} {why}; tasks in it: {held}")
    return tasks[name]


def named(module: ModuleType, path: str) -> Any:
    """What a module holds under a dotted name; None where it holds nothing."""
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _is_importable(name: str, file: Path | None) -> bool:
    """Whether a fresh process that looks in the same places imports this very file under a name.

    The finders are asked, not `importlib.util.find_spec`, which takes the word of what is loaded already.
    """
    places: Any = None
    spec = None
    for part in range(1, 1 + name.count(".") + 1):
        whole = ".".join(name.split(".")[:part])
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        spec = next((found for find in finders if find and (found := find(whole, places)) is not None), None)
        if spec is None:
            return False
        places = spec.submodule_search_locations
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file


def module_of(path: Path) -> ModuleType:
    """Run a file as a module of its own name, once."""
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
