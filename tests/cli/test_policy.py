"""policy list, show, table, plot, diff, convert and paths."""

import json

import pytest

from lrsearch.schedules import FUNCTIONS, parse

ONECYCLE = "CM(policy=ONECYCLE(k0=0.1, k1=1, l=[45, 90, 100], k2=0.001), m0=0.95, m1=0.85)"
PNG = b"\x89PNG"


def test_show_gives_the_policy_its_curve_and_its_coordinates(lrsearch):
    shown = lrsearch("policy", "show", "TRI( k1=0.006, k0=0.001,l=2000)")
    assert shown.code == 0
    assert shown.out.startswith("TRI(k0=0.001, k1=0.006, l=2000)\n")
    assert "cycles        2.5" in shown.out
    assert "period        4000" in shown.out
    assert "      2000  0.00599" in shown.out or "      2000  0.006" in shown.out


def test_show_binds_durations_and_shows_momentum(lrsearch):
    shown = json.loads(lrsearch("policy", "show", "LINEAR(k0=0.1, l=0.5dur)", "--steps", "1000", "--json").out)
    assert (shown["policy"], shown["horizon"], shown["period"]) == ("LINEAR(k0=0.1, l=500)", 500, None)
    assert shown["curve"][-1] == [999, 0.0]
    assert shown["json"]["name"] == "LINEAR"
    assert shown["coordinates"]["end"] == 0.5
    momenta = json.loads(lrsearch("policy", "show", ONECYCLE, "--steps", "101", "--json").out)["momentum"]
    assert (momenta[0], min(momenta)) == (0.95, pytest.approx(0.861, abs=1e-3))
    assert "momentum" in lrsearch("policy", "show", ONECYCLE).out


def test_a_duration_in_epochs_asks_for_the_epoch(lrsearch):
    refused = lrsearch("policy", "show", "LINEAR(k0=0.1, l=3ep)")
    assert refused.code == 2
    assert "3ep is known in steps when the epoch is" in refused.err
    assert "LINEAR(k0=0.1, l=1500)" in lrsearch("policy", "show", "LINEAR(k0=0.1, l=3ep)", "--epoch", "500").out


def test_a_controller_is_shown_without_a_curve_and_cannot_be_drawn(lrsearch):
    shown = lrsearch("policy", "show", "PLATEAU(k0=0.1, gamma=0.5)")
    assert shown.code == 0
    assert "feedback" in shown.out
    assert "learning rate" not in shown.out
    for command in ("plot", "paths"):
        refused = lrsearch("policy", command, "ASLR(k0=0.1)")
        assert (refused.code, refused.out) == (2, "")
        assert "ASLR needs feedback" in refused.err


def test_list_names_every_lr_function(lrsearch):
    listed = lrsearch("policy", "list").out
    first_words = {line.split()[0] for line in listed.splitlines() if line.strip()}
    assert first_words >= set(FUNCTIONS)
    found = {one["name"]: one for one in json.loads(lrsearch("policy", "list", "--json").out)}
    assert found.keys() == FUNCTIONS.keys()
    assert all(parse(one["example"]).name == name for name, one in found.items())
    assert found["TRI"]["parameters"] == ["k0", "k1", "l"]


def test_plot_draws_several_policies_into_a_png(lrsearch, tmp_path):
    drawn = lrsearch("policy", "plot", "FIX(k0=0.1)", "LINEAR(k0=0.2, l=1dur)", ONECYCLE, "-o", "deep/x.png")
    assert drawn.out.strip() == "deep/x.png"
    assert (tmp_path / "deep" / "x.png").read_bytes().startswith(PNG)


