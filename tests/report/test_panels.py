"""The note and the figures that the dashboard shows."""

import json
import math
import re
from dataclasses import replace

import optuna
import pytest
from optuna_dashboard import get_note

from lrsearch.recommendation import Recommendation
from lrsearch.report.best_trial import optuna_best
from lrsearch.report.panels import (
    MOST_POINTS,
    PROGRESS_ID,
    RESPONSE_ID,
    code,
    progress_figure,
    publish,
    response_figure,
    study_note,
)
from lrsearch.runs import RunState
from lrsearch.schedules import FIX, TRI
from lrsearch.study.strategy import with_role

LARGEST = 50_000
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/p)",
    "`code` | cell | # head\n# more",
    "</td></table>",
    "**bold** $x$ ~~gone~~",
    "```\nfence",
    "a\r\nb\0c",
    "&lt;b&gt;",
]


def points(figure, name):
    return next(trace for trace in figure.data if trace.name.startswith(name))


def with_candidates(result, count):
    """A result as of a long search: its candidates over and over, each with another peak."""
    one = with_role(result.history, "candidate")[0]
    policies = [TRI(k0=0.001234, k1=0.01 + i / count, l=123.4) for i in range(count)]
    many = [replace(one, policy=policy, horizon=horizon) for horizon in (80, 320, 1280) for policy in policies]
    return replace(result, history=(*result.history, *many))


def test_the_response_figure_shows_every_probe_and_candidate(searched):
    figure, history = response_figure(searched.result), searched.result.history
    probes = points(figure, "FIX")
    assert list(probes.x) == pytest.approx(
        [
            t.policy.params["k0"]
            for t in sorted(with_role(history, "decade"), key=lambda t: t.rank(searched.result.setup.task.objective))
        ]
    )
    shown = sum(len(trace.x) for trace in figure.data if not trace.name.startswith("answer"))
    assert shown == sum(t.role in ("decade", "candidate", "default") for t in history)


def test_candidates_of_each_horizon_have_a_shape_of_their_own(searched):
    traces = [trace for trace in response_figure(searched.result).data if trace.name.startswith("candidates")]
    assert [trace.name for trace in traces] == [f"candidates, {steps} steps" for steps in (80, 320, 1280)]
    assert len({trace.marker.symbol[0] for trace in traces}) == 3


def test_the_response_figure_marks_the_pruned_range_and_the_range_test(searched):
    peak, figure = searched.result.pruned.space.peak, response_figure(searched.result)
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [
        (peak.low, peak.high),
        (searched.result.pruned.optimum, searched.result.pruned.optimum),
    ]
    assert [text.x for text in figure.layout.annotations] == pytest.approx(
        [math.log10(peak.low), math.log10(searched.result.pruned.optimum)]
    )


def test_a_diverged_run_is_shown_above_all_others(searched):
    first, *others = searched.result.history
    probe = next(t for t in others if t.role == "decade")
    run = replace(probe.stored.run, state=RunState.DIVERGED, score=None, loss=None)
    diverged = replace(probe, stored=replace(probe.stored, run=run))
    history = (first, *(diverged if t is probe else t for t in others))
    figure = response_figure(replace(searched.result, history=history))
    trace = points(figure, "FIX")
    assert trace.marker.symbol[-1] == "x-open"
    assert trace.y[-1] > max(y for other in figure.data for y in other.y if other is not trace)


def test_the_progress_figure_ends_at_the_cost_with_the_best_score_of_full_runs(searched):
    result, line = searched.result, progress_figure(searched.result).data[0]
    full = [
        t.run.score
        for t in result.history
        if t.role in ("default", "candidate") and t.horizon == result.setup.task.horizon
    ]
    assert line.y[-1] == pytest.approx(100 * max(full), rel=1e-3)
    assert line.x[-1] == pytest.approx(result.cost, rel=1e-3)
    assert list(line.y) == sorted(line.y)


