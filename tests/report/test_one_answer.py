"""One search has one winner: terminal, JSON, notes, figures, pictures and "use it" name the same policy."""

import contextlib
import io
import json
import re
from dataclasses import replace

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna_dashboard import get_note

from lrsearch.cli.show import print_result
from lrsearch.report import best_trial
from lrsearch.report.canvas import blank
from lrsearch.report.figures import draw_policies, draw_progress, draw_response, draw_search
from lrsearch.report.panels import progress_figure, publish, response_figure, study_note
from lrsearch.report.summary import answer_trial
from lrsearch.samplers.optuna import OptunaSampler
from lrsearch.schedules import parse
from lrsearch.spaces.optuna import POLICY

scores = st.one_of(st.none(), st.integers(0, 384).map(lambda hits: hits / 384))
histories = st.tuples(
    scores, st.lists(scores, max_size=3).map(tuple), st.lists(st.tuples(scores, scores), max_size=3).map(tuple)
)
TIE = (0.95, (0.98,), ((0.96, 0.97), (0.97, 0.97)))
"""The search's own seed likes the candidate better, fresh seeds cannot tell: the default is the answer."""
WON, SMALL, HOPELESS = (0.9, (0.95,), ((0.8, 0.95), (0.8, 0.96))), (0.97, (), ()), (None, (None,), ())
USE = re.compile(r'lrs\.parse\("(.*)"\)')


def in_optuna(result):
    """The Optuna study of a search, as the engine tells it."""
    sampler = OptunaSampler("study", None, 0, result.setup.task.horizon)
    for trial in result.history:
        if trial.role in ("default", "candidate"):
            sampler.add(trial, result.pruned.space)
            sampler.tell(trial, trial.run)
    return sampler.study


def advised(verdict, result):
    """The policy that a verdict advises; the default where it advises none."""
    verdict = verdict.replace("\\", "")
    if verdict.startswith("Use the default, "):
        text = verdict.removeprefix("Use the default, ")
    else:
        text = verdict.removeprefix("Use ") if not verdict.startswith("Use no ") else str(result.default.policy)
    return next(parse(text[:end]) for end in range(len(text), 0, -1) if text[end - 1] == ")" and is_policy(text[:end]))


def is_policy(text):
    try:
        parse(text)
    except ValueError:
        return False
    return True


def drawn(draw, result):
    """The title and the legend of a picture, each of its texts on one line."""
    axes = blank(7, 4).add_subplot()
    draw(axes, result)
    legend = axes.get_legend()
    texts = [text.get_text() for text in legend.get_texts()] if legend else []
    return axes.get_title(), [" ".join(text.split()) for text in texts]


