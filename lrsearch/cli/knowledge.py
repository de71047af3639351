"""recommend, rank: what the store and the papers know for a task, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import FOLDER, AsJson, Horizon, Out, StoreUrl
from lrsearch.words import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lrsearch.knowledge import Advice, Recommendation

TaskName = Annotated[str, typer.Argument(
    metavar="TASK", help="A shipped task, see `lrsearch tasks`, or the name of one in the store.")]
Goal = Annotated[str, typer.Option(
    help="accuracy, cost (share of the run until a task's median score), robustness (LD), confidence (AC - CD - CDAC),"
         " or pareto: the front of all four first.")]
MOST_STORED, MOST_ANSWERS = 2, 3
WIDE = 160


def recommend(
    task: TaskName, goal: Goal = "accuracy", store: StoreUrl = None, as_json: AsJson = False, out: Out = FOLDER,
    horizon: Horizon = None,
) -> None:
    """Say what a new study of a task would start from, and why: the nearest tasks, by group, and the corrections."""
    from lrsearch.cli.plain import print_json

    found = _advice(task, goal, store, out, horizon)
    if as_json:
        first = [found.told(one) for one in found.first(MOST_STORED)]
        print_json({name: value for name, value in found.to_json().items() if name != "ranked"} | {"first": first})
    else:
        _print_recommended(found)


def rank(
    task: TaskName, goal: Goal = "accuracy", store: StoreUrl = None, as_json: AsJson = False, out: Out = FOLDER,
    horizon: Horizon = None,
) -> None:
    """Rank all that the store and the papers know for a task, with intervals, ties and P(best)."""
    from lrsearch.cli.plain import print_json

    found = _advice(task, goal, store, out, horizon)
    if as_json:
        print_json(found.to_json())
    else:
        _print_ranked(found)


def _advice(task: str, goal: str, store: str | None, out: Any, horizon: int | None) -> "Advice":
    from lrsearch import api
    from lrsearch.tasks import TASKS

    asked = TASKS[task].with_horizon(horizon) if horizon is not None and task in TASKS else task
    return api.advise(asked, goal, store=store, out=out)


def _print_recommended(found: "Advice") -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True, width=max(Console().width, WIDE))
    console.print(f"[bold]{escape(found.task)}[/bold], for {found.goal}: {escape(found.reason)}.")
    _print_answers(found, console)
    if found.neighbours:
        console.print(_neighbours(found))
    first = found.first(MOST_STORED)
    console.print("[bold]a new study starts from[/bold]")
    console.print("its strong default: a range test, then warm-up and cosine")
    for one in first:
        console.print(escape(str(one.carried(found.horizon, found.own_centre).rounded())))
        for line in _why(one, found):
            console.print(f"  {escape(line)}")
    if not first:
        console.print("and from nothing else: it searches as on an empty store")


def _print_answers(found: "Advice", console: "Console") -> None:
    """Print what searches of this very task have answered, before anything that is ranked."""
    from rich.markup import escape

    for answer in found.answers[:MOST_ANSWERS]:
        console.print(f"[bold]answer of the search {escape(answer.study)}[/bold]: {escape(answer.verdict)}")
    more = len(found.answers) - MOST_ANSWERS
    if more > 0:
        console.print(f"{counted(more, 'more search', 'more searches')} of this task: `--json` has all answers")
    if found.answers:
        console.print("What follows ranks the runs of all tasks and seeds, the search's own seed included: an order of"
                      " what to try, which need not begin with an answer.")


def _why(one: "Recommendation", found: "Advice") -> list[str]:
    """Say in a few lines where a recommendation is from, what moved it, and how sure it is."""
    seeds = counted(one.seeds, "seed")
    origin = f"published, {one.source}, chosen on the test set" if one.source else one.origin
    lines = [f"the answer of the search {name}" for name in found.answered(one)]
    lines.append(f"{one.score_text} over {seeds} on {one.task}, at distance {one.distance:.2f} ({origin})")
    seen = f"{counted(one.tasks, 'task')}, {counted(one.runs or 0, 'run')}"
    lines.append(f"P(best) {one.p_best or 0.0:.2f}; {one.regret:.1f} noise units behind the best tries, 90 % interval"
                 f" {_interval(one)}; seen on {seen}")
    lines.append(_moved(one, found))
    return lines


def _interval(one: "Recommendation") -> str:
    return f"{abs(one.high or 0.0):.1f} .. {abs(one.low or 0.0):.1f}"


def _moved(one: "Recommendation", found: "Advice") -> str:
    from lrsearch.knowledge.rescaling import applying

    if one.exact:
        return "its learning rates as they are: that task trains the same"
    probed = one.centre is not None and found.own_centre is not None
    told = [f"{each.name} {each.decades:+.2f} +- {each.doubt:.2f}" for each in applying(one.corrections, probed)]
    by = "moved by the range tests of both tasks" if probed else "learning rates as they are there, corrected"
    doubt = one.doubt(found.own_centre)
    return f"{by}; decades: {', '.join(told)}; doubt {doubt:.2f} in all, and {one.caution * doubt:.2f} lower for it"


def _source(one: "Recommendation", found: "Advice") -> str:
    """Return the task that a recommendation is from, and the searches whose answer it is."""
    searches = found.answered(one)
    return f"{one.task} (answer of {', '.join(searches)})" if searches else one.task


def _neighbours(found: "Advice") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="the nearest tasks", title_justify="left", box=None, pad_edge=False)
    groups = ("response", "data", "model", "training")
    for name in ("distance", *groups, "weight", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("origin", no_wrap=True)
    table.add_column("task", no_wrap=True)
    for one in found.neighbours:
        parts = (f"{one.similarity.parts[group]:.2f}" if group in one.similarity.parts else "-" for group in groups)
        apart = one.similarity.gate or ""
        distance = "-" if one.similarity.gate else f"{one.similarity.distance:.2f}"
        table.add_row(distance, *parts, f"{one.weight:.2f}", str(one.runs), escape(one.origin),
                      escape(f"{one.name}: {apart}" if apart else one.name))
    return table


def _print_ranked(found: "Advice") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, width=max(Console().width, WIDE))
    console.print(f"[bold]{escape(found.task)}[/bold], for {found.goal}: {escape(found.reason)}.")
    _print_answers(found, console)
    if not found.ranked:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("", "tie", "P(best)", "behind", "90 % interval", "there", "tasks", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("origin", no_wrap=True)
    table.add_column("policy here", overflow="fold")
    table.add_column("from", overflow="fold", min_width=24)
    for place, one in enumerate(found.ranked, 1):
        front = "*" if one.front else ""
        table.add_row(f"{place}{front}", str(one.tie_group), f"{one.p_best or 0.0:.2f}", f"{one.regret:.1f}",
                      _interval(one), f"{one.value:.4g}", str(one.tasks), str(one.runs), escape(one.origin),
                      escape(str(one.carried(found.horizon, found.own_centre).rounded())), escape(_source(one, found)))
    console.print(table)
    front = " *: none is better for one goal and as good for the others." if found.goal == "pareto" else ""
    console.print("Behind: standard deviations of the noise behind the best tries, shrunk to the usual; the order is"
                  f" what to try first, each next one for what those before do not cover.{front}")