def test_the_table_is_drawn_on_one_page(lrsearch, tmp_path):
    assert lrsearch("policy", "table", "-o", "t.png").out.strip() == "t.png"
    assert (tmp_path / "t.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "arguments",
    [
        ("plot", "FIX(k0=0.1)", "-o", "x.jpg"),
        ("table", "-o", "x"),
        ("paths", "-o", "x.svg"),
        ("diff", "FIX(k0=0.1)", "FIX(k0=0.2)", "-o", "x.pdf"),
    ],
)
def test_a_picture_of_another_kind_is_refused(lrsearch, tmp_path, arguments):
    refused = lrsearch("policy", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "pictures are PNG files" in refused.err
    assert not list(tmp_path.glob("x*"))


def test_diff_says_where_and_by_how_much_two_policies_differ(lrsearch, tmp_path):
    arguments = ("policy", "diff", "STEP(k0=1, gamma=0.5, l=4)", "STEP(k0=1, gamma=0.5, l=5)", "--steps", "20")
    told = lrsearch(*arguments, "-o", "d.png").out
    assert "parameter l: 4 in A, 5 in B" in told
    assert "learning rate: differs from step 4 on" in told
    assert "by 0.5 at most, at step 4; relatively by 50 %" in told
    assert "  cycles       5                    4" in told
    assert (tmp_path / "d.png").read_bytes().startswith(PNG)
    found = json.loads(lrsearch(*arguments, "--json").out)
    assert found["learning_rate"]["first"] == 4
    assert found["parameters"] == {"l": ["4", "5"]}


def test_diff_tells_the_same_curve_whatever_its_name(lrsearch):
    told = lrsearch("policy", "diff", "COSRSW(k0=0, k1=1, l=50)", "SGDR(k0=0, k1=1, l=50)").out
    assert "learning rate: the same curve over 10000 steps" in told
    assert "differs" not in told


def test_diff_tells_what_only_one_of_them_has(lrsearch):
    told = lrsearch("policy", "diff", ONECYCLE, "FIX(k0=0.1)").out
    assert "LR function: CM in A, FIX in B" in told
    assert "momentum: only A carries one" in told
    refused = lrsearch("policy", "diff", "ASLR(k0=0.1)", "FIX(k0=0.1)", "-o", "x.png")
    assert (refused.code, "leave -o out" in refused.err) == (2, True)


def test_a_run_of_more_steps_than_can_be_drawn_is_refused(lrsearch):
    assert lrsearch("policy", "plot", "FIX(k0=0.1)", "--steps", "1000000000000").code == 2


def test_convert_goes_to_another_tool_and_back(lrsearch):
    there = lrsearch("policy", "convert", "STEP(k0=0.1, gamma=0.5, l=30)", "--to", "torch").out
    assert "StepLR(optimizer, step_size=30, gamma=0.5)" in there
    back = lrsearch("policy", "convert", "StepLR(step_size=30, gamma=0.5)", "--from", "torch", "--lr", "0.1").out
    assert back == "STEP(k0=0.1, gamma=0.5, l=30)\n"
    bound = lrsearch("policy", "convert", "LINEAR(k0=0.1, l=0.5dur)", "--to", "json", "--steps", "100").out
    assert json.loads(bound)["l"] == 50


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("REX(k0=0.1, l=100)", "--to", "torch"), "REX"),
        (("LambdaLR(lr_lambda=None)", "--from", "torch", "--lr", "0.1"), "LambdaLR"),
        (("StepLR(step_size=30)", "--from", "torch"), "lr"),
        (("FIX(k0=0.1)", "--to", "keras"), "keras"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_reason(lrsearch, arguments, says):
    refused = lrsearch("policy", "convert", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert says in refused.err
    assert "Traceback" not in refused.err


def test_paths_prints_where_each_policy_ends(lrsearch, tmp_path):
    told = lrsearch("policy", "paths", "-o", "p.png").out.splitlines()
    ends = {line.split()[3].partition("(")[0]: float(line.split()[2]) for line in told[1:4]}
    assert (ends["FIX"], ends["NSTEP"]) == (-5.0, -6.42)
    assert -6.5 < ends["TRIEXP"] < -1
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)
