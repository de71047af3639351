"""policy list, show and plot."""

from lrsearch.schedules import FUNCTIONS


def test_show_gives_the_policy_its_curve_and_its_coordinates(lrsearch):
    shown = lrsearch("policy", "show", "TRI( k1=0.006, k0=0.001,l=2000)")
    assert shown.code == 0
    assert shown.out.startswith("TRI(k0=0.001, k1=0.006, l=2000)\n")
    assert "cycles       2.5" in shown.out
    assert "      2000  0.00599" in shown.out or "      2000  0.006" in shown.out


def test_list_names_every_lr_function(lrsearch):
    listed = lrsearch("policy", "list").out
    assert all(f"{name}(" in listed for name in FUNCTIONS)


def test_plot_draws_several_policies_into_a_png(lrsearch, tmp_path):
    drawn = lrsearch("policy", "plot", "FIX(k0=0.1)", "HALFCOS(k0=0.2, l=10000)", "-o", "deep/x.png")
    assert drawn.out.strip() == "deep/x.png"
    assert (tmp_path / "deep" / "x.png").read_bytes().startswith(b"\x89PNG")
