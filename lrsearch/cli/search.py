"""search, sweep, compare, tasks: the commands that train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import (
    FOLDER,
    AsJson,
    Budget,
    CpusPerRun,
    DataDir,
    Functions,
    GpusPerRun,
    Horizon,
    Known,
    MaxHours,
    MaxSecondsPerRun,
    OptunaUrl,
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
from lrsearch.cli.settings import Settings, read_settings
from lrsearch.errors import UsageError, unknown

if TYPE_CHECKING:
    from lrsearch.compare.comparison import Comparison
    from lrsearch.runs import Task
    from lrsearch.study.result import SearchResult
    from lrsearch.tasks import Classification


@takes_program
def search(
    task: TaskOrProgram = None,
    budget: Budget = 12,
    engine: Annotated[str, typer.Option(help="Who runs the trials: optuna, or ray on this machine.")] = "optuna",
    store: StoreUrl = None,
    seed: Seed = 0,
    functions: Functions = "",
    settings: Settings = None,
    known: Known = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    horizon: Horizon = None,
    precision: Precision = "fp32",
    optuna: OptunaUrl = None,
    workers: Workers = None,
    max_seconds_per_run: MaxSecondsPerRun = None,
    max_hours: MaxHours = None,
    final_test: Annotated[bool, typer.Option("--final-test", help="Read the test set at the end, once.")] = False,
    *,
    program: Program,
) -> None:
    """Search the best LR policy for a task. The same command again goes on where it ended."""
    from lrsearch import api
    from lrsearch.cli.progress import ProgressPrinter
    from lrsearch.tasks import find_task

    if engine not in ("optuna", "ray"):
        raise UsageError(unknown("engine", engine, ["optuna", "ray"]))
    source = named_task(task, horizon, precision, program)
    quiet_optuna()
    given: dict[str, Any] = {
        "functions": split_names(functions),
        "settings": read_settings(settings),
        "known": known or (),
        "store": store,
        "seed": seed,
        "data_dir": data_dir,
        "out": out,
        "storage": optuna,
        "workers": workers,
        "max_seconds_per_run": max_seconds_per_run,
        "max_hours": max_hours,
    }
    with ProgressPrinter(budget, find_task(source).horizon) as printer:
        heard: dict[str, Any] = {"watch": printer.ended, "progress": printer.stepped, "lost": printer.lost}
        if engine == "ray":
            result = api.sweep(source, budget, checked=printer.checked, **heard, **given)
        else:
            result = api.search(source, budget, is_own_process=True, **heard, **given)
    test = None
    if final_test:
        test = api.final_test(result, store=store, data_dir=data_dir, out=out, is_own_process=True)
    _report(result, out, as_json, test)


@takes_program
def sweep(
    task: TaskOrProgram = None,
    budget: Budget = 12,
    address: Annotated[str, typer.Option(help="A Ray cluster's address, auto, or local to start one here.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Runs at a time", show_default="the cluster's CPUs")] = None,
    cpus_per_run: CpusPerRun = 1,
    gpus_per_run: GpusPerRun = None,
    max_seconds_per_run: MaxSecondsPerRun = None,
    max_hours: MaxHours = None,
    store: StoreUrl = None,
    seed: Seed = 0,
    functions: Functions = "",
    settings: Settings = None,
    known: Known = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    horizon: Horizon = None,
    precision: Precision = "fp32",
    optuna: OptunaUrl = None,
    *,
    program: Program,
) -> None:
    """Run the same search as a Ray Tune run, on this machine or on a cluster."""
    from lrsearch import api
    from lrsearch.cli.progress import ProgressPrinter
    from lrsearch.tasks import find_task

    source = named_task(task, horizon, precision, program)
    quiet_optuna()
    with ProgressPrinter(budget, find_task(source).horizon) as printer:
        result = api.sweep(
            source,
            budget,
            functions=split_names(functions),
            settings=read_settings(settings),
            known=known or (),
            store=store,
            seed=seed,
            data_dir=data_dir,
            out=out,
            storage=optuna,
            address=address,
            workers=workers,
            cpus_per_run=cpus_per_run,
            gpus_per_run=gpus_per_run,
            max_seconds_per_run=max_seconds_per_run,
            max_hours=max_hours,
            watch=printer.ended,
            progress=printer.stepped,
            lost=printer.lost,
            checked=printer.checked,
        )
    _report(result, out, as_json, None)


def compare(
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="A shipped task: see `lrsearch tasks`; none with --table.", show_default=False
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="Replay searches on a complete table of results instead: deepobs; with --rank also algoperf.",
            show_default=False,
        ),
    ] = None,
    ranking: Annotated[
        bool,
        typer.Option("--rank", help="With --table: hold its tasks out, and try what `lrs.rank` makes of the others."),
    ] = False,
    strategies: Annotated[str, typer.Option(help="funnel, tpe, random: which to compare.")] = "funnel,tpe,random",
    seeds: Annotated[
        int | None, typer.Option(help="Studies of each strategy", show_default="2; with --table 20 of each task")
    ] = None,
    budget: Budget = 4,
    store: StoreUrl = None,
    functions: Functions = "",
    settings: Settings = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    horizon: Horizon = None,
    precision: Precision = "fp32",
) -> None:
    """Compare ways to search: best validation score against training steps spent, probes included."""
    from lrsearch import api
    from lrsearch.cli.progress import log_line
    from lrsearch.tasks import find_task

    if (task is None) == (table is None):
        raise UsageError("compare takes a TASK to train, or a complete table with --table: one of the two")
    if ranking and (table is None or seeds is not None):
        raise UsageError("--rank goes with --table, and without --seeds: it has no seeds to draw")
    if table is not None:
        if ranking:
            _replay_ranking(table, data_dir, as_json)
        else:
            _replay(table, data_dir, seeds, as_json)
        return
    assert task is not None
    source = named_task(task, horizon, precision)
    quiet_optuna()
    comparison = api.compare(
        source,
        split_names(strategies),
        2 if seeds is None else seeds,
        budget,
        functions=split_names(functions),
        settings=read_settings(settings),
        store=store,
        data_dir=data_dir,
        out=out,
        watch=log_line,
        is_own_process=True,
    )
    _report_comparison(comparison, api.writable(out / f"compare-{find_task(source).name}"), as_json)


def _report_comparison(comparison: "Comparison", folder: Path, as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_compared import print_comparison
    from lrsearch.report.comparison import draw_comparison

    picture = draw_comparison(comparison, folder)
    if as_json:
        print_json(comparison.to_json() | {"pictures": [str(picture)]})
    else:
        print_comparison(comparison, str(picture))


def _replay_ranking(table: str, data_dir: Path | None, as_json: bool) -> None:
    from lrsearch import api
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_compared import print_ranked

    ranked = api.replay_ranking(table, _table_folder(table, data_dir))
    if as_json:
        print_json(ranked.to_json())
    else:
        print_ranked(ranked)


def _table_folder(table: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise UsageError(f"say where the table {table!r} lies with --data-dir")
    return data_dir


def _replay(table: str, data_dir: Path | None, seeds: int | None, as_json: bool) -> None:
    from lrsearch import api
    from lrsearch.cli.output import print_json
    from lrsearch.cli.progress import log_line
    from lrsearch.cli.show_compared import print_replay
    from lrsearch.compare.replay import SEEDS as REPLAY_SEEDS

    data_dir = _table_folder(table, data_dir)
    replay = api.replay(table, data_dir, REPLAY_SEEDS if seeds is None else seeds, log_line)
    if as_json:
        print_json(replay.to_json())
    else:
        print_replay(replay)


def tasks(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="A shipped task, to print its meta-features.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped tasks, or print a task's meta-features: what is known of it before any training."""
    if task is None:
        _list_tasks(as_json)
        return
    from lrsearch.tasks import Classification, find_task

    described = find_task(task)
    if isinstance(described, Classification):
        _show_classification(described, data_dir, as_json)
    else:
        _show_task(described, as_json)


