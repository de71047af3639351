"""Tables of policies: read from TOML, trained once, compared with published numbers."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lrsearch.compare.reproduction import Outcome, Results, rank_correlation, read_results
from lrsearch.errors import PolicyError, TaskError, UsageError
from lrsearch.runs import Run, RunState
from lrsearch.schedules import FIX, INV, NSTEP
from lrsearch.store import open_store
from lrsearch.study.file import read_study
from lrsearch.study.table import PolicyTable, Row
from lrsearch.tasks import find_task

STUDIES = Path(__file__).parent.parent.parent / "studies"
MLP = find_task("digits-mlp")
SMALL = """
task = "digits-mlp"
seeds = 2
horizon = 40
source = "nowhere"

[[policies]]
policy = "FIX(k0=0.05)"
label = "constant"
published = {top1 = 90.5, spread = 0.2, steps = 1000}

[[policies]]
policy = "NSTEP(k0=0.1, gamma=0.1, l=[640])"
published = {top1 = 91}

[[policies]]
policy = "FIX(k0=500)"
published = {top1 = 10}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def run(score, end=None):
    metrics = {
        look: {"step": 1, "loss": 0.1, "top1": s, "top5": 1.0, "ac": 0.9, "cd": None, "cdac": 0.1, "ld": 0.01}
        for look, s in (("best", score), ("end", end or score))
    }
    return Run(state=RunState.FINISHED, steps=1, seconds=0.0, score=score, loss=0.1, metrics=metrics)


def results(scores, published=None):
    rows = [
        Row(FIX(k0=0.001 * (n + 1)), published={"top1": p} if p else {})
        for n, p in enumerate(published or [None] * len(scores))
    ]
    table = PolicyTable("made", MLP, tuple(rows), len(scores[0]), "", MLP.horizon)
    return Results(
        table,
        tuple(
            Outcome(row, {seed: run(score) for seed, score in enumerate(of)})
            for row, of in zip(rows, scores, strict=True)
        ),
    )


def test_a_table_reads_as_it_is_written(small):
    table = read_study(small)
    assert (table.name, table.seeds, table.source) == ("small", 2, "nowhere")
    assert (table.task.horizon, table.horizon) == (40, 1280)
    assert table.rows[0] == Row(FIX(k0=0.05), "constant", {"top1": 90.5, "spread": 0.2, "steps": 1000})
    assert [spec.seed for spec in table.specs] == [0, 0, 0, 1, 1, 1]
    assert table.spec(table.rows[1], 0).policy == NSTEP(k0=0.1, gamma=0.1, l=[20])


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_named_study_can_be_read_and_shortened(path):
    whole, short = read_study(path), read_study(path, seeds=1, horizon=100)
    assert whole.source.startswith("Wu et al. 2019")
    assert whole.task.protocol == "paper"
    assert len(short.specs) == len(whole.rows)
    for row in whole.rows:
        assert 0 < row.published["top1"] < 100
        curve, shrunk = row.policy.curve(whole.horizon), short.spec(row, 0).policy.curve(100)
        assert shrunk == pytest.approx(row.policy(np.arange(100) * (whole.horizon / 100)), rel=1e-9)
        assert np.isfinite(curve).all()


