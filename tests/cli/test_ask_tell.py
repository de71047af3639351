"""A study by hand from the shell: asked, told, released, shown; a shell or awk is all that a training needs."""

import json
import re
import subprocess

import pytest

from lrsearch import parse

NAMED = ("--name", "my-lm", "--horizon", "160", "--minimize", "val_loss", "--budget", "3", "--functions", "FIX,TRI")


@pytest.fixture
def asked(typed):
    """Ask for jobs of a study that is begun, as JSON."""
    assert typed("study", "ask", *NAMED).code == 0
    return lambda *words: typed("study", "ask", "my-lm", "--json", *words).json["jobs"]


def test_a_study_is_asked_told_and_shown_by_the_beginning_of_its_name(typed, tmp_path):
    ended = typed("study", "ask", *NAMED)
    assert ended.out.startswith("job 0    range-test     40 steps  seed 0  RAMP(k0=1e-7, k1=10, l=39)")
    assert "lrsearch study tell my-lm-" in ended.err
    assert "--curves FILE" in ended.err
    curve = tmp_path / "losses.txt"
    curve.write_text("".join(f"{3 - 0.05 * step if step < 30 else 9}\n" for step in range(40)))
    told = typed("study", "tell", "my-lm", "0", "--curves", str(curve), "--json")
    assert (told.code, told.json["state"], told.json["left"]) == (0, "finished", 2.75)
    (job,) = typed("study", "ask", "my-lm", "--json").json["jobs"]
    assert job["purpose"] == "decade"
    assert "job 1 finished" in typed("study", "tell", "my-lm", "1", "val_loss=1.5", "accuracy=.5").out
    shown = typed("study", "show", "my-lm")
    assert "nothing to answer yet: the strong default is job 2, which nobody has asked for" in shown.out
    assert typed("study", "show", "my-lm", "--json").json["result"] is None


def test_a_training_in_awk_is_searched_to_its_end(typed, tmp_path):
    """Its loss falls by what the learning rates add up to, and grows above 1."""
    program = "{ r = $1 > 1 ? 1 : $1; left *= exp(-r / 20); if ($1 > 1) left *= exp($1 - 1); print left }"
    typed("study", "ask", *NAMED, "--most", "9")
    while True:
        state = typed("study", "show", "my-lm", "--json").json
        for job in state["open_jobs"]:
            rows = "\n".join(map(str, parse(job["policy"]).curve(job["horizon"])))
            losses = subprocess.run(
                ["awk", f"BEGIN {{ left = 1 }} {program}"], input=rows, capture_output=True, text=True, check=True
            ).stdout
            if job["purpose"] == "range-test":
                curve = tmp_path / "curve.txt"
                curve.write_text(losses)
                told = ("--curves", str(curve))
            else:
                told = (f"val_loss={losses.split()[-1]}",)
            assert typed("study", "tell", "my-lm", str(job["number"]), *told).code == 0
        if not typed("study", "ask", "my-lm", "--most", "9", "--json").json["jobs"]:
            break
    shown = typed("study", "show", "my-lm")
    assert "Use " in shown.out
    assert "is done" in shown.out
    assert "the study is done: lrsearch study show my-lm-" in typed("study", "ask", "my-lm").err


def test_a_job_is_released_and_one_that_failed_says_why(typed, asked):
    assert asked() == []
    assert "job 0 is out" not in typed("study", "ask", "my-lm").out
    assert typed("study", "release", "my-lm", "0").code == 0
    assert [job["number"] for job in asked()] == [0]
    assert "job 0 failed" in typed("study", "tell", "my-lm", "0", "--failed", "out of memory").out
    again = typed("study", "tell", "my-lm", "0", "2.0")
    assert (again.code, "told before: failed: out of memory" in again.err) == (2, True)


def test_a_curve_may_be_json_or_have_its_steps(typed, asked, tmp_path):
    losses = [3 - 0.05 * step for step in range(40)]
    for number, text in enumerate(
        (json.dumps({"train_loss": losses}), "\n".join(f"{step} {loss}" for step, loss in enumerate(losses, 1)))
    ):
        (tmp_path / "curve").write_text(text)
        assert typed("study", "tell", "my-lm", "0", "--curves", "curve").code == (2 if number else 0)


REFUSED = [
    (("ask",), "ask takes a TASK"),
    (("ask", "train.py:f", "--name", "a"), "ask takes a TASK"),
    (("ask", "other"), "no study 'other'.*A new study begins with"),
    (("ask", "digits-mlp"), "no study 'digits-mlp'"),
    (("ask", "my-lm", "--budget", "4"), "leave --budget out"),
    (("ask", "my-lm", "--no-range-test"), "leave --no-range-test out"),
    (("ask", "my-lm", "--epoch", "4"), "--epoch goes with --name"),
    (("ask", "--name", "a", "--minimize", "loss"), "needs --name and --horizon"),
    (("ask", "--name", "a", "--horizon", "100"), "give minimize='val_loss'"),
    (("ask", "--name", "a", "--horizon", "100", "--minimize", "a", "--maximize", "b"), "one metric is asked for"),
    (("ask", "--name", "a", "--horizon", "100", "--minimize", "a", "--lr-range", "3"), "LOW,HIGH"),
    (("ask", "--name", "a", "--horizon", "100", "--minimize", "a", "--budget", "1"), "budget of 1 FRE is too small"),
    (("ask", *NAMED, "--most", "0"), "most is how many jobs"),
    (("tell", "my-lm", "0"), "tell one of four"),
    (("tell", "my-lm", "0", "2.1"), "it is a range test"),
    (("tell", "my-lm", "5", "2.1"), "job 5 was never asked for"),
    (("tell", "my-lm", "0", "a=1", "b"), "METRIC=VALUE"),
    (("tell", "my-lm", "0", "--curves", "none.txt"), "none.txt cannot be read"),
    (("tell", "my-lm", "0", "--failed", ""), "failed says why"),
    (("release", "my-lm", "5"), "never asked for"),
    (("show", "other"), "no study 'other'"),
]


def test_what_cannot_be_is_refused(typed, asked):
    """In one study, which none of it changes."""
    for words, match in REFUSED:
        ended = typed("study", *words)
        assert ended.code == 2, words
        assert re.search(match, ended.err), (words, ended.err)
    assert [job["number"] for job in typed("study", "show", "my-lm", "--json").json["open_jobs"]] == [0]
