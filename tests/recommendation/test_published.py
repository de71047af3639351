"""The published results that ship: as printed, whole, labelled, and never mixed with what was measured."""

import tomllib
from pathlib import Path

import pytest

from lrsearch.recommendation.known import PUBLISHED
from lrsearch.recommendation.published import label_of, published, published_tasks
from lrsearch.recommendation.similarity import compare
from lrsearch.schedules import parse
from lrsearch.tasks import TASKS

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize("table", ["IIIa", "IIIb", "IVb", "VI", "VII", "VIII", "IX"])
def test_the_tables_of_the_lrbench_paper_are_those_of_the_studies(table):
    number = {"IIIa": "3a", "IIIb": "3b", "IVb": "4b", "VI": "6", "VII": "7", "VIII": "8", "IX": "9"}[table]
    study = tomllib.loads((STUDIES / f"lrbench_table{number}.toml").read_text())
    printed = {
        (str(parse(row["policy"])), round(row["published"]["top1"] / 100, 6))
        for row in study["policies"]
        if "published" in row
    }
    held = {(str(row.policy), row.score) for row in published() if row.table == table}
    assert held
    assert held <= printed


def test_every_row_is_whole_and_says_where_it_is_from():
    for row in published():
        assert 0.5 < row.score < 1
        assert row.paper
        assert row.table
        assert parse(str(row.policy)) == row.policy
        assert row.description["data"]["name"] in ("MNIST", "CIFAR-10", "CIFAR-100", "ImageNet")
        assert row.spread is None or row.repeats
        assert row.label.endswith(row.table)
        assert row.label in label_of(row.task, row.policy)
    assert label_of("MNIST LeNet, 10000 steps (Wu et al. 2019)", parse("FIX(k0=0.1)")) == ""
    assert len({(row.task, row.table, row.policy) for row in published()}) == len(published())


def test_the_papers_tasks_are_next_to_the_shipped_ones_with_their_settings():
    near = {"mnist-lenet": "MNIST LeNet", "cifar10-cnn3": "CIFAR-10 CNN3", "cifar10-resnet32": "CIFAR-10 ResNet-32"}
    for name, printed in near.items():
        apart = {task.name: compare(TASKS[name].description, task.description).distance for task in published_tasks()}
        nearest = min(apart, key=apart.get)
        assert nearest.startswith(printed)
        assert apart[nearest] < 0.05


def test_they_are_evidence_of_their_own_origin_with_seeds_that_do_not_meet():
    for task in published_tasks():
        assert (task.origin, task.key.startswith(PUBLISHED)) == (PUBLISHED, True)
        assert task.source
        seeds = [(run.policy, run.seed + n) for run in task.runs for n in range(run.repeats)]
        assert len(set(seeds)) == len(seeds)
