"""What commands print on stderr while they work."""

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lrsearch.cli.output import open_console
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.executors.cluster.checks import ClusterCheck
    from lrsearch.runs.lost import LostAttempt
    from lrsearch.store import Trial
    from lrsearch.study.study import Study


def log_line(line: str) -> None:
    """Print a line on stderr."""
    open_console(stderr=True, soft_wrap=False).print(line)


def log_lost(attempt: "LostAttempt") -> None:
    """Print on stderr that an attempt was lost."""
    log_line(attempt.sentence)


def print_checks(checks: "Sequence[ClusterCheck]", print_line: Callable[[str], None] = log_line) -> None:
    """Print on stderr what was checked of a cluster, a line each."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        print_line(f"{'ok' if check.is_right else 'NO':3} {check.name:{width}}  {check.text}")


class ProgressPrinter:
    """Progress on stderr: a bar in a terminal, else a line for each run that ends.

    Output that a training prints in this process goes to stderr too: stdout is for the answer.
    """

    def __init__(self, budget: float, horizon: int) -> None:
        self.console = open_console(stderr=True, soft_wrap=False)
        self.horizon = horizon
        columns = (
            TextColumn("{task.fields[fre]}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.row = self.bar.add_task("starting", total=budget * horizon, fre="")
        self.budget, self.spent = budget, 0
        self.open: dict[int, int] = {}
        self._redirected = redirect_stdout(sys.stderr)

    def __enter__(self) -> "ProgressPrinter":
        self._redirected.__enter__()
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:  # else it would print an empty line
            self.bar.stop()
        self._redirected.__exit__(None, None, None)

    def ended(self, study: "Study", trial: "Trial") -> None:
        """Print that a run ended."""
        from lrsearch.study.result import cost

        spent = cost(study)
        self.spent = spent.steps
        self.open.pop(trial.number, None)
        if trial.reused:
            return
        run = trial.run
        score = run.score if run else None
        outcome = f"{run.state if run else 'interrupted'}" if score is None else study.setup.task.objective.text(score)
        steps = counted(trial.horizon, "step", form=">6")
        line = f"{spent.fre:6.2f} FRE  {trial.role:10} {steps:<12}  {outcome:>11}  {trial.policy}"
        width = self.console.width if self.console.is_terminal else len(line)
        self.console.print(line[:width], soft_wrap=True)

    def lost(self, attempt: "LostAttempt") -> None:
        """Print that an attempt was lost."""
        self.console.print(attempt.sentence, soft_wrap=True)

    def checked(self, checks: "Sequence[ClusterCheck]") -> None:
        """Print what was checked of a cluster."""
        print_checks(checks, lambda line: self.console.print(line, soft_wrap=True))

    def stepped(self, trial: "Trial", steps: int) -> None:
        """Move the bar."""
        self.open[trial.number] = steps
        done = self.spent + sum(self.open.values())
        self.bar.update(
            self.row,
            completed=done,
            fre=f"{done / self.horizon:.2f} of {self.budget:g} FRE",
            description=f"{trial.role} {trial.policy}"[:60],
        )
