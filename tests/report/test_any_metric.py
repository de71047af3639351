"""Reports of any metric: in its own unit and direction, with no percent and no points where it is no share."""

import ast
import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

import lrsearch as lrs
from lrsearch.cli.show import print_result
from lrsearch.cli.show_compared import print_comparison, print_table
from lrsearch.compare.comparison import Comparison, Course
from lrsearch.compare.reproduction import Outcome, Results
from lrsearch.report.best_trial import mark_answer
from lrsearch.report.canvas import blank
from lrsearch.report.comparison import draw_comparison
from lrsearch.report.figures import draw_policies, draw_progress, draw_range_test, draw_response
from lrsearch.report.metric import axis, cell, column
from lrsearch.report.panels import progress_figure, response_figure, study_note
from lrsearch.report.response import response_of
from lrsearch.report.summary import peak_of, what_failed, what_started_up, what_was_tried
from lrsearch.runs import Run, RunState, maximize, minimize
from lrsearch.schedules import FIX
from lrsearch.study.decision import decide
from lrsearch.study.strategy import with_role
from lrsearch.study.table import PolicyTable, Row

SHARES = re.compile(
    r"% of the raw space's prior mass|% of the training time|1 % to 20\b|20 % of the run|20 % and 95 %"
    r"|95 % of the run"
)
"""What is a share: of a volume, of a time, of a run."""
PLACEHOLDERS = re.compile(r"%\{(text|x|y)\}")


def changed(result, turn, objective, **more):
    """A result whose runs are others, and whose task has another objective first."""
    task = result.setup.task
    task = replace(task, objectives=(objective, *task.objectives[1:]), **more)
    history = tuple(
        replace(trial, stored=replace(trial.stored, run=turn(trial.run))) if trial.run else trial
        for trial in result.history
    )
    return replace(
        result,
        setup=replace(result.setup, task=task),
        history=history,
        decision=decide(history, task.horizon, objective),
    )


def with_scores(value):
    """What turns the score of a run that has one."""
    return lambda run: run if run.score is None else replace(run, score=value(run.score))


@pytest.fixture(params=["maximized, below 0", "minimized, with a unit", "minimized, without"])
def told(request, heard):
    if request.param == "maximized, below 0":
        return heard.result
    objective = minimize("val_mse", unit="cm" if "with a" in request.param else "")
    return changed(heard.result, with_scores(lambda score: -score - 2.5), objective)


def printed(result):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_result(result, [], None)
    return out.getvalue()


def drawn(draw, result):
    axes = blank(7, 4).add_subplot()
    draw(axes, result)
    return axes


def texts(axes):
    legend = axes.get_legend()
    return [
        axes.get_title(),
        axes.get_xlabel(),
        axes.get_ylabel(),
        *(t.get_text() for t in axes.texts),
        *(t.get_text() for t in (legend.get_texts() if legend else [])),
    ]


def check_units(text):
    assert "%" not in SHARES.sub("", " ".join(text.split()))
    assert "points" not in text


def test_nothing_that_is_no_share_is_told_in_percent(told):
    check_units(printed(told))
    check_units(study_note(told).replace("\\", ""))
    for draw in (draw_range_test, draw_response, draw_policies, draw_progress):
        for text in texts(drawn(draw, told)):
            check_units(text)
    for figure in (response_figure(told), progress_figure(told)):
        check_units(PLACEHOLDERS.sub("", figure.to_json()))


def test_a_line_of_talk_has_the_metric_in_its_unit(heard):
    lines = [line for line in heard.printer.splitlines() if " default " in line]
    assert re.search(r"64 steps +-3(\.\d+)? nats  WARMUP", lines[0])
    assert "%" not in heard.printer


def test_the_answer_is_told_with_the_metric_s_unit(told):
    objective = told.decision.objective
    assert f" {objective.text(told.best.score)} (" in re.sub(" +", " ", printed(told).replace(" +- ", " ("))
    note = study_note(told)
    assert f"{objective.name.replace('_', chr(92) + '_')}, {'lower' if objective.is_minimized else 'higher'}" in note


