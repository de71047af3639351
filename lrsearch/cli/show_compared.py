"""What the commands print of comparisons: of ways to search, of tables of policies, of replays."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from lrsearch.cli.output import labelled, open_console
from lrsearch.cli.show import print_driven, right_table
from lrsearch.report.metric import cell, column
from lrsearch.runs import Objective
from lrsearch.runs.objective import TOP1

if TYPE_CHECKING:
    from lrsearch.compare.comparison import Comparison
    from lrsearch.compare.figures import Figure, Replay
    from lrsearch.compare.held_out import Ranked
    from lrsearch.compare.reproduction import Outcome, Results

WIDE = 120


def print_comparison(comparison: "Comparison", picture: str) -> None:
    """Print a comparison as a table."""
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{comparison.task}, budget {comparison.budget:g} FRE each",
        title_justify="left",
    )
    objective = comparison.objective
    target = objective.text(comparison.target)
    for name in ("strategy", "seeds", f"best {column(objective)}", "spread", "FRE spent", f"FRE to {target}"):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    for row in comparison.rows():
        spread = objective.spread(row["spread"]) if row["spread"] is not None else "-"
        to_target = f"{row['cost_to_target']:.2f} ({row['reached']} of {row['seeds']})" if row["reached"] else "never"
        best = cell(objective, row["best"])
        table.add_row(row["strategy"], str(row["seeds"]), best, spread, f"{row['cost']:.2f}", to_target)
    console = open_console()
    console.print(table)
    console.print("Best validation score of a full-length run by the search's own seed; everything trained counts.")
    if comparison.warning:
        console.print(comparison.warning)
    console.print(labelled("picture", picture, 0))


def print_table(results: "Results", picture: str) -> None:
    """Print what came of a table of policies, the best first."""
    table = Table(
        box=None, pad_edge=False, title=f"{results.table.name}: {results.table.task.name}", title_justify="left"
    )
    objective = results.table.task.objective
    is_top1 = objective.name == TOP1
    more = ("at step", "at the end", "LD", "published") if is_top1 else ()
    for name in (column(objective), "seeds", *more):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("policy", overflow="fold")
    for outcome in sorted(results.outcomes, key=lambda o: (not o.scores, objective.cost(o.mean) if o.scores else 0.0)):
        columns = _of_top1(outcome, results.evaluation) if is_top1 else []
        table.add_row(*_score(outcome, objective), *columns, str(outcome.row.policy))
    console = open_console(least_width=WIDE)
    console.print(table)
    score = results.table.task.description.get("metric", column(objective))
    console.print(f"Score: {score}; mean over seeds ± standard deviation (ddof 1).")
    for line in results.sentences:
        console.print(line)
    print_driven(results.driven)
    console.print(labelled("picture", picture, 0))


def _score(outcome: "Outcome", objective: Objective) -> list[str]:
    """The mean score with its spread, and the seeds."""
    if not outcome.scores:
        return ["diverged" if outcome.runs else "-", str(len(outcome.runs))]
    spread = f" ± {objective.spread(outcome.spread)}" if outcome.spread is not None else ""
    return [cell(objective, outcome.mean) + spread, str(len(outcome.scores))]


def _of_top1(outcome: "Outcome", evaluation: str) -> list[str]:
    """What lrsearch's own loop knows besides, and what was published."""
    if not outcome.scores:
        return ["-", "-", "-", _published(outcome)]
    end = f"{100 * outcome.metric('top1', 'end'):.2f}"
    return [
        f"{outcome.metric('step', evaluation):.0f}",
        end,
        f"{outcome.metric('ld', evaluation):.4f}",
        _published(outcome),
    ]


def _published(outcome: "Outcome") -> str:
    published = outcome.row.published
    if "top1" not in published:
        return "-"
    spread = f" ± {published['spread']:.2f}" if "spread" in published else ""
    steps = f" at {published['steps']:.0f}" if "steps" in published else ""
    return f"{published['top1']:.2f}{spread}{steps}"


def print_replay(replay: "Replay") -> None:
    """Print a replay: its figures against their bars, what each strategy paid, and on which task."""
    console = open_console()
    figures = _figures("", "figure", replay.figures)
    names = ("mean", "median", "p90", "mean_if_stopped", "first", "reached")
    strategies = right_table(
        "FRE until a run is good", "strategy", "mean", "median", "p90", "if stopped", "first run", "ever"
    )
    for row in replay.strategies().to_dict("records"):
        strategies.add_row(row["strategy"], *(f"{row[name]:.2f}" for name in names))
    tasks = right_table("mean FRE by task", "task", "coverage", "pruned", "TPE", "grid")
    for row in replay.tasks().to_dict("records"):
        numbers = (f"{row[name]:.2f}" for name in ("coverage", "pruned", "TPE", "grid"))
        tasks.add_row(f"{row['problem']} {row['optimizer']}", *numbers)
    console.print(figures, strategies, tasks)
    console.print(
        "Good: within max(2 sd of seeds, 0.5 points) of the table's best. Everything counts: probes, and"
        " diverged runs in full; if stopped: as far as they ran. First run, ever: the share that was good."
    )


def print_ranked(ranked: "Ranked") -> None:
    """Print what ranking gave on held-out tasks: figures with intervals, those with a bar against it."""
    console = open_console()
    for held_out, figures in ranked.figures.items():
        console.print(_figures(f"{ranked.table}, {held_out} held out", "regret at k tries", figures))
    console.print(
        "Regret: (best - value) / (best - median) of the held-out task, at most 1, of the best of the first"
        " k; mean: over 1, 3 and 10. Intervals: bootstrap over tasks. The bar at k is a standard error."
    )


def _figures(title: str, what: str, figures: Iterable["Figure"]) -> Table:
    table = right_table(title, what, "value", "95 % interval", "n", "bar", "met")
    for figure in figures:
        met = {True: "yes", False: "no", None: ""}[figure.is_met]
        table.add_row(
            figure.name,
            f"{figure.value:.3f}",
            f"{figure.low:.3f} .. {figure.high:.3f}",
            str(figure.n),
            figure.bar or "",
            met,
        )
    return table
