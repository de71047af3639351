"""study run: named studies in TOML files; study ask, tell, release, show: by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli import ask_tell
from lrsearch.cli.options import (
    FOLDER,
    AsJson,
    CpusPerRun,
    DataDir,
    GpusPerRun,
    MaxHours,
    MaxSecondsPerRun,
    Out,
    StoreUrl,
    Workers,
)

if TYPE_CHECKING:
    from lrsearch.compare.reproduction import Results
    from lrsearch.runs import Run, RunSpec

app = typer.Typer(help="Run named studies, or ask and tell one by hand.", no_args_is_help=True)
for command in (ask_tell.ask, ask_tell.tell, ask_tell.release, ask_tell.show):
    app.command()(command)


@app.callback()
def study() -> None:
    """Run named studies, or ask and tell one by hand."""


@app.command("run")
def run_study(
    file: Annotated[Path, typer.Argument(help="A TOML file: a table of policies, such as those in studies/.")],
    workers: Workers = None,
    max_seconds_per_run: MaxSecondsPerRun = None,
    max_hours: MaxHours = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of each policy", show_default="the file's")] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Steps of a run; policies are stretched to it", show_default="the file's")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Train on a Ray cluster: its address, auto, or local.", show_default="no cluster")
    ] = None,
    cpus_per_run: CpusPerRun = 1,
    gpus_per_run: GpusPerRun = None,
    store: StoreUrl = None,
    data_dir: DataDir = None,
    out: Out = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Train a table of policies, each with every seed. The same command again goes on where it ended."""
    from lrsearch import api
    from lrsearch.cli.progress import log_line, log_lost, print_checks
    from lrsearch.study.file import read_study

    table = read_study(file, seeds=seeds, horizon=horizon)
    ended = 0

    def tell(spec: "RunSpec", run: "Run") -> None:
        nonlocal ended
        ended += 1
        outcome = str(run.state) if run.score is None else spec.task.objective.text(run.score)
        log_line(f"{ended:4}  seed {spec.seed}  {outcome:>11}  {run.seconds:5.0f} s  {spec.policy}")

    results = api.run_table(
        table,
        workers=workers,
        max_seconds_per_run=max_seconds_per_run,
        max_hours=max_hours,
        store=store,
        data_dir=data_dir,
        out=out,
        watch=tell,
        lost=log_lost,
        address=address,
        cpus_per_run=cpus_per_run,
        gpus_per_run=gpus_per_run,
        checked=print_checks,
        is_own_process=True,
    )
    _report(results, api.writable(out / table.name), as_json)


def _report(results: "Results", folder: Path, as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_compared import print_table
    from lrsearch.report.reproduction import draw_results

    picture = str(draw_results(results, folder))
    if as_json:
        print_json(results.to_json() | {"pictures": [picture]})
    else:
        print_table(results, picture)
