"""What a search found, as the Optuna Dashboard shows it: notes, attributes and two figures on the Optuna study."""

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lrsearch.heuristics import Bound
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.known import PUBLISHED
from lrsearch.report.best_trial import mark_answer, optuna_best
from lrsearch.report.markdown import code, escape, one_line, shortened
from lrsearch.report.metric import axis, better, drawn, name_of
from lrsearch.report.response import Response, response_of
from lrsearch.report.summary import (
    answer_trial,
    full_runs,
    headline,
    how_to_use,
    judged,
    score_text,
    what_was_cut,
    what_was_tried,
)
from lrsearch.runs import OWN, Objective
from lrsearch.runs.roles import Origin, Role
from lrsearch.schedules import Policy
from lrsearch.store import Trial
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import best_so_far, with_role
from lrsearch.words import counted

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

RESPONSE_ID, PROGRESS_ID = "lrsearch_response", "lrsearch_progress"
BLUE, ORANGE, GREEN, GREY, RED = "#2463a8", "#d9822b", "#3a8f5c", "#8a8f98", "#b5403a"
INK = "#23272e"
SHADE = "rgba(36, 99, 168, 0.11)"
SHAPES = (("triangle-up", BLUE), ("square", GREEN), ("diamond", ORANGE))
ORIGINS = {
    Origin.SUGGESTED: "suggested by the sampler",
    Origin.KNOWN: "of the field",
    Origin.STORED: "from the store",
    Origin.PUBLISHED: "of papers",
    Origin.EXPLORATION: "from outside the pruned space",
}
FULL_RUN_MARKS = (("star-open", RED), ("star", RED), ("diamond-open", ORANGE), ("diamond", ORANGE))
"""In the order of `full_runs`: open for the search's own seed, filled for fresh ones, which decide."""
LOSS_TICKS = [mark * 10.0**exponent for exponent in range(-6, 6) for mark in (1, 2, 5)]
GAP = "\u00a0"
"""The dashboard draws tables without padding; Markdown trims plain spaces, but not this one."""
MOST_POINTS = 100
"""Points of one group in a figure: the page fetches every figure whole, each time that it polls."""
LONGEST_HOVER = 60


def publish(result: SearchResult, optuna_study: "optuna.Study") -> None:
    """Save the note, both figures and the answer on the Optuna study; doing so again replaces them.

    Args:
        result: what the search found.
        optuna_study: its Optuna study, in any storage.
    """
    from optuna_dashboard import save_note, save_plotly_graph_object

    save_note(optuna_study, study_note(result, optuna_best(result, optuna_study)))
    mark_answer(result, optuna_study)
    save_plotly_graph_object(optuna_study, response_figure(result), graph_object_id=RESPONSE_ID)
    save_plotly_graph_object(optuna_study, progress_figure(result), graph_object_id=PROGRESS_ID)


