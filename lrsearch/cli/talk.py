"""What the commands say on stderr while they work."""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lrsearch.cli.plain import open_console
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.knowledge import Assignment
    from lrsearch.study.strategy import Trial
    from lrsearch.study.study import Study


def tell_line(line: str) -> None:
    """Print a line of talk on stderr."""
    open_console(stderr=True, soft_wrap=False).print(line)


class Talk:
    """Progress on stderr: a bar in a terminal, else a line for each run that ends.

    What a training prints in this process goes to stderr too: stdout is for the answer.
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
        self._aside = redirect_stdout(sys.stderr)

    def __enter__(self) -> "Talk":
        self._aside.__enter__()
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self._aside.__exit__(None, None, None)

    def ended(self, study: "Study", trial: "Trial") -> None:
        """Say that a run ended."""
        from lrsearch.study.result import cost

        spent = cost(study)
        self.spent = spent.steps
        self.open.pop(trial.assignment.number, None)
        if trial.reused:
            return
        run, asked = trial.run, trial.assignment
        score = run.score if run else None
        outcome = f"{run.state if run else 'interrupted'}" if score is None else study.setup.task.objective.text(score)
        steps = counted(asked.horizon, "step", form=">6")
        line = f"{spent.fre:6.2f} FRE  {asked.role:10} {steps:<12}  {outcome:>11}  {asked.policy}"
        width = self.console.width if self.console.is_terminal else len(line)
        self.console.print(line[:width], soft_wrap=True)

    def stepped(self, asked: "Assignment", steps: int) -> None:
        """Move the bar."""
        self.open[asked.number] = steps
        done = self.spent + sum(self.open.values())
        self.bar.update(
            self.row,
            completed=done,
            fre=f"{done / self.horizon:.2f} of {self.budget:g} FRE",
            description=f"{asked.role} {asked.policy}"[:60],
        )
