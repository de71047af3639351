"""`lrsearch recommend` and `lrsearch rank`: what a new study starts from, and the whole table behind it."""

import pytest

from lrsearch.knowledge import open_store
from lrsearch.schedules import FIX, SIN2, TRI
from lrsearch.tasks import find_task
from lrsearch.training import Run, RunSpec, RunState

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
    for told in (str(SIN2(k0=0.01, k1=0.06, l=2000)), "table VII", "chosen on the test set", "its strong default",
                 "its learning rates as they are"):
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
@pytest.mark.parametrize(("words", "code", "says"), [
    (["mnist-lent"], 2, "did you mean 'mnist-lenet'?"),
    (["mnist-lenet", "--goal", "speed"], 2, "no goal 'speed'"),
    (["mnist-lenet", "--store", "typo.db"], 1, "no store at typo.db"),
])
def test_what_cannot_be_gets_one_line(typed, command, words, code, says):
    ended = typed(command, *words)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert ended.err.count("\n") == 1
