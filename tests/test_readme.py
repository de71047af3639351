"""README is true: its commands and programs run, in its order, in one folder, as a new user would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"^make (\w+)", re.MULTILINE)


def test_there_are_commands_and_programs_in_the_readme():
    assert {language for language, _ in BLOCKS} == {"sh", "python"}


def test_nothing_is_left_to_fill_in_and_every_linked_file_is_there():
    assert not re.findall(r"@[A-Z_]+@", README)
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert linked
    assert not [name for name in linked if not (ROOT / name).exists()]


def test_every_make_target_of_the_readme_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(MAKE.findall(README))
    assert {"search", "test"} <= named <= targets


def test_every_command_of_the_program_is_in_the_readme():
    from lrsearch.cli.main import app

    names = {(one.name or one.callback.__name__) for one in app.registered_commands}
    names |= {one.name for one in app.registered_groups}
    assert not [name for name in names if f"lrsearch {name}" not in README]


@pytest.mark.slow
@pytest.mark.ray
def test_the_blocks_of_the_readme_run_in_order(tmp_path):
    """`make` itself is left out: it makes an environment, and is what runs this test."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, text in BLOCKS:
        if MAKE.search(text):
            continue
        program = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-W", "ignore", "-c", text]
        ended = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False,
                               env={**os.environ, "PATH": path})
        assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
