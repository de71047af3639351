"""reproduce: a stored run again, and how far off it is."""

from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import FOLDER, AsJson, DataDir, Out, StoreUrl, is_file, named_task
from lrsearch.cli.settings import Settings, read_settings

if TYPE_CHECKING:
    from lrsearch.study.reproduced import Reproduced


def reproduce(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A stored run's key, or its beginning: see `lrsearch store runs`.")
    ],
    task: Annotated[
        str | None, typer.Option(help="What trains it: train.py:name", show_default="the shipped task of its name")
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="The program that trains it, as the search had it.", show_default=False)
    ] = None,
    settings: Settings = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
) -> None:
    """Train a stored run again: the same to the bit, or how far off, and what changed in between.

    The store stays what it is. The exit code is 0 whether it is the same or not: read `same` of --json.
    """
    from lrsearch import api
    from lrsearch.cli.output import print_json

    named = named_task(task, None, "fp32") if task is not None and is_file(task) else task
    result = api.reproduce(
        key,
        task=named,
        command=command,
        settings=read_settings(settings),
        store=store,
        data_dir=data_dir,
        out=out,
        is_own_process=True,
    )
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Reproduced") -> None:
    from rich.text import Text

    from lrsearch.cli.output import labelled, open_console

    console, stored = open_console(), result.stored
    console.print(Text(result.verdict, "bold"))
    console.print(labelled("run", f"{stored.key}, {stored.task}, {stored.policy}, seed {stored.seed}"))
    for one in result.differences:
        console.print(labelled("differs", str(one)))
    for one in result.changed:
        console.print(labelled("changed", str(one)))
    if not result.is_recorded:
        console.print(
            labelled(
                "changed",
                "not recorded is what it was trained with: by an older version, or by a program in another language",
            )
        )
    elif not result.changed:
        console.print(labelled("changed", "nothing that is recorded: versions, source, device"))
