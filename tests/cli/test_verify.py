"""`lrsearch verify`: what it says, and what it refuses."""

import pytest

POLICY = "TRI(k0=0.01, k1=0.2, l=128)"


def test_yes_no_and_a_second_time(lrsearch):
    words = ("verify", POLICY, "--task", "digits-mlp", "--budget", "320", "--out", "o")
    yes = lrsearch(*words, "--target", "90%")
    assert yes.code == 0, yes.err
    assert yes.out.startswith(f"Yes: {POLICY} reaches 90 % on digits-mlp within 320 updates; it has 9")
    assert "of 320 updates." in yes.out
    assert "seed 0: stopped after" in yes.err
    again = lrsearch(*words, "--target", "0.9", "--json")
    assert (again.code, again.json["reached"], again.json["by"], again.json["trained"]) == (0, True, "store", 0)
    assert again.json["seeds"][0]["step"] == again.json["step"] < 320
    no = lrsearch(*words, "--target", "0.999", "--seeds", "2")
    assert no.code == 0, no.err
    assert "320 updates with any of 2 seeds, a share of 0 % (95 % interval 0 to 66 %)." in no.out
    assert "Trained 640 of 640 updates." in no.out
    assert no.out.count("trained") == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("TRI(k0=1", "--task", "digits-mlp", "--target", "0.9", "--budget", "100"), "TRI"),
        ((POLICY, "--task", "digit", "--target", "0.9", "--budget", "100"), "no task 'digit'; did you mean"),
        ((POLICY, "--task", "digits-mlp", "--target", "0", "--budget", "100"), "above 0, at most 1, got '0'"),
        ((POLICY, "--task", "digits-mlp", "--target", "1.5", "--budget", "100"), "above 0, at most 1, got '1.5'"),
        ((POLICY, "--task", "digits-mlp", "--target", "97", "--budget", "100"), "did you mean 0.97?"),
        ((POLICY, "--task", "digits-mlp", "--target", "0.9", "--budget", "0"), "16 or more, got 0"),
        ((POLICY, "--task", "digits-mlp", "--target", "0.9"), "Missing option '--budget'"),
    ],
)
def test_wrong_input_is_refused_in_a_line(typed, tmp_path, words, says):
    found = typed("verify", *words, "--out", "o")
    assert found.code == 2
    assert says in found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "o").exists()
