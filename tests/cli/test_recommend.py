"""`lrsearch recommend` and `lrsearch rank`: what a new study starts from, and the whole table behind it."""

import re
from itertools import pairwise

import pytest

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX, SIN2, TRI, parse
from lrsearch.store import open_store
from lrsearch.tasks import find_task

FASHION = find_task("fashion-lenet")
GOOD = TRI(k0=0.001, k1=0.02, l=2000)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "known.db"
    with open_store(str(path)) as opened:
        for policy, score in ((GOOD, 0.91), (FIX(k0=0.01), 0.88)):
            for seed in (0, 1):
                run = Run(state=RunState.FINISHED, steps=10_000, seconds=1.0, score=score + seed / 100, loss=0.3)
                opened.record(RunSpec(FASHION, policy, 10_000, seed), run)
    return str(path)


def test_on_a_new_machine_lenet_starts_from_the_paper_and_nothing_is_written(typed, tmp_path):
    ended = typed("recommend", "mnist-lenet")
    assert (ended.code, ended.err) == (0, "")
    for told in (
        str(SIN2(k0=0.01, k1=0.06, l=2000)),
        "table VII",
        "chosen on the test set",
        "its strong default",
        "its learning rates as they are",
    ):
        assert told in ended.out
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_known_that_is_said(typed):
    ended = typed("recommend", "digits-cnn")
    assert ended.code == 0
    assert "no relevant evidence" in ended.out
    assert "from nothing else" in ended.out
    assert typed("rank", "digits-cnn", "--json").json["ranked"] == []


def test_a_recommendation_says_the_nearest_task_by_group_and_every_correction(typed, store):
    found = typed("recommend", "mnist-lenet", "--store", store, "--horizon", "20000", "--json").json
    first = found["first"][0]
    assert (first["task"], first["origin"]) == ("fashion-lenet", "local")
    assert first["carried"] == str(GOOD.stretch(2).scale(10 ** (-0.15 * 0.30103 - 0.5 * first["doubt"])).rounded())
    assert [one["name"] for one in first["corrections"]] == ["horizon", "another task", "no probe"]
    assert first["doubt"] > 0.5
    assert found["neighbours"][0]["parts"].keys() == {"data", "model", "training"}
    text = typed("recommend", "mnist-lenet", "--store", store, "--horizon", "20000").out
    assert "horizon -0.05 +- 0.05" in text
    assert first["carried"] in text


def test_the_rank_has_all_candidates_with_their_origins_by_every_goal(typed, store):
    found = typed("rank", "fashion-lenet", "--store", store, "--json").json
    assert found["ranked"][0]["policy"] == str(GOOD)
    assert {one["origin"] for one in found["ranked"]} == {"local", "published"}
    assert sum(one["p_best"] for one in found["ranked"]) == pytest.approx(1)
    text = typed("rank", "fashion-lenet", "--store", store).out
    assert "P(best)" in text
    assert str(GOOD) in text
    front = typed("rank", "fashion-lenet", "--store", store, "--goal", "pareto", "--json").json["ranked"]
    assert [one["front"] for one in front] == sorted((one["front"] for one in front), reverse=True)


@pytest.mark.parametrize("command", ["recommend", "rank"])
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["mnist-lent"], 2, "did you mean 'mnist-lenet'?"),
        (["mnist-lenet", "--goal", "speed"], 2, "no goal 'speed'"),
        (["mnist-lenet", "--store", "typo.db"], 1, "no store at typo.db"),
    ],
)
def test_what_cannot_be_gets_one_line(typed, command, words, code, says):
    ended = typed(command, *words)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert ended.err.count("\n") == 1


CNN = find_task("digits-cnn")
FULL, QUARTER, SIXTEENTH = CNN.horizon, CNN.horizon // 4, CNN.horizon // 16
SEARCHED = [
    ("WARMUP(policy=HALFCOS(k0=0.0951, l=1216), l=64)", FULL, (0.979, 0.966, 0.971)),
    ("SIN2(k0=0.06559, k1=0.2288, l=64)", FULL, (0.966, 0.974, 0.969)),
    ("SIN2(k0=0.02727, k1=0.2754, l=103)", FULL, (0.922,)),
    ("NSTEP(k0=0.1721, gamma=0.224, l=[505, 1168])", QUARTER, (0.966,)),
    ("FIX(k0=0.07876)", QUARTER, (0.966,)),
    ("NSTEP(k0=0.1384, gamma=0.1808, l=[740, 985, 1043])", QUARTER, (0.964,)),
    ("SIN(k0=0, k1=0.0001089, l=20.95)", SIXTEENTH, (0.143,)),
    ("SIN(k0=0, k1=0.03566, l=64)", SIXTEENTH, (0.664,)),
    ("TRI(k0=0, k1=0.1347, l=32)", SIXTEENTH, (0.802,)),
    ("INV(k0=0.01674, gamma=0.007688, p=1.682)", SIXTEENTH, (0.266,)),
    ("FIX(k0=0.0001887)", SIXTEENTH, (0.154,)),
    ("FIX(k0=0.02662)", SIXTEENTH, (0.789,)),
    ("SIN(k0=0, k1=0.08028, l=320)", SIXTEENTH, (0.919,)),
    ("NSTEP(k0=0.1532, gamma=0.0003699, l=[669])", SIXTEENTH, (0.88,)),
]