def response_figure(result: SearchResult) -> "go.Figure":
    """Draw how runs did over peak LR: probes and candidates by horizon, the pruned range, the range-test optimum.

    Of lrsearch's own loop that is the loss, not the score: it also tells apart the runs that are all near chance, and
    falls in one valley.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    groups = _response_groups(result)
    response = response_of(result.setup.task, [trial for _, trials, _, _ in groups for trial in trials])
    for name, trials, shape, color in groups:
        figure.add_trace(_cloud(name, trials, shape, color, response))
    _mark_range(figure, result)
    _circle_answer(figure, result, response)
    _lay_out(figure, f"Response over learning rate: {headline(result)}", "peak learning rate", response.label)
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    if response.is_log:
        figure.update_yaxes(type="log", tickvals=LOSS_TICKS, tickformat="~g")
    return figure


def progress_figure(result: SearchResult) -> "go.Figure":
    """Draw the best score of a full-length run so far against all that was spent, probes included."""
    import plotly.graph_objects as go

    horizon, costs, objective = result.setup.task.horizon, _costs(result), result.setup.task.objective
    steps = best_so_far(result.history, horizon, objective)
    line = [*steps, (costs[-1], steps[-1][1])] if steps else []
    figure = go.Figure(
        go.Scatter(
            x=_short([cost for cost, _ in line]),
            y=_short([drawn(objective, score) for _, score in line]),
            mode="lines",
            line={"shape": "hv", "color": BLUE, "width": 2},
            name="best so far, the search's own seed",
            hoverinfo="skip",
        )
    )
    for (name, runs), (shape, color) in zip(full_runs(result).items(), FULL_RUN_MARKS, strict=True):
        figure.add_trace(_scores(name, runs[:MOST_POINTS], shape, color, objective))
    _mark_costs(figure, result, costs)
    _lay_out(
        figure, f"Full runs against cost: {headline(result)}", "cost in full-run equivalents (FRE)", axis(objective)
    )
    figure.update_xaxes(range=[0, 1.02 * max(float(result.setup.budget), costs[-1] if costs else 0)])
    return figure


def study_note(result: SearchResult, optuna_says: str = "") -> str:
    """The summary of a search in Markdown: the answer, what it cost, what was cut and why, how to use it.

    Args:
        result: what the search found.
        optuna_says: a sentence on what Optuna calls the best trial: see `optuna_best`.
    """
    parts = [
        f"# {escape(result.setup.task.name)}",
        f"**{escape(result.verdict)}**",
        *([escape(optuna_says)] if optuna_says else []),
        _answers(result),
        f"## Cost\n\n{_cost(result)}",
        f"## What the heuristics cut\n\n{_cuts(result)}",
        f"## Where it started\n\n{_started(result)}",
        f"## Use it\n\n```python\n{how_to_use(result)}\n```",
        f"Study {code(result.study)}, seed {result.setup.seed}. Trials that are *pruned* here are shorter complete runs"
        " of the stretched policy, or diverged; only runs over the whole horizon are *complete*.",
    ]
    return "\n\n".join(parts) + "\n"


def _answers(result: SearchResult) -> str:
    objective = result.decision.objective
    lines = [
        _row(name, code(str(answer.policy)), escape(score_text(answer, objective)))
        for name, answer in judged(result.decision)
    ]
    own = f", {better(objective)}" if result.setup.task.trainer == OWN else ""
    return "\n".join([_row("", "policy", escape(name_of(objective) + own)), "|---|---|---|", *lines])


def _cost(result: SearchResult) -> str:
    spent = result.spent
    reused = f"; {spent.reused_runs} of them came from the store" if spent.reused_runs else ""
    total = (
        f"{spent.fre:.2f} of {result.setup.budget:g} full-run equivalents (FRE):"
        f" {counted(spent.steps, 'step')} in {counted(spent.runs, 'run')}, {spent.seconds:.0f} s{reused}."
    )
    rows = [_row(escape(what), str(runs), f"{fre:.2f}") for what, runs, fre in what_was_tried(result)]
    return "\n".join([total, "", _row("what", "runs", "FRE"), "|---|---:|---:|", *rows])


def _cuts(result: SearchResult) -> str:
    rows = [_bound_row(bound) for bound in result.pruned.bounds]
    head = [_row("coordinate", "from", "to", "why", "evidence"), "|---|---:|---:|---|---|"]
    return "\n".join([_sentence(escape(what_was_cut(result))), "", *(head if rows else []), *rows])


def _bound_row(bound: Bound) -> str:
    evidence = f"rule: {escape(bound.rule)}" if bound.rule else counted(len(bound.runs), "run")
    return _row(code(bound.coordinate), f"{bound.low:.3g}", f"{bound.high:.3g}", escape(bound.reason), evidence)


def _row(*cells: str) -> str:
    return "|" + "|".join(f"{GAP}{cell}{GAP}" for cell in cells) + "|"


def _started(result: SearchResult) -> str:
    """Name the policies that the search did not find itself: the default, the field's, the store's."""
    items = [f"- {code(str(result.default.policy))}: the strong default"]
    known = dict.fromkeys(
        str(trial.policy) for trial in with_role(result.history, Role.CANDIDATE) if trial.origin == Origin.KNOWN
    )
    items += [f"- {code(policy)}: the field's own for this task" for policy in known]
    items += [_recommended(recommendation) for recommendation in result.setup.recommended]
    if not result.setup.recommended:
        items.append("- The store knew no similar task.")
    return "\n".join([*items, "", _origins(result)])


def _recommended(known: Recommendation) -> str:
    if known.origin == PUBLISHED:
        return (
            f"- {code(str(known.policy))}: published, {escape(known.score_text)} on {code(known.task)}, chosen on"
            f" the test set ({code(known.source)}), at distance {known.distance:.2f}"
        )
    return (
        f"- {code(str(known.policy))}: the store's, {escape(known.score_text)} on {code(known.task)} over"
        f" {counted(known.seeds, 'seed')} of {counted(known.horizon, 'step')}, at distance {known.distance:.2f}"
    )


def _origins(result: SearchResult) -> str:
    """How many policies of each origin were tried."""
    tried = {trial.policy: trial.origin for trial in with_role(result.history, Role.CANDIDATE)}
    counts = Counter(tried.values())
    said = [f"{counts[origin]} {words}" for origin, words in ORIGINS.items() if counts[origin]]
    return f"Policies tried: {', '.join(said) or 'none but the default'}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _response_groups(result: SearchResult) -> list[tuple[str, Sequence[Trial], str, str]]:
    """(name, trials, shape, colour): probes, candidates from short to long, and the default."""
    candidates = with_role(result.history, Role.CANDIDATE)
    horizons = sorted({trial.horizon for trial in candidates})
    groups: list[tuple[str, Sequence[Trial], str, str]] = [
        ("FIX, short probes", with_role(result.history, Role.CONSTANT_LR), "circle", GREY)
    ]
    for horizon, (shape, color) in zip(horizons, SHAPES, strict=False):
        there = [trial for trial in candidates if trial.horizon == horizon]
        groups.append((f"candidates, {counted(horizon, 'step')}", there, shape, color))
    return [*groups, ("the default", with_role(result.history, Role.DEFAULT), "star", RED)]


def _cloud(name: str, trials: Sequence[Trial], shape: str, color: str, response: Response) -> "go.Scatter":
    """The points of a group over their peaks: the best where there are many, diverged ones at the edge."""
    import plotly.graph_objects as go

    objective = response.task.objective
    ended = sorted((trial for trial in trials if trial.run), key=lambda trial: trial.rank(objective))
    shown = ended[:MOST_POINTS]
    places = [response.place(trial) for trial in shown]
    few = f" (best {MOST_POINTS} of {len(ended)})" if len(ended) > MOST_POINTS else ""
    return go.Scatter(
        x=_short([_peak(trial.policy) for trial in shown]),
        y=_short([response.edge if place is None else place for place in places]),
        mode="markers",
        name=name + few,
        text=[_hover(trial) for trial in shown],
        hovertemplate=f"%{{text}}<br>{_template(response.name)} %{{y}}",
        marker={
            "color": color,
            "size": 14 if shape == "star" else 9,
            "symbol": ["x-open" if place is None else shape for place in places],
        },
    )


def _scores(
    name: str, trials: Sequence[tuple[float, Trial]], shape: str, color: str, objective: Objective
) -> "go.Scatter":
    import plotly.graph_objects as go

    known = [(cost, trial, trial.run.score) for cost, trial in trials if trial.run and trial.run.score is not None]
    unit = " %" if objective.is_share else f" {_template(objective.unit)}" if objective.unit else ""
    return go.Scatter(
        x=_short([cost for cost, _, _ in known]),
        y=_short([drawn(objective, score) for _, _, score in known]),
        mode="markers",
        name=name,
        text=[_hover(trial) for _, trial, _ in known],
        hovertemplate=f"%{{text}}<br>%{{y}}{unit}",
        marker={"color": color, "symbol": shape, "size": 14 if shape.startswith("star") else 9},
    )


def _circle_answer(figure: "go.Figure", result: SearchResult, response: Response) -> None:
    """Draw a ring around the answer's own full run; there is none where it diverged."""
    import plotly.graph_objects as go

    trial = answer_trial(result)
    place = response.place(trial) if trial else None
    if trial and place is not None:
        figure.add_trace(
            go.Scatter(
                x=_short([_peak(trial.policy)]),
                y=_short([place]),
                mode="markers",
                name=_answer_name(result),
                hoverinfo="skip",
                marker={"color": INK, "symbol": "circle-open", "size": 22, "line": {"width": 2}},
            )
        )