def test_the_default_is_marked_where_it_ended(searched):
    star = points(progress_figure(searched.result), "default, the search's seed")
    assert list(star.y) == pytest.approx([100 * searched.result.default.score], rel=1e-3)
    assert star.x[0] > 1


@pytest.mark.parametrize("draw", [response_figure, progress_figure])
def test_figures_stay_small_however_long_the_search_was(searched, draw):
    figure = draw(with_candidates(searched.result, 400))
    assert 5_000 < len(figure.to_json()) < LARGEST
    assert all(len(trace.x) <= MOST_POINTS for trace in figure.data if trace.mode == "markers")


def test_a_search_without_any_candidate_is_drawn_too(searched):
    history = tuple(t for t in searched.result.history if t.role == "range-test")
    nothing = replace(searched.result, history=history)
    assert len(response_figure(nothing).data) == 2
    assert json.loads(progress_figure(nothing).to_json())["data"]


def test_the_note_tells_the_story(searched):
    result, note = searched.result, study_note(searched.result)
    assert code(str(result.best.policy)) in note
    assert result.verdict.replace("(", "\\(").replace(")", "\\)") in note
    assert f"{result.cost:.2f} of 3.25 full-run equivalents" in note
    for bound in result.pruned.bounds:
        assert code(bound.coordinate) in note
    assert f'lrs.parse("{result.best.policy}")' in note
    assert "The store knew no similar task" in note


def test_the_code_in_the_note_runs(searched):
    source = re.search(r"```python\n(.*?)```", study_note(searched.result), re.DOTALL)[1]
    assert len(source.strip().splitlines()) == 3
    import torch

    names = {"optimizer": torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)}
    exec(source, names)  # noqa: S102
    assert names["policy"] == searched.result.best.policy


def test_the_note_says_where_warm_starts_came_from(searched):
    known = Recommendation(FIX(k0=0.1), "other-task", 0.25, 0.9, 2, 0.0, None, 100)
    result = replace(searched.result, setup=replace(searched.result.setup, recommended=(known,)))
    told = "- `FIX(k0=0.1)`: the store's, 90.00 % on `other-task` over 2 seeds of 100 steps, at distance 0.25"
    assert told in study_note(result).splitlines()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(searched, text):
    """Outside of code spans no character that opens markup stays unescaped, and no line is added."""
    setup = searched.result.setup
    known = Recommendation(FIX(k0=0.1), text, 0.25, 0.9, 2, 0.0, None, 100)
    hostile = replace(
        searched.result, study=text, setup=replace(setup, task=replace(setup.task, name=text), recommended=(known,))
    )
    plain = replace(searched.result, setup=replace(setup, recommended=(known,)))
    note = study_note(hostile)
    assert len(note.splitlines()) == len(study_note(plain).splitlines())
    prose = re.sub(r"(?<!\\)(`+)(?!`).+?(?<!`)\1(?!`)", "", note.split("```python")[0])
    assert not re.search(r"(?<!\\)[<>\[\]$~]|javascript:(?<!\\)\(", prose)
    for figure in (response_figure(hostile), progress_figure(hostile)):
        assert not re.search(r"<(?!br>)", figure.layout.title.text)


@pytest.mark.parametrize("text", [*HOSTILE, "", "`", "a`b``c"])
def test_a_code_span_ends_where_it_should(text):
    span = code(text)
    fence = re.match("`+", span)[0]
    assert span.endswith(fence)
    assert "\n" not in span
    assert "|" not in span
    assert fence not in re.findall("`+", span[len(fence) : -len(fence)])


def test_publishing_again_replaces(searched):
    study = optuna.load_study(study_name=searched.result.study, storage=searched.storage)
    publish(searched.result, study)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    figures = {key.split(":")[2] for key in attributes if key.startswith("dashboard:plot_data:")}
    assert figures == {RESPONSE_ID, PROGRESS_ID}
    assert get_note(study) == study_note(searched.result, optuna_best(searched.result, study))
