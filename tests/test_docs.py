"""The pages of docs are true: their commands and programs run, in a file of its own to run beside the README's."""

from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(run_page, page):
    run_page(page.read_text())