def _answer_name(result: SearchResult) -> str:
    """The answer in a figure's legend."""
    label, answer = judged(result.decision)[0]
    return f"{label}: {html.escape(shortened(str(answer.policy), LONGEST_HOVER))}"


def _mark_range(figure: "go.Figure", result: SearchResult) -> None:
    """Shade the pruned peaks, and draw a line at the range-test optimum."""
    peak, optimum = result.pruned.space.peak, result.pruned.optimum
    figure.add_vrect(x0=peak.low, x1=peak.high, fillcolor=SHADE, line_width=0, layer="below")
    _write(figure, math.log10(peak.low), 0, f"searched: {peak.low:g} to {peak.high:g}", "left")
    if optimum:
        figure.add_vline(x=optimum, line={"color": ORANGE, "dash": "dash", "width": 1.5})
        _write(figure, math.log10(optimum), 1, f"range test: {optimum:.2g}", "right")


def _mark_costs(figure: "go.Figure", result: SearchResult, costs: Sequence[float]) -> None:
    """Shade what the probes cost, and draw lines at the answer's score and at all that was spent."""
    import plotly.graph_objects as go

    probed = max(
        (cost for cost, trial in zip(costs, result.history, strict=True) if trial.role in ("range-test", "decade")),
        default=0.0,
    )
    figure.add_vrect(
        x0=0, x1=float(f"{probed:.4g}"), fillcolor="rgba(138, 143, 152, 0.18)", line_width=0, layer="below"
    )
    _write(figure, 0, 0, f"probes: {probed:.2f}", "left")
    objective = result.decision.objective
    if result.best.score is not None:
        score = drawn(objective, result.best.score)
        figure.add_trace(
            go.Scatter(
                x=_short([0, max(float(result.setup.budget), result.cost)]),
                y=_short([score, score]),
                mode="lines",
                name=f"{_answer_name(result)}, {html.escape(score_text(result.best, objective), quote=False)}",
                hoverinfo="skip",
                line={"color": INK, "dash": "dot", "width": 1.5},
            )
        )
    figure.add_vline(x=float(f"{result.cost:.4g}"), line={"color": GREY, "width": 1})
    _write(figure, result.cost, 0, f"spent: {result.cost:.2f}", "right")


