"""store runs, store studies: look into the knowledge store."""

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.search import AsJson, StoreUrl
from lrsearch.errors import UsageError, unknown

app = typer.Typer(help="Look into the knowledge store.", no_args_is_help=True)

DEFAULT_STORE = Path("lrsearch-runs") / "store.db"


@app.callback()
def store() -> None:
    """Look into the knowledge store."""


@app.command()
def runs(
    store: StoreUrl = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task.", show_default=False)] = None,
    policy: Annotated[str | None, typer.Option(help="Only runs of this policy.", show_default=False)] = None,
    state: Annotated[str | None, typer.Option(help="Only runs in this state.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs that match."""
    from lrsearch.cli.plain import print_json
    from lrsearch.cli.show import print_runs
    from lrsearch.knowledge import open_store
    from lrsearch.schedules import parse
    from lrsearch.tasks import TASKS
    from lrsearch.training import RunState

    wanted = parse(policy) if policy else None
    if state and state not in list(RunState):
        raise UsageError(unknown("state", state, list(RunState)))
    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        names = {description["name"] for description in opened.tasks().values()} | set(TASKS)
        if task and task not in names:
            raise UsageError(unknown("task", task, names))
        found = opened.runs(task=task, policy=wanted, state=RunState(state) if state else None)
    if as_json:
        print_json([stored.to_json() for stored in found])
    else:
        print_runs(found)


@app.command()
def studies(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the studies: `lrsearch explain` takes any of them."""
    from lrsearch.cli.plain import print_json
    from lrsearch.cli.show import print_studies
    from lrsearch.knowledge import open_store

    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        found = opened.studies()
    if as_json:
        print_json([stored.to_json() for stored in found])
    else:
        print_studies(found)
