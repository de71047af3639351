"""What `import lrsearch` costs, and that every example in the first rooms is run."""

import doctest
import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import lrsearch
from lrsearch.cli.main import app
from lrsearch.schedules import FUNCTIONS, functions
from lrsearch.store.schema import SCHEMA_VERSION

HEAVY = ("torch", "sympy", "ray", "optuna", "sqlalchemy", "pandas", "matplotlib", "plotly", "sklearn", "typer", "rich")
"""sympy comes with torch's compiler, which takes longer to load than torch itself."""


def loaded_after(code: str) -> set[str]:
    """Give the heavy libraries that a fresh Python has loaded after a line of code."""
    say = f"{code}; import sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import lrsearch",
        "import lrsearch as lrs; lrs.parse('WARMUP(policy=TRI(k0=0, k1=1, l=5), l=5)')(7)",
        "import lrsearch as lrs; lrs.Space.standard('TRI', horizon=10, epoch=1).key",
        "import lrsearch.executors.pool, lrsearch.executors.local; from lrsearch.tasks import find_task;"
        "from lrsearch.training.source import ClassificationSource;"
        " ClassificationSource(find_task('digits-mlp')).task.key",
        "import lrsearch.heuristics, pickle; from lrsearch import FIX; pickle.loads(pickle.dumps(FIX(k0=1)))",
    ],
)
def test_importing_and_using_policies_and_spaces_loads_no_framework(code):
    assert loaded_after(code) == set()


def test_a_model_is_counted_without_the_compiler_of_torch_and_as_the_catalogue_has_it():
    counted = (
        "from dataclasses import replace; from functools import partial;"
        "from lrsearch.tasks.catalogue import CLASSIFICATIONS as C;"
        "assert all(replace(t, build=partial(t.build)).parameters == t.parameters for t in C.values())"
    )
    own = {"sympy"} if version("torch").startswith("2.6.") else set()  # torch 2.6: any layer on meta
    assert loaded_after(counted) == {"torch"} | own


IN_TURN = """
import contextlib, io, json, sys
from lrsearch.cli.main import main
heavy, commands = json.loads(sys.argv[1])
done = []
for command in commands:
    sys.argv = ["lrsearch", *command]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    done.append([code, [name for name in heavy if name in sys.modules]])
print(json.dumps(done))
"""


OTHERS = ("dashboard", "policy table", "policy paths")
"""One serves, two draw as others do, and take longer."""


def command_names(app, before=""):
    """Give the names of all commands of a typer app, with those of its groups."""
    for command in app.registered_commands:
        yield before + (command.name or command.callback.__name__.replace("_", "-"))
    for group in app.registered_groups:
        yield from command_names(group.typer_instance, f"{group.name} ")


