"""What the commands print: results on stdout, talk on stderr."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lrsearch.compare.comparison import Comparison
from lrsearch.compare.figures import Replay
from lrsearch.knowledge import Assignment, StoredRun
from lrsearch.report.story import how_to_use, score_text, what_was_cut, what_was_tried, where_it_started
from lrsearch.study.result import SearchResult, cost
from lrsearch.study.strategy import Trial, with_role
from lrsearch.study.study import Study

LEADERS = 8


class Talk:
    """Progress on stderr: a bar in a terminal, else a line for each run that ends."""

    def __init__(self, budget: float, horizon: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.horizon = horizon
        columns = (TextColumn("{task.fields[fre]}"), BarColumn(), TimeElapsedColumn(),
                   TextColumn("{task.description}", markup=False))
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.row = self.bar.add_task("starting", total=budget * horizon, fre="")
        self.budget, self.spent = budget, 0

    def __enter__(self) -> "Talk":
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def ended(self, study: Study, trial: Trial) -> None:
        """Say that a run ended."""
        spent = cost(study)
        self.spent = spent.steps
        if trial.reused:
            return
        run, asked = trial.run, trial.assignment
        state = run.state if run else "interrupted"
        outcome = f"{100 * run.score:6.2f} %" if run and run.score is not None else f"{state}"
        line = f"{spent.fre:6.2f} FRE  {asked.role:10} {asked.horizon:>6} steps  {outcome:>11}  {asked.policy}"
        width = self.console.width if self.console.is_terminal else len(line)
        self.console.print(escape(line[:width]), soft_wrap=True)

    def stepped(self, asked: Assignment, steps: int) -> None:
        """Move the bar."""
        done = self.spent + steps
        self.bar.update(self.row, completed=done, fre=f"{done / self.horizon:.2f} of {self.budget:g} FRE",
                        description=f"{asked.role} {asked.policy}"[:60])


def print_result(result: SearchResult, pictures: list[str], test: dict[str, Any] | None) -> None:
    """Print what a person wants to know of a search."""
    console = Console(highlight=False, soft_wrap=True)

    def say(label: str, text: str) -> None:
        console.print(f"[bold]{label:<12}[/bold] {escape(text)}")

    console.print()
    say("best policy", str(result.best.policy))
    say("validation", score_text(result.best))
    say("default", f"{score_text(result.default)}  {result.default.policy}")
    say("verdict", result.verdict)
    if test:
        say("test set", f"{100 * test['best']:.2f} %; default {100 * test['default']:.2f} % ({test['note']})")
    spent = result.spent
    say("cost", f"{spent.fre:.2f} of {result.setup.budget:g} FRE: {spent.steps} steps, {spent.runs} runs,"
                f" {spent.seconds:.0f} s of training")
    say("this start", f"{spent.trained_runs} runs trained ({spent.trained_steps} steps),"
                      f" {spent.reused_runs} taken from the store")
    for line in where_it_started(result):
        say("started from", line)
    console.print(_tried(result), _leaders(result), _cuts(result))
    console.print(f"[bold]use it[/bold]\n{escape(how_to_use(result.best.policy))}\n")
    for picture in pictures:
        say("picture", picture)
    say("study", f"{result.study} in {result.store}")


def _tried(result: SearchResult) -> Table:
    table = Table(title="what was tried", title_justify="left", box=None, pad_edge=False)
    table.add_column("runs", justify="right")
    table.add_column("FRE", justify="right")
    table.add_column("of")
    for name, runs, fre in what_was_tried(result):
        table.add_row(str(runs), f"{fre:.2f}", name)
    return table


def _leaders(result: SearchResult) -> Table:
    """The best of those that were trained longest, by the search's seed."""
    searched = [*with_role(result.history, "default"), *with_role(result.history, "candidate")]
    ended = sorted((t for t in searched if t.run), key=lambda t: (-t.assignment.horizon, t.rank))
    table = Table(title="best by the search's own seed", title_justify="left", box=None, pad_edge=False)
    for name in ("steps", "top-1", "loss"):
        table.add_column(name, justify="right")
    table.add_column("from")
    table.add_column("policy", overflow="fold")
    for trial in ended[:LEADERS]:
        run = trial.run
        score = f"{100 * run.score:.2f}" if run and run.score is not None else "-"
        loss = f"{run.loss:.4f}" if run and run.loss is not None else "-"
        asked = trial.assignment
        table.add_row(str(asked.horizon), score, loss, asked.origin, escape(str(asked.policy)))
    return table


