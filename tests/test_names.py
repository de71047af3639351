"""The names of the package are its field's words, and each stands for one thing."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "lrsearch"
TREES = {path.relative_to(PACKAGE): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
DIALECT = {
    *("asked", "carried", "caution", "centre", "centres", "company", "crew", "desk", "doubt", "escape", "escapes"),
    *("fair", "found", "fused", "house", "knock", "land", "look", "looks", "portrait", "portray", "rate", "rates"),
    *("room", "rooms", "stranger", "strangers", "talk", "telling", "told", "twin", "twins"),
}
"""Words that the project once had for a meta-feature, an executor, a learning rate and the like."""
KEPT = {
    ("study/decision.py", "best_found"): "the best policy beside the default: the documented field of a result",
    ("study/result.py", "best_found"): "the same",
    ("report/best_trial.py", "best_found"): "the same",
    ("report/summary.py", "best_found"): "the same",
    ("report/best_trial.py", "BEST_FOUND"): "the user attribute that has it",
    ("report/explanation.py", "_learning_rate"): "the field's word",
    ("report/markdown.py", "escape"): "of HTML",
    ("report/panels.py", "escape"): "of HTML",
}
"""Words in these files alone, and why they stay; and the older names that warn until they go."""
OLDER = {
    ("api/optuna_studies.py", "centre"),
    ("heuristics/advice.py", "rate"),
    ("recommendation/advice.py", "carried"),
    ("recommendation/advice.py", "doubt"),
    ("recommendation/advice.py", "own_centre"),
    ("runs/run.py", "rates"),
    ("study/recipe.py", "found"),
}


def names(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines, assigns or reads of an object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_names_are_words_of_the_field():
    odd = {(str(path), name) for path, tree in TREES.items() for name in names(tree) if words(name) & DIALECT}
    assert odd == KEPT.keys() | OLDER


def test_no_file_is_named_by_another_word():
    assert [str(path) for path in TREES if words(path.stem) & DIALECT] == []


def test_no_two_classes_have_one_name():
    classes = Counter(node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, times in classes.items() if times > 1] == []


def test_a_docstring_says_what_is_returned():
    """Not "Give ...", which says that something is."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    given = [
        (str(path), getattr(node, "name", ""))
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, documented) and (ast.get_docstring(node) or "").startswith("Give ")
    ]
    assert given == []
