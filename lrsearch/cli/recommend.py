"""recommend, rank: what the store and the papers know for a task, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import FOLDER, AsJson, Horizon, Out, StoreUrl, is_file, named_task
from lrsearch.words import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lrsearch.recommendation import Advice, Recommendation

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="A shipped task, see `lrsearch tasks`, the name of one in the store, or train.py:name."
    ),
]
Goal = Annotated[
    str,
    typer.Option(
        help="accuracy, cost (share of the run until a task's median score), robustness (LD), confidence (AC - CD -"
        " CDAC), or pareto: the front of all four first."
    ),
]
Limit = Annotated[int, typer.Option(min=1, help="Rows to print at most; --json has all.")]
MOST_STORED, MOST_ANSWERS = 2, 3
WIDE = 160
SCORES = {"accuracy": "score", "cost": "of the run", "robustness": "LD", "confidence": "AC-CD-CDAC", "pareto": "score"}
"""What a row's value is by goal; LD and the share of a run until the median score are the better the lower."""


def recommend(
    task: TaskName,
    goal: Goal = "accuracy",
    store: StoreUrl = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    horizon: Horizon = None,
) -> None:
    """Show what a new study of a task would start from, and why: the nearest tasks, by group, and the corrections."""
    from lrsearch.cli.output import print_json

    advice = _advice(task, goal, store, out, horizon)
    if as_json:
        first = [advice.row(one) for one in advice.first(MOST_STORED)]
        print_json({name: value for name, value in advice.to_json().items() if name != "ranked"} | {"first": first})
    else:
        _print_recommended(advice)


def rank(
    task: TaskName,
    goal: Goal = "accuracy",
    store: StoreUrl = None,
    as_json: AsJson = False,
    out: Out = FOLDER,
    horizon: Horizon = None,
    limit: Limit = 10,
) -> None:
    """Rank what the store and the papers know for a task, with intervals, P(best), and what each place rests on."""
    from lrsearch.cli.output import print_json

    advice = _advice(task, goal, store, out, horizon)
    if as_json:
        print_json(advice.to_json())
    else:
        _print_ranked(advice, limit)


def _advice(task: str, goal: str, store: str | None, out: Any, horizon: int | None) -> "Advice":
    from lrsearch import api
    from lrsearch.tasks import TASKS

    target = named_task(task, horizon, "fp32") if is_file(task) or (horizon is not None and task in TASKS) else task
    return api.advise(target, goal, store=store, out=out)


def _print_recommended(advice: "Advice") -> None:
    from rich.text import Text

    from lrsearch.cli.output import open_console

    console = open_console(least_width=WIDE)
    console.print(_heading(advice))
    _print_answers(advice, console)
    if advice.neighbours:
        console.print(_neighbours(advice))
    first = advice.first(MOST_STORED)
    console.print(Text("a new study starts from", "bold"))
    console.print("its strong default: a range test, then warm-up and cosine")
    for one in first:
        console.print(str(one.transferred(advice.horizon, advice.own_optimum).rounded()))
        for line in _why(one, advice):
            console.print(f"  {line}")
    if not first:
        console.print("and from nothing else: it searches as on an empty store")


def _heading(advice: "Advice") -> "Text":
    from rich.text import Text

    return Text.assemble((advice.task, "bold"), f", for {advice.goal}: {advice.reason}.")


def _print_answers(advice: "Advice", console: "Console") -> None:
    """Print what searches of this very task have answered, before anything that is ranked."""
    from rich.text import Text

    for answer in advice.answers[:MOST_ANSWERS]:
        console.print(Text.assemble((f"answer of the search {answer.study}", "bold"), f": {answer.verdict}"))
    more = len(advice.answers) - MOST_ANSWERS
    if more > 0:
        console.print(f"{counted(more, 'more search', 'more searches')} of this task: `--json` has all answers")
    if advice.answers:
        console.print(
            "What follows ranks the runs of all tasks and seeds, the search's own seed included: an order of"
            " what to try, which need not begin with an answer."
        )


def _why(one: "Recommendation", advice: "Advice") -> list[str]:
    """A few lines: where a recommendation is from, what moved it, and how sure it is."""
    seeds = counted(one.seeds, "seed")
    origin = f"published, {one.source}, chosen on the test set" if one.source else one.origin
    lines = [f"the answer of the search {name}" for name in advice.answered(one)]
    lines.append(f"{one.score_text} over {seeds} on {one.task}, at distance {one.distance:.2f} ({origin})")
    seen = f"{counted(one.tasks, 'task')}, {counted(one.runs or 0, 'run')}"
    lines.append(
        f"P(best) {one.p_best or 0.0:.2f}; {one.regret:.1f} noise units behind the best tries, 90 % interval"
        f" {_interval(one)}; seen on {seen}"
    )
    lines.append(_moved(one, advice))
    return lines


