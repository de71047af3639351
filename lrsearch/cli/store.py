"""store ...: look into the knowledge store, check it, and carry runs between stores."""

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.options import FOLDER, STORE_HELP, AsJson
from lrsearch.errors import UsageError, unknown
from lrsearch.words import counted

app = typer.Typer(help="Look into the knowledge store, check it, carry runs between stores.", no_args_is_help=True)

DEFAULT_STORE = FOLDER / "store.db"
StoreUrl = Annotated[
    str | None, typer.Option("--store", envvar="LRSEARCH_STORE", help=STORE_HELP, show_default=str(DEFAULT_STORE))
]


@app.callback()
def store() -> None:
    """Look into the knowledge store, check it, carry runs between stores."""


@app.command()
def runs(
    store: StoreUrl = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task.", show_default=False)] = None,
    policy: Annotated[str | None, typer.Option(help="Only runs of this policy.", show_default=False)] = None,
    state: Annotated[str | None, typer.Option(help="Only runs in this state.", show_default=False)] = None,
    origin: Annotated[
        str | None, typer.Option(help="Only runs from here: local, recorded, or a bundle.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Runs at most.", min=1, show_default=False)] = None,
    after: Annotated[str, typer.Option(help="Only runs after this one: the next page.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """List the runs that match."""
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_store import print_runs
    from lrsearch.runs import RunState
    from lrsearch.schedules import parse
    from lrsearch.store import open_store
    from lrsearch.tasks import TASKS

    wanted = parse(policy) if policy else None
    if state and state not in list(RunState):
        raise UsageError(unknown("state", state, list(RunState)))
    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        names = {description["name"] for description in opened.tasks().values()} | set(TASKS)
        if task and task not in names:
            raise UsageError(unknown("task", task, names))
        runs = opened.runs(
            task=task, policy=wanted, state=RunState(state) if state else None, origin=origin, after=after, limit=limit
        )
    if as_json:
        print_json([stored.to_json() for stored in runs])
    else:
        print_runs(runs)


@app.command()
def studies(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the studies: `lrsearch explain` takes any of them."""
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_store import print_studies
    from lrsearch.store import open_store

    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        studies = opened.studies()
    if as_json:
        print_json([stored.to_json() for stored in studies])
    else:
        print_studies(studies)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="A run's key, or its first digits.", show_default=False)],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one run."""
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_store import print_run
    from lrsearch.store import open_store

    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        shown = opened.show(key)
    if as_json:
        print_json(shown)
    else:
        print_run(shown)


@app.command()
def stats(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Show how much the store holds, by task with its framework, model, classes and data set."""
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_store import print_stats
    from lrsearch.store import open_store

    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        totals = opened.stats()
    if as_json:
        print_json(totals)
    else:
        print_stats(totals)


@app.command()
def check(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Read all of the store and hold it against its digests; exit code 1 if anything is damaged."""
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_store import print_check
    from lrsearch.store import check as check_store
    from lrsearch.store.database import check_exists

    url = store or str(DEFAULT_STORE)
    check_exists(url)
    checked = check_store(url)
    if as_json:
        print_json(checked.to_json())
    else:
        print_check(checked)
    if not checked.is_whole:
        raise typer.Exit(1)


@app.command()
def salvage(
    to: Annotated[Path, typer.Option("--to", help="The new store, a file that is not there yet.", show_default=False)],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Get what is whole out of a damaged SQLite store, into a new one."""
    from lrsearch.cli.output import print_json
    from lrsearch.store import salvage as salvage_store
    from lrsearch.store.database import check_exists

    url = store or str(DEFAULT_STORE)
    check_exists(url)
    salvaged = salvage_store(url, str(to))
    if as_json:
        print_json(salvaged.to_json())
    else:
        rows = ", ".join(f"{count} {name}" for name, count in salvaged.rows.items())
        print(f"{salvaged.store}: {rows}; {counted(salvaged.left, 'damaged run')} left")


@app.command("export")
def export_bundle(
    bundle: Annotated[Path, typer.Argument(help="The bundle, a file that is not there yet.", show_default=False)],
    store: StoreUrl = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task.", show_default=False)] = None,
) -> None:
    """Write runs into a bundle: a text file that another store can import."""
    from lrsearch.store import open_store, write_bundle

    with open_store(store or str(DEFAULT_STORE), existing=True) as opened:
        names = {description["name"] for description in opened.tasks().values()}
        if task and task not in names:
            raise UsageError(unknown("task", task, names))
        print(f"{bundle}: {counted(write_bundle(opened, bundle, task), 'run')}")


@app.command("import")
def import_bundle(
    bundle: Annotated[Path, typer.Argument(help="A bundle that another store exported.", show_default=False)],
    store: StoreUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; list the lines that are bad.")] = False,
    partly: Annotated[bool, typer.Option("--partly", help="Take the good lines where others are bad.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Take the runs as your own: they keep their origins, and recommend.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import a bundle, all of it or nothing. Its runs change no result here, and recommend only with --trust."""
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show_store import print_import
    from lrsearch.store import open_store, read_bundle

    with open_store(store or str(DEFAULT_STORE)) as opened:
        done = read_bundle(opened, bundle, trust=trust, partly=partly, dry=dry_run)
    if as_json:
        print_json(done.to_json())
    else:
        print_import(done, str(bundle))


@app.command()
def merge(
    other: Annotated[str, typer.Argument(help="Another store of your own: a file or URL.", show_default=False)],
    store: StoreUrl = None,
) -> None:
    """Take over all runs and studies of another store of your own; runs keep their origins."""
    from lrsearch.store import open_store

    with open_store(other, existing=True) as source, open_store(store or str(DEFAULT_STORE)) as opened:
        print(f"{opened.url}: {counted(opened.merge(source), 'new run')}")
