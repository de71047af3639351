"""`lrsearch range-test`: what it prints, draws and records."""

import pytest


def test_it_advises_draws_and_a_search_trains_its_runs_no_more(lrsearch, tmp_path):
    found = lrsearch("range-test", "digits-mlp", "--out", "o", "--json")
    assert found.code == 0, found.err
    tests = found.json["tests"]
    assert [one["verdict"] for one in tests] == ["found"]
    assert tests[0]["suggestions"][0]["rule"] == "bottom"
    assert 0.01 < tests[0]["suggestions"][0]["rate"] < 2
    assert len(tests[0]["curves"]) == 2
    assert len(tests[0]["curves"][0]["looks"]) >= 20
    assert (tmp_path / found.json["pictures"][0]).stat().st_size > 10_000
    searched = lrsearch("search", "digits-mlp", "--budget", "2", "--out", "o", "--json")
    assert searched.code == 0, searched.err
    assert searched.json["cost"]["reused_runs"] == 1  # so small a budget buys one range test
    again = lrsearch("range-test", "digits-mlp", "--out", "o", "--json")
    assert again.json["tests"] == tests


def test_weight_decays_are_compared_and_a_linear_one_is_drawn(lrsearch, tmp_path):
    found = lrsearch(
        "range-test",
        "digits-mlp",
        "--out",
        "o",
        "--weight-decays",
        "1e-2,0",
        "--repeats",
        "1",
        "--shape",
        "linear",
        "--low",
        "0.001",
        "--high",
        "1",
        "--momentum",
        "0.95,0.85",
        "--steps",
        "60",
    )
    assert found.code == 0, found.err
    assert "weight decay 0.01: 1 test of 60 updates" in found.out
    assert "weight decay 0: 1 test" in found.out
    assert "bottom / 5" in found.out
    assert (tmp_path / "o/digits-mlp/range-test.png").is_file()


def test_a_flat_curve_is_a_verdict(lrsearch):
    found = lrsearch("range-test", "digits-mlp", "--out", "o", "--low", "1e-9", "--high", "1e-8", "--steps", "40")
    assert found.code == 0, found.err
    assert "No curve falls: they suggest nothing." in found.out


def test_one_that_diverges_at_once_is_drawn(lrsearch):
    found = lrsearch(
        "range-test", "digits-mlp", "--out", "o", "--low", "1e4", "--high", "1e6", "--steps", "5000", "--repeats", "1"
    )
    assert found.code == 0, found.err
    assert "No curve falls" in found.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("digit",), "no task"),
        (("digits-mlp", "--repeats", "0"), "repeats is a whole number from 1 to 99, got 0"),
        (("digits-mlp", "--low", "3", "--high", "1"), "to a higher one, got 3.0 to 1.0"),
        (("digits-mlp", "--momentum", "0.9"), "--momentum takes two numbers"),
        (("digits-mlp", "--momentum", "0.9,1.5"), "m1"),
        (("digits-mlp", "--weight-decays", "a"), "--weight-decays takes numbers"),
        (("digits-mlp", "--weight-decays", "-1"), "weight_decay"),
        (("digits-mlp", "--shape", "round"), "the shape is exponential or linear"),
        (("digits-mlp", "--steps", "5"), "20 updates or more"),
    ],
)
def test_wrong_input_is_refused_in_a_line(typed, words, says):
    found = typed("range-test", *words, "--out", "o")
    assert found.code == 2
    assert says in found.err
    assert "Traceback" not in found.err
