"""README is true: its commands and programs run, and what it links is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
MAKE = re.compile(r"^make (\w+)", re.MULTILINE)


def test_there_are_commands_and_programs_in_the_readme():
    assert set(re.findall(r"^```(sh|python)\n", README, re.MULTILINE)) == {"sh", "python"}


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
def test_the_blocks_of_the_readme_run_in_order(run_page):
    run_page(README)
