"""Complete tables: what they answer, and how files that are none are refused."""

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lrsearch.compare.tables import Table, read_table
from lrsearch.errors import DataError, UsageError


def test_a_table_is_a_frozen_value(make_table):
    assert make_table() == make_table()
    assert hash(make_table()) == hash(make_table())


def test_the_nearest_lr_on_the_log_axis_answers(make_table):
    table = make_table()
    logs = np.log10(table.lrs)
    for lr in 10 ** np.random.default_rng(0).uniform(-7, 4, 500):
        assert table.nearest(lr) == int(np.argmin(np.abs(logs - math.log10(lr))))


def test_the_best_and_the_good_lrs_are_those_of_the_curves(make_table):
    table = make_table(best=-2.0)
    assert table.best == pytest.approx(0.01)
    assert table.target == pytest.approx(0.9 - 0.005)
    assert table.good == pytest.approx([0.01])
    noisy = replace(table, repeats=(0.85, 0.9, 0.95))
    assert noisy.target == pytest.approx(0.9 - 2 * 0.05)
    assert noisy.good == pytest.approx([10**-2.2, 0.01, 10**-1.8])


def test_a_diverged_run_ends_at_nothing_and_cost_what_it_trained(make_table):
    table = make_table(best=-2.0)
    assert table.final(1.0) == 0
    assert table.ran(1.0) == 0.03
    assert table.error(1.0, 1) < 1
    assert table.error(1.0, 3) == math.inf
    assert table.ran(0.01) == 1


def test_another_unit_changes_the_lrs_and_nothing_else(make_table):
    table = make_table(best=-2.0)
    other = table.in_unit(3.0)
    assert other.best == pytest.approx(0.03)
    assert [other.final(3 * lr) for lr in table.lrs] == table.finals


@pytest.mark.parametrize(
    "broken",
    [
        {"lrs": (0.1, 0.1)},
        {"lrs": (1.0, 0.1)},
        {"lrs": (0.0, 0.1)},
        {"lrs": (0.1,)},
        {"losses": ((1.0, 1.0),)},
        {"losses": ((1.0, 1.0), (1.0,))},
        {"losses": ((1.0,), (1.0,)), "accuracies": ((0.1,), (0.1,))},
        {"accuracies": ((0.1, 1.2), (0.1, 0.1))},
        {"accuracies": ((0.1, math.nan), (0.1, 0.1))},
        {"epoch": 0},
    ],
)
def test_a_table_that_is_not_whole_is_refused(broken):
    whole = Table("p", "sgd", (0.1, 1.0), ((1.0, 1.0), (1.0, 1.0)), ((0.1, 0.2), (0.1, 0.1)), 0.1, (), 5)
    with pytest.raises(DataError, match="the table of p sgd is not whole"):
        replace(whole, **broken)


@pytest.mark.parametrize("above", [True, False])
def test_deepobs_is_read_in_whatever_order_its_rows_are(above, deepobs_files):
    folder = deepobs_files()
    (table,) = read_table("deepobs", folder.parent if above else folder)
    assert (table.problem, table.optimizer, table.lrs) == ("fmnist_2c2d", "sgd", (0.001, 0.01, 0.1, 1.0))
    assert (table.epochs, table.epoch, table.horizon, table.chance_accuracy) == (3, 7, 21, 0.1)
    assert table.accuracies[1] == pytest.approx((0.1, 0.1 + 0.7 / 3, 0.1 + 1.4 / 3, 0.8))
    assert table.repeats == pytest.approx((0.84, 0.82, 0.8))
    assert table.chance_loss == pytest.approx(2.3)


def test_deepobs_runs_that_diverged_or_recovered_are_told_apart(deepobs_files):
    (table,) = read_table("deepobs", deepobs_files())
    assert table.losses[3] == (2.3, pytest.approx(2.25), math.inf, math.inf)
    assert (table.final(1.0), table.ran(1.0)) == (0, pytest.approx(2 / 3))
    assert (table.final(0.1), table.ran(0.1)) == (pytest.approx(0.7), 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.csv.gz", b"not gzip"),
        ("curves.csv.gz", b""),
        ("runs.csv.gz", gzip.compress(b"", mtime=0)),
        ("curves.csv.gz", gzip.compress(b"run_id,epoch\n1,2\n", mtime=0)),
        ("runs.csv.gz", gzip.compress(b"a" * 9000, mtime=0)[:20]),
        ("runs.csv.gz", gzip.compress(b"\xff\xfe,\n\xff,\n", mtime=0)),
    ],
)
def test_a_broken_file_is_one_clear_line(name, content, deepobs_files):
    folder = deepobs_files()
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"cannot read .*{name}") as told:
        read_table("deepobs", folder)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["runs.csv.gz", "curves.csv.gz"])
def test_a_missing_file_is_named(name, deepobs_files):
    folder = deepobs_files()
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"no {name} in .*--data-dir"):
        read_table("deepobs", folder)


def test_a_missing_column_and_a_foreign_table_are_refused(deepobs_files):
    with pytest.raises(DataError, match="seed"):
        read_table("deepobs", deepobs_files(drop=["seed"]))
    with pytest.raises(DataError, match="no classification runs"):
        read_table("deepobs", deepobs_files(problem="mnist_vae"))


def test_an_unknown_table_is_told_with_the_nearest_name():
    with pytest.raises(UsageError, match="no table 'deepob'; did you mean 'deepobs'"):
        read_table("deepob", Path())


@pytest.mark.data
def test_the_real_table_is_read_whole(data_dir):
    tables = read_table("deepobs", data_dir)
    assert len(tables) == 15
    assert len({table.problem for table in tables}) == 5
    for table in tables:
        assert (len(table.lrs), len(table.repeats)) == (36, 10)
        assert table.lrs[0] == pytest.approx(1e-5)
        assert table.lrs[-1] == pytest.approx(1e2)
        assert max(table.finals) > 3 * table.chance_accuracy
    by_name = {table.name: table for table in tables}
    assert by_name["cifar10_3c3d adam"].best == pytest.approx(10**-3.4)
