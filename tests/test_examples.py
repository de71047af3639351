"""The six example programs run, plain and searched, and each search costs at most six added lines."""

import importlib.util
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lrsearch.runs import RunState
from lrsearch.store import Store
from lrsearch.training.function_places import load_function

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PAGE = EXAMPLES / "README.md"
MOST_ADDED = 6
SHORTER = 4
"""The horizon of a search here is that of the example over so much."""


@dataclass(frozen=True)
class Example:
    """A program of docs/examples; its name is its folder's.

    Args:
        name: the folder.
        command: the options of a search by command; a function's search needs none.
        budget: of the search: the page's is 4, and fewer runs show here that each is under its policy.
    """

    name: str
    command: tuple[str, ...] = ()
    budget: str = "2.5"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return EXAMPLES / self.name

    def words(self) -> list[str]:
        """What names it in `lrsearch search`, over a shorter horizon."""
        searched = str(self.folder / "searched.py")
        if self.command:
            return ["--command", f"{sys.executable} {searched}", *self.command, "--budget", self.budget]
        horizon = load_function(searched).task.horizon // SHORTER
        return [searched, "--horizon", str(horizon), "--budget", self.budget]


EXAMPLE = [
    Example("mnist"),
    Example("nanogpt", ("--name", "nanogpt", "--horizon", "80", "--minimize", "val_loss")),
    Example("torchvision"),
    Example("timm"),
    Example("glue"),
    Example("lightning"),
]
all_six = pytest.mark.parametrize("example", EXAMPLE, ids=lambda example: example.name)
pytestmark = [  # a program as users have it may hear its own library's warnings
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error::lrsearch.SchedulerWarning"),
    pytest.mark.filterwarnings("ignore:.* takes the place of:lrsearch.SchedulerWarning"),  # a LightningModule's own
]


@pytest.fixture(scope="module")
def added():
    """docs/examples/added_lines.py as a module."""
    spec = importlib.util.spec_from_file_location("added_lines", EXAMPLES / "added_lines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_folder_of_the_examples_is_among_the_six():
    assert {path.parent.name for path in EXAMPLES.glob("*/plain.py")} == {example.name for example in EXAMPLE}


@all_six
def test_a_search_costs_at_most_six_added_lines(added, example):
    assert added.added_lines(example.folder) <= MOST_ADDED
    written = (example.folder / "added.diff").read_text()
    assert written == added.difference(example.folder), "run python docs/examples/added_lines.py"


@all_six
def test_the_page_of_the_examples_says_how_many_lines_each_needs(added, example):
    name, lines = example.name, added.added_lines(example.folder)
    assert f"| [{name}]({name}/plain.py) | [{lines}]({name}/added.diff) |" in PAGE.read_text()


def test_every_file_that_the_page_links_is_there():
    linked = re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text())
    assert linked
    assert not [name for name in linked if not (EXAMPLES / name).exists()]


@pytest.mark.slow
def test_the_programs_of_the_page_run(monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES / "mnist")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    for program in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(program, {})  # noqa: S102
    assert capsys.readouterr().out.endswith(" yes\n")


@pytest.mark.slow
@all_six
def test_a_plain_program_trains(example, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["plain.py"])
    runpy.run_path(str(example.folder / "plain.py"), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.slow
@all_six
def test_a_search_has_a_verdict_and_every_run_was_under_its_policy(example, typed, tmp_path):
    ended = typed("search", *example.words(), "--out", str(tmp_path), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["verdict"]
    with Store(ended.json["store"]) as store:
        runs = [stored.run for stored in store.runs()]
    assert runs
    assert {run.applied for run in runs} == {"yes"}
    assert {run.state for run in runs} <= {RunState.FINISHED, RunState.DIVERGED}