def _interval(one: "Recommendation") -> str:
    return f"{abs(one.high or 0.0):.1f} .. {abs(one.low or 0.0):.1f}"


def _moved(one: "Recommendation", advice: "Advice") -> str:
    from lrsearch.recommendation.rescaling import applying

    if one.same_settings:
        return "its learning rates as they are: that task trains the same"
    probed = one.optimum is not None and advice.own_optimum is not None
    moves = [f"{each.name} {each.decades:+.2f} +- {each.uncertainty:.2f}" for each in applying(one.corrections, probed)]
    by = "moved by the range tests of both tasks" if probed else "learning rates as they are there, corrected"
    uncertainty = one.uncertainty(advice.own_optimum)
    lower = one.safety_margin * uncertainty
    return f"{by}; decades: {', '.join(moves)}; doubt {uncertainty:.2f} in all, and {lower:.2f} lower for it"


def _neighbours(advice: "Advice") -> "Table":
    from rich.table import Table

    table = Table(title="the nearest tasks", title_justify="left", box=None, pad_edge=False)
    groups = ("response", "data", "model", "training")
    for name in ("distance", *groups, "weight", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("origin", no_wrap=True)
    table.add_column("task", no_wrap=True)
    for one in advice.neighbours:
        parts = (f"{one.similarity.parts[group]:.2f}" if group in one.similarity.parts else "-" for group in groups)
        apart = one.similarity.gate or ""
        distance = "-" if one.similarity.gate else f"{one.similarity.distance:.2f}"
        table.add_row(
            distance,
            *parts,
            f"{one.weight:.2f}",
            str(one.runs),
            one.origin,
            f"{one.name}: {apart}" if apart else one.name,
        )
    return table


def _print_ranked(advice: "Advice", limit: int) -> None:
    from lrsearch.cli.output import open_console

    console = open_console(least_width=WIDE)
    console.print(_heading(advice))
    _print_answers(advice, console)
    if not advice.ranked:
        return
    ranked = advice.by_regret()
    console.print(_ranking(advice, ranked[:limit]))
    for line in _read_as(advice, ranked, limit):
        console.print(line)


def _ranking(advice: "Advice", shown: list["Recommendation"]) -> "Table":
    from rich.table import Table

    table = Table(title="by how far each is behind, the least first", title_justify="left", box=None, pad_edge=False)
    for name in ("", "behind", "90 % interval", "P(best)", SCORES[advice.goal], "steps"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("policy here", overflow="fold")
    table.add_column("why here", overflow="fold", min_width=24)
    for place, one in enumerate(shown, 1):
        steps = f"{one.steps} " if one.steps == advice.horizon else f"{one.steps}*"
        front = "+" if one.front else ""
        table.add_row(
            f"{place}{front}",
            f"{one.regret:.1f}",
            _interval(one),
            f"{one.p_best or 0.0:.2f}",
            _score(advice.goal, one),
            steps,
            str(one.transferred(advice.horizon, advice.own_optimum).rounded()),
            advice.why(one),
        )
    return table


def _score(goal: str, one: "Recommendation") -> str:
    if one.value is None or goal in ("accuracy", "pareto"):
        return one.score_text
    value = -one.value if goal in ("cost", "robustness") else one.value  # ranked as "the higher the better"
    return f"{100 * value:.2f} %" if goal == "cost" else f"{value:.4f}"


def _read_as(advice: "Advice", ranked: list["Recommendation"], limit: int) -> list[str]:
    """How the table is read: its unit, its marks, who is not told apart, and what it leaves out."""
    lines = [
        "Behind: how far behind the best, in standard deviations of the noise; the fewer and shorter the runs, the"
        " nearer to what is usual."
    ]
    if any(one.steps != advice.horizon for one in ranked[:limit]):
        lines.append(
            f"*: over other than this task's {counted(advice.horizon, 'step')}; such scores are not compared"
            " with those of another length."
        )
    if advice.goal == "pareto":
        lines.append("+: none is better for one goal and as good for the others; these come first.")
    tied = sum(one.tie_group == 1 for one in ranked)
    if tied > 1:
        lines.append(f"{tied} of {len(ranked)} are not told apart from the best; P(best): the probability to be it.")
    if len(ranked) > limit:
        lines.append(f"{counted(len(ranked) - limit, 'more row')}: --limit {len(ranked)}.")
    return lines