def _show_task(task: "Task", as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_description

    if as_json:
        print_json({"task": task.name, **task.description})
    else:
        print_description(task.description)


def _show_classification(task: "Classification", data_dir: Path | None, as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_meta_features
    from lrsearch.tasks import features_of
    from lrsearch.training import Trainer
    from lrsearch.training.together import lockstep

    features = features_of(task, data_dir)
    if as_json:
        print_json({"task": task.name, **features.to_json()})
    else:
        print_meta_features(task.name, features, lockstep(Trainer(task, data_dir)))


def _list_tasks(as_json: bool) -> None:
    from rich.table import Table

    from lrsearch.cli.output import open_console, print_json
    from lrsearch.tasks import TASKS, Classification

    if as_json:
        print_json([task.description for task in TASKS.values()])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("task", "data set", "batch", "steps", "epochs", "optimizer"):
        table.add_column(column, justify="right" if column in ("batch", "steps", "epochs") else "left")
    for task in TASKS.values():
        values = task.description
        optimizer = task.optimizer.summary if isinstance(task, Classification) else values["optimizer"]["name"]
        epochs, batch = f"{task.horizon / task.epoch:.3g}", str(values["batch_size"])
        table.add_row(task.name, values["data"]["name"], batch, str(task.horizon), epochs, optimizer)
    open_console(soft_wrap=False).print(table)


def quiet_optuna() -> None:
    """Keep Optuna's own talk to warnings, in this process of ours."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _report(result: "SearchResult", out: Path, as_json: bool, test: dict[str, Any] | None) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_result
    from lrsearch.report.figures import draw_search

    pictures = [str(path) for path in draw_search(result, out / result.study)]
    if as_json:
        print_json(result.to_json() | {"test": test, "pictures": pictures})
    else:
        print_result(result, pictures, test)
