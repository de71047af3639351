"""The pages of docs are true: their commands and programs run, in a file of its own to run beside the README's."""

from pathlib import Path

import pytest

FRAMEWORKS = ("cluster.md", "huggingface.md", "lightning.md", "mlflow.md", "ray-tune.md", "timm.md")
"""Each of their programs imports a framework or starts a cluster, for seconds: they run with the adapters' tests."""
PAGES = [
    pytest.param(page, marks=[pytest.mark.adapters] if page.name in FRAMEWORKS else [], id=page.name)
    for page in sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_in_order(run_page, page):
    run_page(page.read_text())