def test_the_tables_have_the_columns_of_the_task_and_no_empty_ones(heard):
    out = printed(heard.result)
    assert re.search(r"^ +steps +elbo, nats  from +policy", out, re.MULTILINE)
    assert re.search(r"^of +extra +size +best at *$", out, re.MULTILINE)
    assert "top-" not in out
    assert "CDAC" not in out
    assert "test_elbo" not in out
    assert "test_elbo" not in json.dumps(heard.result.to_json(), allow_nan=False)


def test_a_training_with_one_metric_has_no_table_of_others(heard):
    one = changed(heard.result, lambda run: replace(run, scores={}), maximize("elbo"))
    assert "other metrics" not in printed(one)
    assert "other metrics" in printed(heard.result)


def test_the_front_of_several_objectives_is_a_table(heard):
    out = printed(heard.result)
    assert "the front (maximize elbo and minimize size): full runs that no other beats" in out
    rows = re.search(r"^elbo, nats +size +seed +policy *\n(.*)", out, re.MULTILINE)[1].splitlines()
    front = heard.result.front()
    assert rows[0].split()[:2] == [cell(maximize("elbo"), front[0].run.score), f"{front[0].run.scores['size']:.5g}"]
    alone = replace(heard.result.setup.task, objectives=heard.result.setup.task.objectives[:1])
    assert "the front" not in printed(replace(heard.result, setup=replace(heard.result.setup, task=alone)))


def test_a_function_is_also_used_by_training_it_once_more(heard, searched):
    assert f'run = lrs.train(f, "{heard.result.best.policy}")' in printed(heard.result)
    assert "policy.scheduler(optimizer)" in printed(heard.result)
    assert "lrs.train" not in printed(searched.result)


def test_a_policy_that_nobody_checked_is_said(heard, searched):
    told = [line for line in heard.result.warnings if "was not checked" in line]
    assert told == list(heard.result.warnings)
    assert "never asked for job.scheduler(optimizer)" in printed(heard.result)
    assert searched.result.warnings == ()


def test_runs_that_failed_are_told_with_their_cause_in_a_line(heard):
    failed = [trial for trial in heard.result.history if trial.run.state is RunState.FAILED]
    assert failed
    assert re.search(
        rf"^failed +{len(failed)} runs?: error: ValueError: no sines here( \(x \d+\))?$",
        printed(heard.result),
        re.MULTILINE,
    )


def test_many_causes_of_failures_stay_one_short_line(heard):
    numbers = iter(range(1000))

    def broken(run):
        said = f"ValueError: {next(numbers)}\n\0b"
        return Run(state=RunState.FAILED, steps=1, seconds=1.0, cause="error", error=said)

    said = what_failed(replace(heard.result, history=changed_history(heard.result, broken)))
    assert re.fullmatch(r"\d+ runs: (error: ValueError: \d; ){3}and \d+ other causes", said)


def changed_history(result, turn):
    return tuple(replace(trial, stored=replace(trial.stored, run=turn(trial.run))) for trial in result.history)


def test_start_up_is_told_where_it_costs(heard):
    def started(seconds):
        return lambda run: replace(run, seconds=10.0, startup_seconds=seconds)

    slow, quick, unknown = (
        replace(heard.result, history=changed_history(heard.result, started(seconds))) for seconds in (1.2, 0.4, None)
    )
    assert what_started_up(slow) == "12 % of the training time was spent before the first update"
    assert re.search(r"^start-up +12 % of the training", printed(slow), re.MULTILINE)
    assert what_started_up(quick) is what_started_up(unknown) is None


def test_what_was_tried_names_a_check_and_roles_it_does_not_know(heard):
    first, second, *others = heard.result.history
    trials = [replace(trial, role=role) for trial, role in ((first, "check"), (second, "exploration"))]
    names = [name for name, _, _ in what_was_tried(replace(heard.result, history=(*trials, *others)))]
    assert names[:2] == ["the check of the training: two updates", "exploration"]


def test_a_response_shows_the_metric_as_its_numbers_are(heard):
    axes = drawn(draw_response, heard.result)
    assert axes.get_ylabel() == "elbo at the end, nats (higher is better)"
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert low < high < -2.5
    default = next(line for line in axes.lines if line.get_label() == "default")
    assert list(default.get_ydata()) == [with_role(heard.result.history, "default")[0].run.score]