@pytest.fixture
def searched(tmp_path):
    """A store after a search of digits-cnn: few full runs, more at a quarter of the steps, most at a sixteenth."""
    path = tmp_path / "searched.db"
    with open_store(str(path)) as opened:
        for text, horizon, scores in SEARCHED:
            policy = parse(text).stretch(horizon / FULL)
            for seed, score in enumerate(scores):
                run = Run(state=RunState.FINISHED, steps=horizon, seconds=1.0, score=score, loss=0.3)
                opened.record(RunSpec(CNN, policy, horizon, seed), run)
    return str(path)


def rows(text):
    """(place, percent, steps with its mark, the rest) of each row that was printed."""
    found = re.findall(r"^ *(\d+)\+? +.* (\d+\.\d\d) % +(\d+\*?) +(.*)$", text, re.MULTILINE)
    return [(int(place), float(score), steps, rest) for place, score, steps, rest in found]


def test_the_rank_shows_ten_rows_and_how_to_see_the_others(typed, searched):
    text = typed("rank", "digits-cnn", "--store", searched).out
    assert [row[0] for row in rows(text)] == list(range(1, 11))
    assert f"4 more rows: --limit {len(SEARCHED)}." in text
    whole = typed("rank", "digits-cnn", "--store", searched, "--limit", str(len(SEARCHED))).out
    assert len(rows(whole)) == len(SEARCHED)
    assert "--limit" not in whole


def test_the_rank_reads_from_the_best_to_the_worst_and_marks_what_ran_for_other_steps(typed, searched):
    text = typed("rank", "digits-cnn", "--store", searched, "--limit", "99").out
    shown = rows(text)
    for steps in ("1280", "320*", "80*"):
        scores = [score for _, score, length, _ in shown if length == steps]
        assert scores == sorted(scores, reverse=True), steps
    assert [length for _, _, length, _ in shown] == sorted((row[2] for row in shown), key=lambda s: -int(s.rstrip("*")))
    assert "*: over other than this task's 1280 steps" in text
    assert "measured on this task, 3 seeds" in shown[0][3]
    assert all(rest.rstrip().endswith("measured on this task, 1 seed, short runs") for *_, rest in shown[3:])
    assert " tie " not in text
    assert f"{len(SEARCHED)} of {len(SEARCHED)} are not told apart from the best" in text


@pytest.mark.parametrize("goal", ["accuracy", "pareto"])
def test_what_the_rank_goes_by_never_falls_from_row_to_row(typed, searched, goal):
    found = typed("rank", "digits-cnn", "--store", searched, "--goal", goal, "--json").json["ranked"]
    placed = sorted(found, key=lambda one: one["place"])
    assert [one["place"] for one in placed] == list(range(1, len(SEARCHED) + 1))
    behind = [one["front"] is False for one in placed]
    assert behind == sorted(behind)
    front = behind.count(False)
    for part in (placed[:front], placed[front:]):
        assert all(one["regret"] <= after["regret"] + 1e-9 for one, after in pairwise(part))
        assert all(one["tie_group"] <= after["tie_group"] for one, after in pairwise(part))


def test_the_json_of_the_rank_has_every_key_of_before_and_its_order_is_what_to_try_first(typed, searched):
    found = typed("rank", "digits-cnn", "--store", searched, "--json").json
    first = found["ranked"][0]
    assert {
        "policy",
        "task",
        "score",
        "value",
        "seeds",
        "regret",
        "low",
        "high",
        "p_best",
        "tie_group",
        "tasks",
        "runs",
        "carried",
        "doubt",
        "origin",
        "share",
        "horizon",
    } < first.keys()
    assert (first["place"], first["steps"], first["why"]) == (1, 1280, "measured on this task, 3 seeds")
    tried = typed("recommend", "digits-cnn", "--store", searched, "--json").json["first"]
    assert tried[0]["policy"] == first["policy"]


def test_each_row_of_the_rank_says_what_its_place_rests_on(typed, store):
    text = typed("rank", "mnist-lenet", "--store", store, "--limit", "99").out
    assert "carried from fashion-lenet, 2 seeds" in text
    assert "published for MNIST LeNet, 10000 steps (Wu et al. 2019), 5 seeds" in text
    assert re.search(r" 64000\* .* published for CIFAR-10 ResNet-32, 64000 steps", text)
    with open_store(store) as opened:
        near = GOOD.scale(1.02)
        opened.record(
            RunSpec(FASHION, near, 10_000, 5),
            Run(state=RunState.FINISHED, steps=10_000, seconds=1.0, score=0.9, loss=0.3),
        )
    text = typed("rank", "fashion-lenet", "--store", store, "--limit", "99").out
    assert "2 seeds, pooled with 1 policy nearby" in text
