"""verify: does a policy reach a target within a budget of steps?"""

from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import (
    FOLDER,
    AsJson,
    DataDir,
    MaxHours,
    MaxSecondsPerRun,
    Out,
    Precision,
    StoreUrl,
    named_task,
)
from lrsearch.cli.settings import Settings, read_settings
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.runs import Run, RunSpec
    from lrsearch.study.verdict import Verdict


def verify(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="A policy, such as 'TRI(k0=0.01, k1=0.2, l=128)': trained as it is written."
        ),
    ],
    task: Annotated[
        str, typer.Option(help="A shipped task: see `lrsearch tasks`; or a function of your own: train.py:name.")
    ],
    target: Annotated[
        str, typer.Option(help="What the task's metric must reach: 0.97 or 97% of a share, else a number in its unit.")
    ],
    budget: Annotated[int, typer.Option(help="Updates that it may take, 16 or more; `dur` in a policy is this.")],
    seeds: Annotated[int, typer.Option(help="How many runs are asked, each with its own seed.")] = 1,
    seed: Annotated[int, typer.Option(help="The first of these seeds.")] = 0,
    settings: Settings = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    precision: Precision = "fp32",
    workers: Annotated[int, typer.Option(help="Processes that train, one thread each.")] = 1,
    max_seconds_per_run: MaxSecondsPerRun = None,
    max_hours: MaxHours = None,
) -> None:
    """Check whether a task's metric is as good as TARGET at any evaluation within BUDGET updates, under a policy.

    What the store knows is not trained; else training ends as soon as it is decided. The exit code is 0 whether the
    answer is yes or no: read it from `reached` of --json.
    """
    from lrsearch import api
    from lrsearch.cli.output import print_json
    from lrsearch.cli.progress import log_line, log_lost

    source = named_task(task, None, precision)

    def tell(spec: "RunSpec", run: "Run") -> None:
        log_line(f"seed {spec.seed}: {run.state} after {counted(run.steps, 'update')}")

    verdict = api.verify(
        policy,
        source,
        target,
        budget,
        seeds=seeds,
        seed=seed,
        settings=read_settings(settings),
        workers=workers,
        store=store,
        data_dir=data_dir,
        out=out,
        max_seconds_per_run=max_seconds_per_run,
        max_hours=max_hours,
        watch=tell,
        lost=log_lost,
        is_own_process=True,
    )
    if as_json:
        print_json(verdict.to_json())
    else:
        _print(verdict)


def _print(verdict: "Verdict") -> None:
    """Print the answer, each seed's look where there are several, and what it cost."""
    from rich.table import Table

    from lrsearch.cli.output import open_console
    from lrsearch.report.metric import column

    console, objective = open_console(), verdict.question.objective
    console.print(verdict.sentence)
    if len(verdict.answers) > 1:
        table = Table(box=None, pad_edge=False)
        for name in ("seed", "reached", column(objective), "update", "by"):
            table.add_column(name, justify="left" if name in ("reached", "by") else "right")
        for one in verdict.answers:
            reached = "yes" if one.reached else "no" if one.diverged is None else f"no, diverged by {one.diverged}"
            table.add_row(str(one.seed), reached, objective.text(one.score), str(one.step or "-"), one.by)
        console.print(table)
    console.print(verdict.cost)