def test_commands_that_train_nothing_load_no_torch_and_each_only_the_libraries_that_it_needs(tmp_path):
    shutil.copy(Path(__file__).parent / "store" / "schemas" / f"schema-{SCHEMA_VERSION}.db", tmp_path / "s.db")
    store, task, fix = ["--store", "s.db"], ["--task", "digits-mlp"], "FIX(k0=0.1)"
    plain = [
        (["--help"], 0),
        (["search", "--help"], 0),
        (["policy", "list"], 0),
        (["policy", "show", fix], 0),
        (["policy", "show", "FIX(k0="], 2),
        *((["policy", "convert", fix, "--to", to], 0) for to in ("torch", "json")),
        (["tasks"], 0),
        (["tasks", "--json"], 0),
        (["tasks", "nonsense"], 2),
        *(([command, "nonsense"], 2) for command in ("search", "sweep", "prune", "range-test", "recipe")),
        (["search", "digits-mlp", "--engine", "slurm"], 2),
        (["search", "digits-mlp", "--precision", "fp8"], 2),
        (["search", "digits-mlp", "--horizon", "3"], 2),
        (["search", "digits-mlp", "--seeds"], 2),
        (["compare"], 2),
        (["compare", "digits-mlp", "--table", "deepobs"], 2),
    ]
    stored = [
        *((["store", command, *store], 0) for command in ("runs", "studies", "stats", "check")),
        (["store", "runs", *store, "--state", "lost"], 2),
        (["store", "show", "0" * 24, *store], 1),
        (["store", "export", "b.jsonl", *store], 0),
        (["store", "import", "b.jsonl", "--store", "t.db"], 0),
        (["store", "merge", "s.db", "--store", "u.db"], 0),
        (["store", "salvage", "--to", "v.db", *store], 0),
        (["range-test", "digits-mlp", "--low", "-1"], 2),
        (["range-test", "digits-mlp", "--repeats", "0"], 2),
        (["verify", "NOPE", *task, "--target", "0.9", "--budget", "100"], 2),
        (["verify", fix, *task, "--target", "9", "--budget", "100"], 2),
        (["study", "run", "none.toml"], 2),
        (["reproduce", "0" * 24, *store], 1),
        (["reproduce", "", *store], 2),
        (["explain", "digits-mlp", *store], 0),
        (["explain", "nonsense", *store], 2),
    ]
    asked = [
        (["search", "digits-mlp", "--budget", "-1"], 2),
        (["search", "digits-mlp", "--functions", "NOPE"], 2),
        (["search", "digits-mlp", "--store", "nope://"], 1),
        (["sweep", "digits-mlp", "--workers", "0"], 2),
        (["prune", "digits-mlp", "--budget", "-1"], 2),
        (["prune", "digits-mlp", "--stored", *store], 0),
        (["compare", "digits-mlp", "--strategies", "luck"], 2),
        (["study", "ask", "nonsense", *store], 2),
        *((["study", command, "nonsense", "0", *store], 2) for command in ("tell", "release")),
        (["study", "show", "nonsense", *store], 2),
    ]
    drawn = [(["policy", "plot", fix, "-o", "p.png"], 0), (["policy", "diff", fix, "FIX(k0=0.2)"], 0)]
    advised = [
        (["recommend", "digits-mlp", *store], 0),
        (["rank", "digits-mlp", *store], 0),
        (["rank", "nonsense"], 2),
        (["search", "digits-mlp", "--workers", "0"], 2),
        (["study", "ask", "--name", "mine", "--horizon", "100", "--minimize", "loss", *store], 0),
    ]
    commands = [command for command, _ in [*plain, *stored, *asked, *drawn, *advised]]
    begun = {" ".join(command[:words]) for command in commands for words in (1, 2)}
    assert set(command_names(app)) - begun == set(OTHERS)
    done = json.loads(
        subprocess.run(
            [sys.executable, "-c", IN_TURN, json.dumps([HEAVY, commands])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    needed = {"typer", "rich"}
    for group, libraries in (
        (plain, set()),
        (stored, {"sqlalchemy"}),
        (asked, {"optuna"}),
        (drawn, {"matplotlib"}),
        (advised, {"pandas", "sklearn"}),
    ):
        needed |= libraries
        for command, code in group:
            ended, loaded = done.pop(0)
            assert (ended, set(loaded) - needed) == (code, set()), command


def test_the_store_and_all_that_is_known_load_no_torch():
    assert loaded_after(
        "import lrsearch.store, lrsearch.recommendation, lrsearch.study.recipe, lrsearch.api.advice"
    ) == {"sqlalchemy"}


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


def test_the_package_says_that_its_types_are_meant_for_others():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["lrsearch"]
    assert (Path(lrsearch.__file__).parent / "py.typed").is_file()


def test_no_public_name_is_hidden_by_a_module_of_its_name():
    """A module that is imported stands in its package under its name, in front of what loads later."""
    names = [one.name for one in pkgutil.iter_modules(lrsearch.__path__) if one.ispkg and one.name != "integrations"]
    packages = [importlib.import_module(f"lrsearch.{name}") for name in names]
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    for package in [lrsearch, *packages]:
        hidden = [name for name in getattr(package, "__all__", ()) if isinstance(getattr(package, name), ModuleType)]
        assert hidden == [], package.__name__
