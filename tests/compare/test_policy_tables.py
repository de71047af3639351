"""Tables of policies, loaded from bundles."""

import gzip
import hashlib
import json
from dataclasses import replace

import pytest

import lrsearch as lrs
from lrsearch.errors import DataError, StoreError, UsageError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX, HALFCOS, WARMUP
from lrsearch.store import open_store, read_bundle
from lrsearch.store.bundles import write_bundle
from lrsearch.tasks import TASKS

MLP, WAVES = TASKS["digits-mlp"], TASKS["waves-mlp"]
FINISHED = Run(
    state=RunState.FINISHED, steps=320, seconds=0.5, score=0.9, loss=0.3, train_losses=(2.0, 1.0), stride=160
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a table with two tasks."""
    made = tmp_path_factory.mktemp("table")
    long = WARMUP(policy=HALFCOS(k0=0.1, l=1216), l=64)
    runs = {
        RunSpec(MLP, FIX(k0=0.1), 320, 0): replace(FINISHED, scores={"test_loss": 0.4, "test_top1": 0.85}),
        RunSpec(MLP, long, 1280, 1): replace(FINISHED, steps=1280, score=0.95, scores={"test_top1": 0.93}),
        RunSpec(MLP, FIX(k0=10), 1280, 0): Run(state=RunState.DIVERGED, steps=25, seconds=0.1),
        RunSpec(WAVES, FIX(k0=0.01), 1200, 0): replace(FINISHED, steps=1200, score=0.2, scores={"test_mse": 0.25}),
    }
    with open_store("sqlite:///:memory:") as store:
        for spec, run in runs.items():
            store.record(spec, run)
        for task in ("digits-mlp", "waves-mlp"):
            write_bundle(store, made / task, task)
            (made / f"{task}.jsonl.gz").write_bytes(gzip.compress((made / task).read_bytes()))
    return made


def test_each_run_is_a_row(folder):
    table = lrs.load_table(folder)
    assert list(table.columns) == [
        *("task", "policy", "form", "horizon", "share", "seed", "state", "metric", "direction"),
        *("score", "val_loss", "test_score", "steps", "seconds", "key"),
    ]
    rows = {(row.task, row.form, row.horizon): row for row in table.itertuples()}
    assert len(rows) == len(table) == 4
    short, long = rows["digits-mlp", "FIX", 320], rows["digits-mlp", "WARMUP(HALFCOS)", 1280]
    assert (short.share, short.score, short.val_loss, short.test_score) == (0.25, 0.9, 0.3, 0.85)
    assert (long.share, long.seed, long.metric, long.direction) == (1.0, 1, "top1", "maximize")
    waves = rows["waves-mlp", "FIX", 1200]
    assert (waves.metric, waves.score, waves.val_loss, waves.test_score) == ("val_mse", 0.2, 0.2, 0.25)
    diverged = table[table.state == "diverged"]
    assert diverged.score.isna().all()
    assert lrs.parse(long.policy).form == long.form


def test_one_file_is_a_table_too_and_the_curves_come_beside_it(folder):
    runs, curves = lrs.load_table(str(folder / "digits-mlp.jsonl.gz"), curves=True)
    assert set(runs.task) == {"digits-mlp"}
    assert list(curves.columns) == ["key", "series", "step", "value"]
    assert set(curves.key) < set(runs.key)
    losses = curves[(curves.key == runs.key[runs.horizon == 320].item()) & (curves.series == "train_loss")]
    assert losses.value.tolist() == [2.0, 1.0]


def test_a_file_that_was_cut_or_changed_is_refused(folder, tmp_path):
    whole = (folder / "digits-mlp.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-40])
    with pytest.raises(StoreError, match="is not a whole gzip file"):
        lrs.load_table(tmp_path)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(gzip.decompress(whole).replace(b"0.9", b"0.8", 1)))
    with pytest.raises(StoreError, match="was cut or changed: its digest does not hold"):
        lrs.load_table(tmp_path)
    (tmp_path / "cut.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(StoreError, match="is not a whole gzip file"):
        lrs.load_table(tmp_path)


def test_a_whole_bundle_that_is_no_table_is_refused(tmp_path):
    body = b'{"run":{"task":"none"}}\n'
    head = {"bundle": 2, "digest": hashlib.sha256(body).hexdigest(), "runs": 1, "tasks": 0}
    (tmp_path / "odd.jsonl.gz").write_bytes(gzip.compress(json.dumps(head).encode() + b"\n" + body))
    with pytest.raises(DataError, match=r"odd\.jsonl\.gz is no table of policies: KeyError: 'none'"):
        lrs.load_table(tmp_path)


def test_a_table_that_is_not_there_is_an_error_that_says_what_to_give(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no \.jsonl\.gz files in"):
        lrs.load_table(tmp_path / "nowhere")
    monkeypatch.setattr("lrsearch.compare.policy_tables.CHECKOUT", tmp_path)
    with pytest.raises(DataError, match="give the path of studies/lrpolicy-tab in a checkout"):
        lrs.load_table()
    with pytest.raises(UsageError, match="a table is 'lrpolicy-tab', or the path of its files, got 3"):
        lrs.load_table(3)


def test_a_compressed_bundle_is_imported_as_a_plain_one(folder):
    counts = []
    for name in ("digits-mlp", "digits-mlp.jsonl.gz"):
        with open_store("sqlite:///:memory:") as store:
            imported = read_bundle(store, folder / name)
            counts.append((imported.origin, imported.runs, imported.new, len(store.runs())))
    assert counts[0] == counts[1] == (counts[0][0], 3, 3, 3)