def test_a_run_that_blew_up_is_a_cross_at_the_worse_edge_and_one_that_failed_is_not_there(heard):
    probes = [trial for trial in with_role(heard.result.history, "decade") if trial.run.score is not None]
    highest = max(probes, key=peak_of).run.score
    worse = changed(heard.result, with_scores(lambda score: -900.0 if score == highest else score), maximize("elbo"))
    lost = [trial for trial in worse.history if trial.run.score == -900.0]
    axes = drawn(draw_response, worse)
    crosses = next(line for line in axes.lines if line.get_label() == "diverged, or far worse")
    others = [place for line in axes.lines if line is not crosses for place in line.get_ydata() if place < -1]
    assert len(lost) == len(crosses.get_xdata()) > 0
    assert axes.get_ylim()[0] <= max(crosses.get_ydata()) < min(others)


def scored(trials, *scores):
    """Trials with scores; None is a run that diverged."""
    runs = [
        replace(trial.run, score=score, state=RunState.FINISHED if score is not None else RunState.DIVERGED)
        for trial, score in zip(trials, scores, strict=False)
    ]
    return [replace(trial, stored=replace(trial.stored, run=run)) for trial, run in zip(trials, runs, strict=False)]


@pytest.mark.parametrize("objective", [minimize("loss"), maximize("gain")], ids=str)
@pytest.mark.parametrize(
    "scores",
    [
        (1.0, 2.0, 1.5),
        (-1.0, 1.0, -1.5),
        (0.0, 5.0, 2.0),
        (0.01, 90.0, 3.0),
        (-3.0, -1e9, -2.0, -2.5),
        (-3.0, 1e9, -2.0, -2.5),
        (2.0,),
        (0.0,),
        (),
    ],
    ids=str,
)
def test_an_axis_of_any_values_is_logarithmic_only_above_0_and_has_the_diverged_at_the_worse_edge(
    heard, objective, scores
):
    trials = scored(heard.result.history, *scores, None)
    response = response_of(replace(heard.result.setup.task, objectives=(objective,)), trials)
    places = [response.place(trial) for trial in trials]
    assert places[-1] is None
    assert all(objective.cost(place) < objective.cost(response.edge) for place in places if place is not None)
    assert not response.is_log or min([*scores, response.edge], default=1) > 0
    far = [score for score, place in zip(scores, places[:-1], strict=True) if place is None]
    assert far == [score for score in scores if abs(score) == 1e9 and objective.cost(score) > 0]


def test_runs_that_learned_nothing_do_not_stand_at_the_edge(heard):
    """However many good ones there are beside them."""
    trials = scored(heard.result.history, *[-3.0, -3.001, -3.002] * 5, -4.0, -900.0)
    rates = [0.1 + place / 100 for place in range(15)] + [1e-4, 5.0]
    trials = [replace(trial, policy=FIX(k0=lr)) for trial, lr in zip(trials, rates, strict=True)]
    response = response_of(heard.result.setup.task, trials)
    assert [response.place(trial) for trial in trials[-2:]] == [-4.0, None]
    assert -5 < response.edge < -4


def test_the_loss_of_the_own_loop_stays_logarithmic(searched):
    trials = [trial for trial in searched.result.history if trial.role != "range-test"]
    response = response_of(searched.result.setup.task, trials)
    losses = [trial.run.loss for trial in trials if trial.run.loss is not None]
    assert (response.is_log, response.label) == (True, "validation loss at the end")
    assert response.edge == pytest.approx(1.5 * max(losses))
    assert [response.place(trial) for trial in trials if trial.run.loss is not None] == losses


def test_the_best_so_far_goes_in_the_objective_s_direction(told):
    objective = told.decision.objective
    best = list(progress_figure(told).data[0].y)
    assert best == sorted(best, reverse=objective.is_minimized)
    assert best[-1] == pytest.approx(
        min(
            (
                trial.run.score
                for trial in (*with_role(told.history, "default"), *with_role(told.history, "candidate"))
                if trial.horizon == told.setup.task.horizon and trial.run.score is not None
            ),
            key=objective.cost,
        ),
        rel=1e-3,
    )
    assert drawn(draw_progress, told).get_ylabel() == axis(objective)


