"""prune, explain: the space of learning-rate policies that is worth searching, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import (
    FOLDER,
    AsJson,
    DataDir,
    Functions,
    Horizon,
    MaxHours,
    MaxSecondsPerRun,
    Out,
    Precision,
    Seed,
    StoreUrl,
    TaskOrProgram,
    Workers,
    named_task,
    split_names,
)
from lrsearch.cli.program import Program, takes_program
from lrsearch.cli.search import quiet_optuna
from lrsearch.cli.settings import Settings, read_settings

if TYPE_CHECKING:
    from lrsearch.study.explanation import Explanation
    from lrsearch.tasks.catalogue import TaskLike


@takes_program
def prune(
    task: TaskOrProgram = None,
    budget: Annotated[float, typer.Option(help="FRE of the search; at most a fifth is for probes.")] = 12,
    stored: Annotated[bool, typer.Option("--stored", help="Train nothing: read the task's runs in the store.")] = False,
    store: StoreUrl = None,
    seed: Seed = 0,
    functions: Functions = "",
    settings: Settings = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    horizon: Horizon = None,
    precision: Precision = "fp32",
    workers: Workers = None,
    max_seconds_per_run: MaxSecondsPerRun = None,
    max_hours: MaxHours = None,
    *,
    program: Program,
) -> None:
    """Shrink a task's space by short runs: those that a search begins with, which it then takes from the store."""
    from lrsearch import api

    source = named_task(task, horizon, precision, program)
    quiet_optuna()
    given: dict[str, Any] = {
        "functions": split_names(functions),
        "settings": read_settings(settings),
        "store": store,
        "seed": seed,
        "out": out,
    }
    if stored:
        explanation = api.prune(source, budget, stored=True, **given)
    else:
        limits = {"max_seconds_per_run": max_seconds_per_run, "max_hours": max_hours}
        explanation = _train(source, budget, given | limits | {"workers": workers, "data_dir": data_dir})
    _report(explanation, as_json)


def explain(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study's name, or the beginning of its name or key: see `lrsearch store studies`."
        ),
    ],
    store: StoreUrl = None,
    out: Out = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show why a study's space is what it is: each bound, the runs behind it, and what speaks against it."""
    from lrsearch import api
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_explanation
    from lrsearch.report.explanation import sentences

    explanation = api.explain(study, store=store, out=out)
    if as_json:
        print_json(explanation.to_json() | {"sentences": sentences(explanation)})
    else:
        print_explanation(explanation)


def _report(explanation: "Explanation", as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_pruned

    if as_json:
        print_json(explanation.to_json())
    else:
        print_pruned(explanation)


def _train(task: "TaskLike", budget: float, given: dict[str, Any]) -> "Explanation":
    """Train the probes as `search` does."""
    from lrsearch import api
    from lrsearch.cli.progress import ProgressPrinter
    from lrsearch.study.rules import PROBING
    from lrsearch.tasks import find_task

    with ProgressPrinter(PROBING.share * budget, find_task(task).horizon) as printer:
        return api.prune(
            task, budget, watch=printer.ended, progress=printer.stepped, lost=printer.lost, is_own_process=True, **given
        )
