"""README is true: its commands and programs run, in its order, in one folder, as a new user would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(sh|python)\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)


MAKE = re.compile(r"^make (\w+)", re.MULTILINE)


def test_there_are_commands_and_programs_in_the_readme():
    assert {language for language, _ in blocks("README.md")} == {"sh", "python"}


def test_nothing_is_left_to_fill_in_and_every_linked_file_is_there():
    for page, text in PAGES.items():
        assert not re.findall(r"@[A-Z_]+@", text)
        folder = ROOT if page == "README.md" else ROOT / "docs"
        linked = re.findall(r"\]\(([^)#:]+)\)", text)
        assert linked
        assert not [name for name in linked if not (folder / name).exists()]


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
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_in_order(tmp_path, page):
    """`make` itself is left out: it makes an environment, and is what runs this test."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, text in blocks(page):
        if MAKE.search(text):
            continue
        program = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-W", "ignore", "-c", text]
        ended = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False,
                               env={**os.environ, "PATH": path})
        assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
