"""Which exceptions of other libraries are a stop and no error: known by name, and by that name only."""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from lrsearch.runs import RunState
from lrsearch.store.stops import EXITS, STOPS, state_of


def ended_as(code, module):
    """How a run ends that code of a module leaves."""
    try:
        exec(compile(code, module, "exec"), {"__name__": module})  # noqa: S102  a module of that name, not installed
    except BaseException as error:
        return state_of(error)


@pytest.mark.parametrize("name", STOPS)
def test_a_class_of_that_name_is_a_stop_and_so_is_what_is_made_from_it(name):
    module, _, own = name.rpartition(".")
    assert ended_as(f"class {own}(Exception): pass\nraise {own}('enough')", module) is RunState.STOPPED
    assert ended_as(f"class {own}(Exception): pass\nclass My({own}): pass\nraise My()", module) is RunState.STOPPED
    assert ended_as(f"class {own}(Exception): pass\nraise {own}()", f"my.{module}") is RunState.FAILED


@pytest.mark.parametrize("name", [name for name in STOPS if find_spec(name.split(".")[0])])
def test_what_is_installed_has_the_class_under_that_name(name):
    module, _, own = name.rpartition(".")
    kind = getattr(importlib.import_module(module), own)
    assert f"{kind.__module__}.{kind.__qualname__}" == name


@pytest.mark.parametrize("module", EXITS)
def test_an_exit_without_an_error_is_a_stop_only_if_a_scheduler_raised_it(module):
    assert ended_as("import sys\nsys.exit(0)", module) is RunState.STOPPED
    assert ended_as("import sys\nsys.exit(143)", module) is RunState.INTERRUPTED
    assert ended_as("import sys\nsys.exit(0)", "my.train") is RunState.INTERRUPTED


@pytest.mark.parametrize("module", [name for name in EXITS if find_spec(name.split(".")[0])])
def test_what_is_installed_ends_a_run_so(module):
    folder = Path(find_spec(module.split(".")[0]).origin).parent
    text = (folder.joinpath(*module.split(".")[1:]).with_suffix(".py")).read_text()
    assert "sys.exit(0)" in [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