def _write(figure: "go.Figure", x: float, y: float, text: str, anchor: str) -> None:
    """Write beside x, at the bottom (0) or top (1); on a log axis, plotly takes a text's x as log10, not a line's."""
    figure.add_annotation(
        x=x,
        y=y,
        yref="paper",
        text=text,
        showarrow=False,
        xanchor=anchor,
        yanchor="top" if y else "bottom",
        font={"size": 11, "color": "#55595f"},
    )


def _lay_out(figure: "go.Figure", title: str, x: str, y: str) -> None:
    figure.update_layout(
        template="plotly_white",
        title={"text": html.escape(one_line(title)), "font": {"size": 16}},
        xaxis_title=x,
        yaxis_title=html.escape(one_line(y), quote=False),
        legend={"orientation": "h", "y": -0.22},
        margin={"l": 60, "r": 20, "t": 50, "b": 40},
    )


def _hover(trial: Trial) -> str:
    """A policy for a figure's label, where plotly reads a few HTML tags."""
    return html.escape(shortened(str(trial.policy), LONGEST_HOVER))


def _costs(result: SearchResult) -> list[float]:
    """The cost so far at the end of each trial, in FRE."""
    steps, costs = 0, []
    for trial in result.history:
        steps += trial.spent
        costs.append(steps / result.setup.task.horizon)
    return costs


def _peak(policy: Policy) -> float:
    """The highest learning rate."""
    return policy.bounds[1]


def _template(text: str) -> str:
    """A name for a hover template, in which braces and a few HTML tags have a meaning."""
    return html.escape(one_line(text)).replace("{", "(").replace("}", ")")


def _short(values: Iterable[float]) -> list[Any]:
    """Round to four digits: a figure's size is mostly its numbers."""
    return [float(f"{value:.4g}") for value in values]