def printed(result):
    """What people get on the terminal, line by line."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_result(result, [], None)
    return out.getvalue().splitlines()


def answered(study, note):
    """The trial that the note calls the answer."""
    found = re.search(r"number (\d+), is the answer|that is trial number (\d+)", note)
    return study.trials[int(found[1] or found[2])] if found else None


@settings(max_examples=40, deadline=None)
@given(history=st.one_of(st.sampled_from([TIE, WON, SMALL, HOPELESS]), histories))
def test_every_report_names_the_winner_that_was_decided(result_of, history):
    default, candidates, pairs = history
    pairs = pairs if any(score is not None for score in candidates) else ()
    result = result_of(default, candidates, pairs)
    winner, is_usable = result.best.policy, result.decision.is_usable
    said = printed(result)
    assert advised(said[0], result) == winner
    assert [parse(text) for text in USE.findall("\n".join(said))] == ([winner] if is_usable else [])
    assert parse(json.loads(json.dumps(result.to_json()))["best"]["policy"]) == winner

    study = in_optuna(result)
    note = study_note(result, best_trial.optuna_best(result, study))
    assert advised(note.split("**")[1], result) == winner
    assert parse(re.search(r"\| *\u00a0(?:answer|default)[^|]*\|\u00a0`(.*?)`", note)[1]) == winner
    assert [parse(text) for text in USE.findall(note)] == ([winner] if is_usable else [])
    trial = answered(study, note)
    assert trial is None or parse(trial.user_attrs[POLICY]) == winner
    assert (trial is not None) is (answer_trial(result) is not None and answer_trial(result).run.score is not None)

    kind = "the default" if winner == result.default.policy else winner.form
    for draw in (draw_policies, draw_progress, draw_response):
        title, legend = drawn(draw, result)
        assert title.endswith(" no answer") if not is_usable else f"answer: {kind} (" in title
        named = [text.partition(": ")[2] for text in legend if text.startswith("answer")]
        assert len(named) == is_usable or (draw is draw_progress and not legend)
        if draw is not draw_response:
            assert [parse(re.split(r", \d+\.\d\d %", text)[0]) for text in named] == [winner] * len(named)
    for draw in (progress_figure, response_figure):
        figure = draw(result)
        assert ("no answer" if not is_usable else f"answer: {kind} (") in figure.layout.title.text
        names = [trace.name.partition(": ")[2] for trace in figure.data if trace.name.startswith("answer")]
        assert all(name.startswith(str(winner)[:57]) for name in names)


def test_on_a_tie_optunas_best_trial_is_another_and_the_study_says_so(result_of):
    result = result_of(*TIE)
    study = in_optuna(result)
    publish(result, study)
    best = study.best_trial
    assert parse(best.user_attrs[POLICY]) == result.best_found.policy != result.best.policy
    sentence = (
        f"Optuna's best trial, number {best.number}, is not the answer: that is trial number 0; a trial's value"
        " is the score of the search's own seed, and the verdict says what decides."
    )
    assert study.user_attrs == {
        best_trial.VERDICT: result.verdict,
        best_trial.ANSWER: str(result.default.policy),
        best_trial.ANSWER_TRIAL: 0,
        best_trial.BEST_FOUND: str(result.best_found.policy),
        best_trial.OPTUNA_BEST: sentence,
    }
    assert study.metric_names == ["validation top-1, the search's own seed"]
    assert [trial.value for trial in study.trials] == [0.95, 0.98]
    for trial in study.trials:
        note = get_note(optuna.Trial(study, trial._trial_id)).replace("\\", "")
        assert note == f"{result.verdict}\n\n{sentence}\n"


def test_where_optunas_best_trial_is_the_answer_that_is_said_too(result_of):
    result = result_of(*WON)
    assert "Optuna's best trial, number 1, is the answer;" in best_trial.optuna_best(result, in_optuna(result))
    nothing = result_of(*HOPELESS)
    assert "none is complete" in best_trial.optuna_best(nothing, in_optuna(nothing))


def test_an_older_study_hears_the_answer_though_nothing_is_trained(result_of):
    result = result_of(*TIE)
    study = in_optuna(result)
    assert not best_trial.is_noted(result, study)
    publish(result, study)
    assert best_trial.is_noted(result, study)
    assert not best_trial.is_noted(result_of(*WON), study)


def test_pictures_of_another_verdict_are_drawn_again_and_others_stay(result_of, tmp_path):
    result = result_of(*TIE)
    reused = replace(result, spent=replace(result.spent, trained_runs=0))
    (tmp_path / "policy.png").write_bytes(b"\x89PNG of an older version")
    files = draw_search(reused, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in files}
    assert all(result.verdict.encode() in path.read_bytes() for path in files)
    assert {path: path.stat().st_mtime_ns for path in draw_search(reused, tmp_path)} == before
    other = draw_search(replace(reused, decision=result_of(*WON).decision), tmp_path)
    assert not any(path.stat().st_mtime_ns == before[path] for path in other)


def test_the_metrics_on_the_test_set_stand_beside_the_policies_that_were_read(result_of, capsys):
    test = {"best": 0.96, "default": None, "note": "read once", "metrics": {"best": {"top1": 0.96}, "default": {}}}
    print_result(result_of(*WON), [], test)
    out = capsys.readouterr().out
    assert "96.00 %; default diverged (read once)" in out
    assert re.search(r"^answer, test +96.00 .*\n(?s:.*)^default, test +- ", out, re.MULTILINE)
    print_result(result_of(*TIE), [], test | {"default": 0.96})
    out = capsys.readouterr().out
    assert "96.00 % (read once)" in out
    assert not re.search("best found, test|default, test", out)
    assert max(map(len, re.search(r"metrics at.*\n((?:.*\n){4})", out)[1].splitlines())) <= 80
