"""Counts agree with their nouns, wherever lrsearch prints one."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from lrsearch.words import counted

ROOT = Path(__file__).parent.parent
NOUNS = {
    "runs",
    "steps",
    "seeds",
    "updates",
    "epochs",
    "samples",
    "classes",
    "parameters",
    "points",
    "policies",
    "studies",
    "tasks",
    "pairs",
    "tests",
    "lines",
    "reports",
    "processes",
    "searches",
    "trials",
    "candidates",
    "probes",
    "cycles",
    "decades",
    "times",
    "functions",
    "values",
    "files",
    "workers",
    "records",
    "settings",
    "bundles",
}
AFTER = re.compile(rf" (?:(?!of )[A-Za-z-]*[A-Za-rt-z] )?(?:{'|'.join(sorted(NOUNS))})\b")
"""A noun for many, with an adjective at most: what ends in s before it is a verb."""
NEVER_ONE = {
    "{len(policies)} policies need": "several policies, or the text is no list",
    "of {len(policies)} policies, counted": "two or more",
    "a list of 2 to {most} policies": "a limit",
    "{len(matches)} studies are called": "a single match is the answer",
    "{higher:g} times higher": "a factor",
    "the best of {tried} decades": "the fewest that are read is three",
    "says {expected} samples": "a pair of numbers",
    "{len(STEPS)} steps": "a constant",
    "{self._updates} optimizer updates": "it warns of two or more",
    "The {len(functions)} LR functions": "there are many",
    "cycles the momentum": "a verb",
    ".value} steps a scheduler": "a verb",
    "searches along its own loss": "a verb",
}
"""Places where the number before such a noun is no count, or never 1, and why."""


def counts():
    """Every formatted value of the package that is followed by a noun for many: (place, text of the whole string)."""
    for path in sorted((ROOT / "lrsearch").rglob("*.py")):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for value, after in pairwise(parts):
                is_before = isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)
                if is_before and is_count(value, after.value):
                    yield f"{path.relative_to(ROOT)}:{value.lineno}", ast.get_source_segment(source, node)


def is_count(value, after):
    is_constant = isinstance(value.value, ast.Name) and value.value.id.isupper()
    is_measure = value.format_spec is not None and "." in ast.unparse(value.format_spec)
    is_counted = isinstance(value.value, ast.Call) and ast.unparse(value.value.func) == "counted"
    return bool(AFTER.match(after)) and not (is_constant or is_measure or is_counted)


def test_every_count_of_the_package_agrees_with_its_noun():
    wrong = [place for place, text in counts() if not any(known in text for known in NEVER_ONE)]
    assert not wrong, f"write counted(number, noun) there, or say in NEVER_ONE why it is never 1: {wrong}"


def test_no_exception_is_left_that_nothing_needs():
    texts = [text for _, text in counts()]
    assert not [known for known in NEVER_ONE if not any(known in text for text in texts)]


@pytest.mark.parametrize(
    ("number", "one", "many", "said"),
    [
        (0, "seed", None, "0 seeds"),
        (1, "seed", None, "1 seed"),
        (2, "seed", None, "2 seeds"),
        (1, "study", "studies", "1 study"),
        (3, "class", "classes", "3 classes"),
        (1.0, "epoch", None, "1 epoch"),
    ],
)
def test_a_noun_is_in_the_singular_for_one_alone(number, one, many, said):
    assert counted(number, one, many, form="g") == said
