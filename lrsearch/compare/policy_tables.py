"""Tables of policies: every run of a task's policies as a row."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lrsearch.errors import DataError, UsageError, given
from lrsearch.runs import task_key
from lrsearch.schedules import parse
from lrsearch.store.bundles import bundle_lines

if TYPE_CHECKING:
    import pandas as pd

LRPOLICY_TAB = "lrpolicy-tab"
CHECKOUT = Path(__file__).parents[2] / "studies" / LRPOLICY_TAB
"""The folder of the table in a checkout of the project."""
SUFFIX = ".jsonl.gz"


@overload
def load_table(source: str | Path = LRPOLICY_TAB, *, curves: Literal[False] = False) -> "pd.DataFrame": ...
@overload
def load_table(source: str | Path = LRPOLICY_TAB, *, curves: Literal[True]) -> "tuple[pd.DataFrame, pd.DataFrame]": ...
def load_table(source: str | Path = LRPOLICY_TAB, *, curves: bool = False) -> Any:
    """Load a table of policies: LRPolicy-Tab of this checkout, or of a path.

    Args:
        source: "lrpolicy-tab", for the files of this checkout; a folder of `.jsonl.gz` files; or one such file.
        curves: whether to return the curves too.

    Returns:
        A DataFrame with a row a run: `task`, `policy` (its text), `form`, `horizon`, `share` (of the task's horizon),
        `seed`, `state` ("finished", "diverged" ...), `metric`, `direction`, `score` (of the validation split; missing
        where the run did not finish), `val_loss`, `test_score`, `steps`, `seconds`, `key`. With `curves` also a
        DataFrame with a row a point: `key`, `series`, `step`, `value`.

    Raises:
        UsageError: for a source that is no name and no path.
        DataError: for files that are missing, or no tables of policies.
        StoreError: for files that were cut or changed.
    """
    import pandas as pd

    runs: list[dict[str, Any]] = []
    points: list[tuple[str, str, int, float]] = []
    for file in _files(source):
        try:
            read = list(bundle_lines(file))
            tasks = {task_key(line["task"]): line["task"] for line in read if "task" in line}
            own = [line["run"] for line in read if "run" in line]
            runs += [_row(run, tasks[run["task"]]) for run in own]
            if curves:
                points += [
                    (run["key"], name, step, float(value))
                    for run in own
                    for name, curve in run["curves"].items()
                    for step, value in curve
                ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{file} is no table of policies: {type(error).__name__}: {error}") from None
    table = pd.DataFrame(runs)
    return (table, pd.DataFrame(points, columns=["key", "series", "step", "value"])) if curves else table


def _row(run: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    metric, scores = run["metric"], run["details"].get("scores") or {}
    tested = "test_top1" if metric == "top1" else metric.replace("val_", "test_")
    return {
        "task": task["name"],
        "policy": run["policy"],
        "form": parse(run["policy"]).form,
        "horizon": run["horizon"],
        "share": run["horizon"] / task["horizon"],
        "seed": run["seed"],
        "state": run["state"],
        "metric": metric,
        "direction": run["direction"],
        "score": run["score"],
        "val_loss": run["loss"] if metric == "top1" else run["score"],
        "test_score": scores.get(tested),
        "steps": run["steps"],
        "seconds": run["seconds"],
        "key": run["key"],
    }


def _files(source: str | Path) -> list[Path]:
    """The files of a table.

    Raises:
        UsageError: for a source that is no name and no path.
        DataError: if there are none.
    """
    if not isinstance(source, str | Path):
        raise UsageError(f"a table is {LRPOLICY_TAB!r}, or the path of its files, got {given(source)}")
    folder = CHECKOUT if source == LRPOLICY_TAB else Path(source)
    files = [folder] if folder.is_file() else sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        hint = ": give the path of studies/lrpolicy-tab in a checkout" if source == LRPOLICY_TAB else ""
        raise DataError(f"no {SUFFIX} files in {folder}{hint}")
    return files
