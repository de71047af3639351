"""What `import lrsearch` costs, and that every example in the first rooms is run."""

import doctest
import importlib
import subprocess
import sys

import pytest

import lrsearch
from lrsearch.schedules import FUNCTIONS, functions

HEAVY = (
    "torch", "sympy", "ray", "optuna", "sqlalchemy", "pandas", "matplotlib", "plotly", "sklearn", "typer", "rich",
)
"""sympy comes with torch's compiler, which takes longer to load than torch itself."""


def loaded_after(code: str) -> set[str]:
    """Give the heavy libraries that a fresh Python has loaded after a line of code."""
    say = f"{code}; import sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("code", [
    "import lrsearch",
    "import lrsearch as lrs; lrs.parse('WARMUP(policy=TRI(k0=0, k1=1, l=5), l=5)')(7)",
    "import lrsearch as lrs; lrs.Space.standard('TRI', horizon=10, epoch=1).key",
    "import lrsearch.heuristics, pickle; from lrsearch import FIX; pickle.loads(pickle.dumps(FIX(k0=1)))",
])
def test_importing_and_using_policies_and_spaces_loads_no_framework(code):
    assert loaded_after(code) == set()


def test_a_model_is_counted_without_the_compiler_of_torch_and_as_the_catalogue_has_it():
    counted = ("from dataclasses import replace; from functools import partial; from lrsearch.tasks import TASKS;"
               "assert all(replace(t, build=partial(t.build)).parameters == t.parameters for t in TASKS.values())")
    assert loaded_after(counted) == {"torch"}


def test_the_probe_of_loaded_libraries_sees_one_that_is_loaded():
    assert loaded_after("import optuna") >= {"optuna"}


def test_every_lr_function_is_there_by_its_name():
    for name, function in FUNCTIONS.items():
        assert getattr(lrsearch, name) is function
    with pytest.raises(AttributeError, match="module 'lrsearch' has no attribute 'TRIX'"):
        _ = lrsearch.TRIX


def test_the_example_of_every_lr_function_is_run():
    found = {test.name.rpartition(".")[2]: test for test in doctest.DocTestFinder().find(functions)}
    for name in FUNCTIONS:
        examples = found[name].examples
        assert any(f"{name}(" in example.source for example in examples), name


def test_every_public_name_is_there_and_stays_what_it_is_after_all_rooms_are_loaded():

    before = {name: getattr(lrsearch, name) for name in lrsearch.__all__}
    importlib.import_module("lrsearch.cli.search")
    importlib.import_module("lrsearch.api")
    assert {name: getattr(lrsearch, name) for name in lrsearch.__all__} == before
    assert callable(lrsearch.search)
    assert lrsearch.TRI(k0=0.1, k1=0.2, l=3).name == "TRI"