def test_the_table_of_lenet_is_the_papers():
    table = read_study(STUDIES / "lrbench_table7.toml")
    assert (table.task.name, table.task.horizon, len(table.rows)) == ("mnist-lenet-paper", 10_000, 10)
    assert table.rows[1].policy == INV(k0=0.01, gamma=0.0001, p=0.75)
    assert max(table.rows, key=lambda row: row.published["top1"]).policy.name == "SIN2"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("task = ", UsageError, "is not TOML"),
        ("seeds = 1\npolicies = []", UsageError, "has no 'task'"),
        ('task = "digits-mpl"\nseeds = 1\npolicies = [{policy = "FIX(k0=1)"}]', TaskError, "did you mean 'digits-mlp'"),
        ('task = "digits-mlp"\nseeds = 1\npolicies = []', UsageError, "has no policies"),
        ('task = "digits-mlp"\nseeds = 0\npolicies = [{policy = "FIX(k0=1)"}]', UsageError, "from 1 to 1000, got 0"),
        ('task = "digits-mlp"\nseeds = true\npolicies = [{policy = "FIX(k0=1)"}]', UsageError, "seeds is of type int"),
        ('task = "digits-mlp"\nseeds = 1\nsedes = 2\npolicies = []', UsageError, "did you mean 'seeds'"),
        ('task = "digits-mlp"\nseeds = 1\npolicies = ["FIX(k0=1)"]', UsageError, "policy 1 is a table of keys"),
        ('task = "digits-mlp"\nseeds = 1\npolicies = [{polcy = "FIX(k0=1)"}]', UsageError, "did you mean 'policy'"),
        ('task = "digits-mlp"\nseeds = 1\npolicies = [{label = "x"}]', UsageError, "policy 1 has no 'policy'"),
        (
            'task = "digits-mlp"\nseeds = 1\npolicies = [{policy = "FIX(k0=-1)"}]',
            PolicyError,
            r"wrong\.toml, policy 1: .*k0",
        ),
        (
            'task = "digits-mlp"\nseeds = 1\nhorizon = 3\npolicies = [{policy = "FIX(k0=1)"}]',
            TaskError,
            r"wrong\.toml: .*horizon must be",
        ),
        (
            'task = "digits-mlp"\nseeds = 1\npolicies = [{policy = "FIX(k0=1)"}, {policy = "LINEAR(k0=1, l=\'1ep\')"}]',
            PolicyError,
            "policy 2",
        ),
        (
            'task = "digits-mlp"\nseeds = 1\npolicies = [{policy = "LINEAR(k0=1, l=32)"},'
            ' {policy = "LINEAR(k0=1, l=1ep)"}]',
            UsageError,
            "has LINEAR.* twice",
        ),
        (
            'task = "digits-mlp"\nseeds = 1\npolicies = [{policy = "FIX(k0=1)"}, {policy = "FIX(k0=1.0)"}]',
            UsageError,
            "has FIX.* twice",
        ),
        (
            'task = "digits-mlp"\nseeds = 1\npolicies = [{policy = "FIX(k0=1)", published = {top1 = "99"}}]',
            UsageError,
            "published top1 is a number, got '99'",
        ),
        ('task = "digits-mlp"\nseeds = 1\nprotocol = "papr"\npolicies = []', UsageError, "did you mean 'paper'"),
    ],
)
def test_a_wrong_file_says_what_is_wrong_and_where(tmp_path, text, error, says):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(error, match=says):
        read_study(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        read_study(tmp_path / "none.toml")


def test_a_table_is_trained_once_and_printed_beside_what_was_published(small, lrsearch, tmp_path):
    first = lrsearch("study", "run", str(small), "--workers", "2", "--out", "o", "--json")
    assert first.code == 0, first.err
    assert len(first.err.strip().splitlines()) == 6
    found = first.json
    assert found["missing"] == 0
    by_policy = {one["policy"]: one for one in found["policies"]}
    assert by_policy["FIX(k0=500)"]["diverged"] == 2
    assert by_policy["FIX(k0=500)"]["top1"] is None
    good = by_policy["FIX(k0=0.05)"]
    assert good["top1"] == pytest.approx(np.mean(good["scores"]))
    assert good["spread"] == pytest.approx(np.std(good["scores"], ddof=1))
    assert (tmp_path / found["pictures"][0]).stat().st_size > 10_000
    again = lrsearch("study", "run", str(small), "--out", "o")
    assert again.code == 0
    assert again.err == ""
    assert "90.50 ± 0.20 at 1000" in again.out
    assert "diverged" in again.out
    stored = lrsearch("store", "runs", "--store", "o/store.db", "--json").json
    assert len(stored) == 6


def test_an_interrupted_table_goes_on_where_it_was(tmp_path, lrsearch):
    path = tmp_path / "long.toml"
    path.write_text(
        'task = "digits-mlp"\nseeds = 1\n[[policies]]\npolicy = "FIX(k0=0.01)"\n[[policies]]\npolicy = "FIX(k0=100)"\n'
    )
    words = [
        sys.executable,
        "-m",
        "lrsearch",
        "study",
        "run",
        str(path),
        "--horizon",
        "300000",
        "--workers",
        "2",
        "--out",
        "o",
    ]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "diverged" in process.stderr.readline()  # the other run was handed out before it
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    runs = lrsearch("store", "runs", "--store", "o/store.db", "--json").json
    assert sorted(one["state"] for one in runs) == ["diverged", "interrupted"]
    assert all(one["cost"]["steps"] < 300_000 for one in runs)


def test_the_rank_correlation_is_scipys_with_an_interval_over_seeds():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 5)) * 0.01 + np.linspace(0.9, 0.95, 6)[:, None]
    published = [91, 92, 91.5, 94, 93, 95]
    found = results(scores.tolist(), published).agreement
    assert found.rank_correlation == pytest.approx(stats.spearmanr(scores.mean(1), published).statistic)
    assert found.low <= found.rank_correlation <= found.high
    assert found.low < found.high


def test_one_seed_has_no_interval_and_no_spread():
    found = results([[0.9], [0.91], [0.92]], [1, 2, 3])
    assert (found.agreement.low, found.agreement.high) == (None, None)
    assert found.outcomes[0].spread is None
    assert found.separable == (0, 3)
    json.dumps(found.to_json(), allow_nan=False)


def test_equal_ranks_agree_with_nothing():
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert results([[0.9], [0.9]], [1, 2]).agreement is None


def test_pairs_are_separated_by_a_paired_test():
    """A constant gap over seeds that differ much is found; noise of its own in each is a tie."""
    seeds = np.array([0.80, 0.85, 0.90, 0.95])
    found = results([seeds.tolist(), (seeds + np.array([0.011, 0.010, 0.009, 0.010])).tolist(), seeds[::-1].tolist()])
    assert found.separable == (1, 3)


def test_what_is_missing_is_said(small, tmp_path):
    table = read_study(small)
    with open_store(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.record(table.specs[0], run(0.9))
        found = read_results(table, store)
    assert found.missing == 5
    assert found.sentences[0] == "5 runs are missing."
    assert [len(outcome.runs) for outcome in found.outcomes] == [1, 0, 0]
    assert replace(table, seeds=1).specs == table.specs[:3]
