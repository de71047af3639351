"""Commands: how a text becomes arguments, and what is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.errors import UsageError
from lrsearch.training.command import PLACES, Command
from lrsearch.training.program import program

GIVEN = {"name": "mine", "horizon": 100, "minimize": "val_loss"}
WORDS = st.text(string.ascii_letters + " ,()[]=.{}$~&|", min_size=1)


@given(WORDS)
def test_a_value_stays_in_the_one_argument_that_it_is_put_into(value):
    values = dict.fromkeys(PLACES, value)
    assert Command.of("echo -p={policy} {seed} {{lrs}}").fill(values) == ("echo", f"-p={value}", value, "{lrs}")


@given(st.lists(WORDS))
def test_a_list_is_taken_as_it_is(more):
    more = [part.replace("{", "(") for part in more]
    assert Command.of(["echo", *more]).fill({}) == ("echo", *more)


@pytest.mark.parametrize(
    ("command", "match"),
    [
        ("pythn train.py", "no program 'pythn'"),
        ("/nowhere/python x", "no program"),
        ("", "a program with its arguments"),
        ([], "a program with its arguments"),
        (["echo", 3], "all texts"),
        (3, "a text, or a list"),
        ("echo 'a", "cannot be split"),
        ("echo a && echo b", "'&&' is for one: write bash -c"),
        ("echo $X", "bash -c"),
        ("echo ~/data", "bash -c"),
        ("echo --data=$HOME/x", "bash -c"),
        ("echo a | cat", "bash -c"),
        ("echo {polcy}", r"did you mean '\{policy\}'"),
        ("echo {LRS}", r"did you mean '\{lrs\}'"),
        ("echo {setting.x}", "no place"),
    ],
)
def test_what_is_no_command_is_refused_with_the_way_out(command, match):
    with pytest.raises(UsageError, match=match):
        Command.of(command)


@pytest.mark.parametrize(
    "command",
    [
        "bash -c 'a && b $X > c'",
        "awk '{ print $1 } END { print n }' {lrs}",
        "echo a~b 5$ {policy_file}",
        "echo {{polcy}}",
    ],
)
def test_similar_texts_are_no_shell_syntax(command):
    assert len(Command.of(command).argv) > 1


def test_a_file_that_cannot_be_run_says_how_it_is(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("print(1)")
    with pytest.raises(UsageError, match=r"is not executable: run it as 'python"):
        Command.of(str(script))
    script.chmod(0o755)
    assert Command.of(str(script)).argv == (str(script),)


def test_a_setting_that_the_task_has_none_of_is_refused_before_anything_runs():
    made = program("echo {settings.width}", **GIVEN, settings={"width": 3})
    assert made.command.fill({"settings.width": 3}) == ("echo", "3")
    with pytest.raises(UsageError, match=r"\{settings.widht\}.*settings of task 'mine' are: width"):
        program("echo {settings.widht}", **GIVEN, settings={"width": 3}).open()


def test_the_digest_follows_the_arguments_and_the_files_they_name(tmp_path):
    script, other = tmp_path / "train.awk", tmp_path / "other"
    script.write_text("a")
    first = program(["awk", "-f", str(script)], **GIVEN, version="auto")
    assert first.digest == program(["awk", "-f", str(script)], **GIVEN).digest
    assert first.task.version == f"auto {first.digest}"
    assert first.digest != program(["awk", "-f", str(other)], **GIVEN).digest
    before = first.digest
    script.write_text("b")
    changed = program(["awk", "-f", str(script)], **GIVEN, version="auto")
    assert changed.digest != before
    assert changed.task.key != first.task.key