def test_an_answer_without_a_score_is_drawn_and_told(heard):
    lost = changed(heard.result, lambda run: replace(run, state=RunState.DIVERGED, score=None), maximize("elbo"))
    assert json.loads(json.dumps(lost.to_json(), allow_nan=False))["best"]["score"] is lost.best.score is None
    assert "diverged (" in printed(lost)
    assert drawn(draw_progress, lost).get_title().startswith("No full-length run finished")
    assert len(progress_figure(lost).data) == 5
    assert response_figure(lost).data


def test_a_range_test_without_losses_says_so_and_one_below_0_is_seen(heard):
    silent = changed(heard.result, lambda run: replace(run, train_losses=()), maximize("elbo"))
    assert "the training logs no train_loss" in texts(drawn(draw_range_test, silent))
    below = changed(
        heard.result,
        lambda run: replace(run, train_losses=tuple(loss and loss - 5 for loss in run.train_losses)),
        maximize("elbo"),
    )
    low, high = drawn(draw_range_test, below).get_ylim()
    assert low < -5 < -4 < high < 0


def test_a_metric_s_name_is_no_formula_and_no_markup(heard):
    odd = changed(heard.result, lambda run: run, maximize("$\\frac{a$ <b>%{x}"))
    axes = drawn(draw_progress, odd)
    axes.figure.canvas.draw()
    for figure in (response_figure(odd), progress_figure(odd)):
        assert "<b>" not in figure.to_json()
    assert "<b>" not in study_note(odd).replace("\\<", "")


def test_optuna_s_values_are_named_by_the_metric(told):
    study = optuna.create_study(direction=told.decision.objective.direction)
    mark_answer(told, study)
    assert study.metric_names == [f"{told.decision.objective.name}, the search's own seed"]


def courses(objective, *bests):
    return Comparison(
        "mine",
        4,
        tuple(
            Course(name, 0, ((2.0, best),) if best is not None else (), 4.0, 1, objective)
            for name, best in zip(("funnel", "tpe"), bests, strict=True)
        ),
    )


@pytest.mark.parametrize("bests", [(-1.5, 2.5), (2.5, None), (None, None)])
def test_a_comparison_is_told_and_drawn_in_the_metric_s_unit(bests, tmp_path, capsys):
    comparison = courses(minimize("energy", unit="J"), *bests)
    assert draw_comparison(comparison, tmp_path).is_file()
    print_comparison(comparison, "p.png")
    out = capsys.readouterr().out
    check_units(out)
    assert "best energy, J" in out


def test_a_table_of_policies_is_told_and_drawn_in_the_metric_s_unit(heard, tmp_path, capsys):
    from lrsearch.report.reproduction import draw_results

    rows = tuple(Row(FIX(k0=lr)) for lr in (0.1, 0.2, 0.3))
    task = replace(heard.result.setup.task, objectives=(minimize("val_mse"),))
    runs = ({0: Run(state=RunState.FINISHED, steps=64, seconds=1.0, score=score)} for score in (3.25, -1.5))
    outcomes = (*(Outcome(row, found) for row, found in zip(rows, runs, strict=False)), Outcome(rows[2], {}))
    results = Results(PolicyTable("mine", task, rows, 1, "", 64), outcomes)
    assert draw_results(results, tmp_path).is_file()
    print_table(results, "p.png")
    lines = capsys.readouterr().out.splitlines()
    check_units("\n".join(lines).replace("t-test over seeds at 5 %", ""))
    assert [line.split()[0] for line in lines[1:5]] == ["val_mse", "-1.5", "3.25", "-"]


def test_names_and_cells_of_metrics():
    share = maximize("accuracy", samples=384)
    assert (column(share), cell(share, 0.5), axis(share)) == ("accuracy, %", "50.00", "accuracy, % (higher is better)")
    assert column(minimize("x" * 90)) == "x" * 29 + "..."


OTHERWISE = {
    ("cli/show_compared.py", "outcome.metric('top1', 'end')"),  # of a classification alone
    ("study/verdict.py", "question.target"),  # in as many digits as were given
}


def test_only_an_objective_makes_percent_of_a_metric():
    found = set()
    root = Path(lrs.__file__).parent
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and place != "runs/objective.py":
                sides = [ast.unparse(side) for side in (node.left, node.right)]
                if "100" in sides and re.search("score|best|mean|spread|target|plain|top1|each", " ".join(sides)):
                    found.add((place, *(side for side in sides if side != "100")))
    assert found == OTHERWISE
