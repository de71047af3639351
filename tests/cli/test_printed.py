"""What users write and data name comes out as it stands: in the help, in tables, in errors. Brackets are no markup."""

import ast
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.table import Table

from lrsearch.cli.main import app
from lrsearch.cli.output import labelled, open_console
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX, NSTEP
from lrsearch.store import open_store
from lrsearch.tasks import find_task

ROOT = Path(__file__).parents[2]
ODD = "[bold]x[/bold] [/] :cat: [505, 1168]"
LISTED = NSTEP(k0=0.1, gamma=0.5, l=[505, 1168])


def leaves(command, path=()):
    """(path, command) of the program, its groups and its commands."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def squeezed(text):
    """Text without the help's frames, line breaks and widths of columns."""
    return re.sub(r"[\s│]+", " ", text)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_prints_all_of_its_texts_and_every_default(typed, path):
    printed = squeezed(typed(*path, "--help").out)
    command = COMMANDS[path]
    assert squeezed(command.help).strip() in printed
    for one in command.params:
        assert squeezed(one.help or "").strip() in printed
        if isinstance(one.show_default, str):
            assert f"[default: ({one.show_default})]" in printed, one.name
            named = re.findall(r"--[\w-]+", one.show_default)
            assert {*named} <= {name for other in command.params for name in other.opts}, one.name
        elif one.show_default and one.default not in (None, "", False):
            assert f"[default: {one.default}]" in printed, one.name


def test_a_default_is_never_written_by_hand_into_a_help_text():
    assert [one.name for command in COMMANDS.values() for one in command.params if "default" in (one.help or "")] == []


def test_what_is_printed_is_never_read_as_markup():
    stream = StringIO()
    console = open_console()
    console.file = stream
    table = Table(title=ODD, box=None)
    table.add_column(ODD)
    table.add_row(ODD)
    console.print(ODD, labelled(ODD, ODD), table)
    assert stream.getvalue().count(ODD) == 6


def test_every_console_is_made_in_one_place_and_no_text_has_markup():
    """Rich reads markup unless it is told not to; and where it is told so, escapes would be printed."""
    for path in sorted((ROOT / "lrsearch").rglob("*.py")):
        check_markup(path)


def check_markup(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "rich.markup", path
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
            assert name != "from_markup", path
            assert name != "Console" or path.name == "output.py", path
            assert name not in ("Console", "TextColumn") or given["markup"] is False, path
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "cli" in path.parts:
            assert not re.search(r"\[(bold|dim|italic|red|green|yellow|blue|/\w*)\]", node.value), path


@pytest.fixture
def store(tmp_path):
    """Runs of a task with an odd name: one that ended, one that failed with an odd error."""
    path = tmp_path / "known.db"
    task = replace(find_task("digits-mlp"), name=ODD)
    with open_store(str(path)) as opened:
        for policy, score in ((LISTED, 0.91), (FIX(k0=0.01), 0.88)):
            opened.record(
                RunSpec(task, policy, task.horizon, 0),
                Run(state=RunState.FINISHED, steps=task.horizon, seconds=1.0, score=score, loss=0.3),
            )
        failed = RunSpec(task, FIX(k0=1.0), task.horizon, 0)
        opened.record(failed, Run(state=RunState.FAILED, steps=1, seconds=1.0, error=f"in {ODD}"))
    return str(path), failed.key


def test_names_and_policies_of_a_store_are_printed_as_they_are(typed, store):
    path, failed = store
    for words, said in (
        (("store", "runs"), [ODD, str(LISTED)]),
        (("store", "stats"), [ODD]),
        (("store", "show", failed), [f"in {ODD}"]),
        (("recommend", ODD), [ODD, str(LISTED)]),
        (("rank", ODD), [ODD, str(LISTED)]),
        (("rank", "digits-cnn"), [ODD]),
    ):
        ended = typed(*words, "--store", path)
        assert ended.code == 0, ended.err
        assert not [text for text in said if text not in ended.out], words


def test_a_table_with_an_odd_name_is_trained_and_printed_under_it(typed, tmp_path):
    name = ODD.replace("/", "")
    table = f'task = "digits-mlp"\nhorizon = 32\nseeds = 1\n[[policies]]\npolicy = "{LISTED}"\n'
    (tmp_path / f"{name}.toml").write_text(table)
    ended = typed("study", "run", f"{name}.toml", "--out", "[red]", "--workers", "1")
    assert ended.code == 0, ended.err
    assert f"{name}: digits-mlp" in ended.out
    assert f"[red]/{name}/" in ended.out.replace("\n", "")


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", ":cat:"])
@pytest.mark.parametrize(
    "words",
    [
        ("{}",),
        ("policy", "{}"),
        ("search", "--{}"),
        ("search", "{}"),
        ("sweep", "{}"),
        ("prune", "{}"),
        ("tasks", "{}"),
        ("recommend", "{}"),
        ("rank", "{}"),
        ("rank", "mnist-lenet", "--goal", "{}"),
        ("recipe", "{}"),
        ("range-test", "{}"),
        ("search", "digits-mlp", "--engine", "{}"),
        ("search", "digits-mlp", "--functions", "{}"),
        ("compare", "{}"),
        ("compare", "--table", "{}", "--data-dir", "."),
        ("explain", "x", "--store", "{}.db"),
        ("policy", "show", "{}"),
        ("policy", "plot", "{}"),
        ("policy", "plot", "FIX(k0=1)", "-o", "{}"),
        ("policy", "diff", "FIX(k0=1)", "{}"),
        ("policy", "convert", "{}"),
        ("policy", "convert", "x", "--from", "{}"),
        ("verify", "{}", "--task", "digits-mlp", "--target", "0.9", "--budget", "16"),
        ("verify", "FIX(k0=1)", "--task", "{}", "--target", "0.9", "--budget", "16"),
        ("verify", "FIX(k0=1)", "--task", "digits-mlp", "--target", "{}", "--budget", "16"),
        ("store", "runs", "--store", "{}.db"),
        ("store", "merge", "{}.db"),
        ("store", "import", "{}.json"),
        ("study", "run", "{}.toml"),
        ("dashboard", "--out", "{}"),
        ("dashboard", "--optuna", "sqlite:///{}"),
    ],
    ids=" ".join,
)
def test_an_error_repeats_what_was_given_as_it_was_given(typed, words, text):
    ended = typed(*(word.format(text) for word in words))
    assert ended.code in (1, 2)
    assert text in ended.err
