"""The `lrsearch` command. Exit codes: 0, 1 the work failed, 2 wrong usage, 130 interrupted."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import typer

from lrsearch.cli import policy, recommend, search, space, store, study
from lrsearch.cli.dashboard import dashboard
from lrsearch.cli.ranges import range_test, recipe
from lrsearch.cli.reproduce import reproduce
from lrsearch.cli.verify import verify
from lrsearch.errors import LRSearchError, UsageError
from lrsearch.later import GOES

INTERRUPTED = 130
OLDER = {"--storage": "--optuna"}
"""Options of before, and what they are called now."""

app = typer.Typer(
    name="lrsearch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the learning-rate policy of a neural network, cheaply, with the cost accounted and the reasons shown.",
)
app.command()(search.search)
app.command()(search.sweep)
app.command()(space.prune)
app.command()(space.explain)
app.command()(recommend.recommend)
app.command()(recommend.rank)
app.command()(search.compare)
app.command("range-test")(range_test)
app.command()(recipe)
app.command()(verify)
app.command()(reproduce)
app.command()(search.tasks)
app.command()(dashboard)
app.add_typer(policy.app, name="policy")
app.add_typer(store.app, name="store")
app.add_typer(study.app, name="study")


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _interrupt)
    words, sys.argv[1:] = sys.argv[1:], []  # a training that reads its arguments has its defaults, not ours
    try:
        app(args=present_options(words))
    except LRSearchError as error:
        print(f"lrsearch: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("lrsearch: interrupted; what finished is kept, the same command goes on from there", file=sys.stderr)
        raise
    sys.exit(0)


def present_options(args: Sequence[str]) -> list[str]:
    """Arguments with the present name of each older option; a line on stderr says so.

    >>> present_options(["search", "digits-cnn", "--budget", "4"])
    ['search', 'digits-cnn', '--budget', '4']
    """
    options, rest = list(args), list[str]()
    if "--" in options:  # what follows is no option
        at = options.index("--")
        options, rest = options[:at], options[at:]
    present = []
    for arg in options:
        name, equals, value = arg.partition("=")
        if name in OLDER:
            print(f"lrsearch: {name} is {OLDER[name]} now; the older name goes in {GOES}", file=sys.stderr)
        present.append(OLDER.get(name, name) + equals + value)
    return present + rest


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End cleanly at the first signal, at once at the second."""
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
