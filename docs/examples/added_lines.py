"""Write the difference of each program, plain and searched, to its `added.diff`, and the added lines to the page."""

import difflib
import re
from pathlib import Path

EXAMPLES = Path(__file__).parent


def difference(folder: Path) -> str:
    """The unified difference of a folder's `plain.py` and `searched.py`."""
    plain, searched = ((folder / name).read_text().splitlines(keepends=True) for name in ("plain.py", "searched.py"))
    return "".join(difflib.unified_diff(plain, searched, "plain.py", "searched.py", n=2))


def added_lines(folder: Path) -> int:
    """How many lines the searched program has that the plain one has not; empty lines count."""
    return sum(line.startswith("+") and not line.startswith("+++") for line in difference(folder).splitlines())


def page(text: str, counts: dict[str, int]) -> str:
    """The text of the page with the number of added lines of each program."""
    for name, count in counts.items():
        text = re.sub(rf"\[[^]]*\]\({name}/added\.diff\)", f"[{count}]({name}/added.diff)", text)
    return text


if __name__ == "__main__":
    folders = sorted(path.parent for path in EXAMPLES.glob("*/plain.py"))
    for folder in folders:
        (folder / "added.diff").write_text(difference(folder))
    counts = {folder.name: added_lines(folder) for folder in folders}
    readme = EXAMPLES / "README.md"
    readme.write_text(page(readme.read_text(), counts))
    for name, count in counts.items():
        print(f"{name}: {count} added lines")
