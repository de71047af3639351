"""The options that several commands have, and what is made of them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.program import Program
from lrsearch.errors import UsageError

if TYPE_CHECKING:
    from lrsearch.tasks import Classification
    from lrsearch.training.functions import FunctionSource
    from lrsearch.training.program import ProgramSource

FOLDER = Path("lrsearch-runs")
STORE_HELP = "Knowledge store: a file, sqlite:///FILE or postgresql+psycopg://..."

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="A shipped task: see `lrsearch tasks`; or a function of your own: train.py:name."
    ),
]
TaskOrProgram = Annotated[
    str | None,
    typer.Argument(
        metavar="TASK",
        show_default=False,
        help="A shipped task: see `lrsearch tasks`; a function of your own: train.py:name; none with --command.",
    ),
]
Budget = Annotated[float, typer.Option(help="Full-run equivalents (FRE) that everything may cost: a hard cap.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", envvar="LRSEARCH_STORE", help=STORE_HELP, show_default="store.db in --out")
]
Seed = Annotated[int, typer.Option(help="The study's seed.")]
Functions = Annotated[
    str,
    typer.Option(
        help="LR functions to search, as TRI,SINEXP, or whole policies",
        show_default="LRBench's table and the strong default",
    ),
]
Known = Annotated[
    list[str] | None,
    typer.Option(metavar="POLICY", help="A policy of your own to try first; may be given again.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Out = Annotated[Path, typer.Option(help="Folder for pictures, weights, store and Optuna study.")]
DataDir = Annotated[
    Path | None,
    typer.Option(envvar="LRSEARCH_DATA", help="Where the data set lies", show_default="a cache, filled by download"),
]
Horizon = Annotated[int | None, typer.Option(help="Steps of a full run", show_default="the task's")]
Precision = Annotated[str, typer.Option(help="fp32, or bf16: faster where the processor has it.")]
OptunaUrl = Annotated[str | None, typer.Option(help="Optuna storage URL", show_default="optuna.db in --out")]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that train, one thread each",
        show_default="the cores, at most 4; 1 for small models and on a GPU",
    ),
]
MaxSecondsPerRun = Annotated[
    float | None,
    typer.Option(
        help="End a run that takes longer; it is tried once more, then it has failed.", show_default="no limit"
    ),
]
MaxHours = Annotated[
    float | None,
    typer.Option(help="End by then with what there is; the same command goes on.", show_default="no limit"),
]
CpusPerRun = Annotated[float, typer.Option(help="CPUs of a run on a Ray cluster: a part of one, or several.")]
GpusPerRun = Annotated[
    float | None,
    typer.Option(
        help="GPUs of a run on a Ray cluster: a part of one, or several", show_default="a quarter or more, if there are"
    ),
]


def named_task(
    name: str | None, horizon: int | None, precision: str, program: Program | None = None
) -> "Classification | FunctionSource | ProgramSource":
    """Find a shipped task, a function in a file (`train.py:name`) or a program, and change what was asked for."""
    from lrsearch.tasks import Classification, find_task

    described = program.source(horizon) if program is not None else None
    if program is not None and described is None:
        program.require_none("describes a program: give its --command as well")
    if (described is None) == (name is None):
        raise UsageError(
            "give a TASK, a function of your own as train.py:name, or a program with --command: one of the three"
        )
    if described is not None:
        if precision != "fp32":
            raise UsageError("--precision is of shipped tasks: a program decides itself in what it computes")
        return described
    assert name is not None
    if is_file(name):
        from lrsearch.training.function_places import load_function
        from lrsearch.training.functions import function_source

        if precision != "fp32":
            raise UsageError(
                "--precision is of shipped tasks: a function of your own decides itself in what it computes"
            )
        source = function_source(load_function(name))
        return source if horizon is None else source.with_task(source.task.with_horizon(horizon))
    task = find_task(name) if horizon is None else find_task(name).with_horizon(horizon)
    if isinstance(task, Classification):
        return replace(task, precision=precision)
    if precision != "fp32":
        raise UsageError(f"--precision is of classifications: the training of {name} computes in float32")
    from lrsearch.training.user_source import user_source

    return user_source(task)


def is_file(name: str) -> bool:
    """Whether a task's name is a file of one's own, with or without the function in it."""
    return name.partition(":")[0].endswith(".py")


def split_names(text: str) -> list[str]:
    """Split at the commas that are outside of brackets: names, or policies with parameters."""
    depth, names = 0, [""]
    for character in text:
        depth += (character in "([") - (character in ")]")
        names = [*names, ""] if character == "," and depth == 0 else [*names[:-1], names[-1] + character]
    return [name.strip() for name in names if name.strip()]