def _cuts(result: SearchResult) -> Table:
    title = f"what the heuristics cut: {what_was_cut(result)}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("coordinate")
    table.add_column("range", no_wrap=True)
    table.add_column("why", overflow="fold")
    for bound in result.pruned.bounds:
        behind = f" [{len(bound.runs)} runs]" if bound.runs else ""
        table.add_row(bound.coordinate, f"{bound.low:.3g} .. {bound.high:.3g}", escape(bound.reason + behind))
    return table


def print_runs(found: list[StoredRun]) -> None:
    """Print stored runs as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "task", "state", "top-1", "steps", "seed", "origin"):
        table.add_column(name, justify="right" if name in ("top-1", "steps", "seed") else "left", no_wrap=True)
    table.add_column("policy", overflow="fold")
    for stored in found:
        run = stored.run
        score = f"{100 * run.score:.2f}" if run.score is not None else "-"
        table.add_row(stored.key[:8], escape(stored.task), str(run.state), score, str(stored.horizon), str(stored.seed),
                      escape(stored.origin), escape(str(stored.policy)))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{len(found)} runs")


def print_comparison(comparison: Comparison, picture: str) -> None:
    """Print a comparison as a table."""
    table = Table(box=None, pad_edge=False, title=f"{comparison.task}, budget {comparison.budget:g} FRE each",
                  title_justify="left")
    for name in ("strategy", "seeds", "best top-1", "spread", "FRE spent", f"FRE to {100 * comparison.target:.2f} %"):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    for row in comparison.rows():
        spread = f"{100 * row['spread']:.2f}" if row["spread"] is not None else "-"
        to_target = f"{row['cost_to_target']:.2f} ({row['reached']} of {row['seeds']})" if row["reached"] else "never"
        best, cost_of = f"{100 * row['best']:.2f}", f"{row['cost']:.2f}"
        table.add_row(row["strategy"], str(row["seeds"]), best, spread, cost_of, to_target)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print("Best validation score of a full-length run by the search's own seed; everything trained counts.")
    console.print(f"[bold]picture[/bold] {escape(picture)}")


def print_replay(replay: Replay) -> None:
    """Print a replay: its figures against their bars, what each strategy paid, and on which task."""
    console = Console(highlight=False, soft_wrap=True)
    figures = _right_table("", "figure", "value", "95 % interval", "n", "bar", "met")
    for figure in replay.figures:
        met = {True: "yes", False: "no", None: ""}[figure.is_met]
        figures.add_row(figure.name, f"{figure.value:.3f}", f"{figure.low:.3f} .. {figure.high:.3f}", str(figure.n),
                        figure.bar or "", met)
    names = ("mean", "median", "p90", "mean_if_stopped", "first", "reached")
    strategies = _right_table("FRE until a run is good", "strategy", "mean", "median", "p90", "if stopped",
                              "first run", "ever")
    for row in replay.strategies().to_dict("records"):
        strategies.add_row(row["strategy"], *(f"{row[name]:.2f}" for name in names))
    tasks = _right_table("mean FRE by task", "task", "coverage", "pruned", "TPE", "grid")
    for row in replay.tasks().to_dict("records"):
        numbers = (f"{row[name]:.2f}" for name in ("coverage", "pruned", "TPE", "grid"))
        tasks.add_row(f"{row['problem']} {row['optimizer']}", *numbers)
    console.print(figures, strategies, tasks)
    console.print("Good: within max(2 sd of seeds, 0.5 points) of the table's best. Everything counts: probes, and"
                  " diverged runs in full; if stopped: as far as they ran. First run, ever: the share that was good.")


def _right_table(title: str, *columns: str) -> Table:
    """Make a table whose first column is words, and the others numbers."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    return table


def tell_line(line: str) -> None:
    """Print a line of talk on stderr."""
    Console(stderr=True, highlight=False, markup=False).print(line)
