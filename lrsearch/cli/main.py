"""The `lrsearch` command. Exit codes: 0, 1 the work failed, 2 wrong usage, 130 interrupted.

SIGTERM and SIGUSR1, which Slurm sends before a time limit, interrupt as Ctrl-C does.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
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
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")
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
    interrupt = _interrupter()
    for name in SIGNALS:
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, name), interrupt)
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


def _interrupter() -> Callable[[int, FrameType | None], None]:
    """A handler of signals: the first ends cleanly, the second at once, and the third has its default action."""
    count = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 1:  # written without a buffer, for the signal may have interrupted another line
            os.write(2, b"lrsearch: stopping, and keeping what is done; Ctrl-C again ends at once\n")
        else:
            for name in SIGNALS:
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_DFL)
        raise KeyboardInterrupt

    return interrupt


if __name__ == "__main__":
    main()
