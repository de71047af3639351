"""A study on an otherwise empty store starts from the papers' policies where they bear on its task."""

from dataclasses import replace

import pytest

from lrsearch.heuristics.evidence import RULES
from lrsearch.recommendation.rescaling import Correction
from lrsearch.report.summary import where_it_started
from lrsearch.schedules import SIN2, parse
from lrsearch.study.probing import evidence_of, transferred
from lrsearch.study.result import conclude
from lrsearch.study.strategy import with_role
from lrsearch.tasks import find_task

TABLE_VII = ["SIN2(k0=0.01, k1=0.06, l=2000)", "COS(k0=0.01, k1=0.06, l=2000)"]


@pytest.fixture
def task():
    return find_task("mnist-lenet")


def run_all(study, answers):
    while trial := study.ask():
        study.tell(trial, answers.train(trial.spec(study.setup.task)))


def of_papers(study):
    return [t.policy for t in with_role(study.history, "candidate") if t.origin == "published"]


def test_lenet_on_mnist_starts_from_table_seven_after_the_default_marked_with_its_origin(open_study, world):
    study = open_study(8)
    run_all(study, world(best=0.05))
    shortest = min(trial.horizon for trial in with_role(study.history, "candidate"))
    first = [t for t in with_role(study.history, "candidate") if t.horizon == shortest][:4]
    assert [one.origin for one in first] == ["known", "known", "published", "published"]
    assert [one.policy for one in first[2:]] == [parse(text) for text in TABLE_VII]
    assert with_role(study.history, "default")[0].number < first[0].number
    assert first[2].policy not in study.strategy.space(study.setup, study.history)  # a rule of the pruner is broken
    assert any("table VII" in line and TABLE_VII[0] in line for line in where_it_started(conclude(study)))


def test_the_record_of_the_study_holds_them_and_a_cold_one_has_none(open_study, store):
    again = [open_study(8).setup.recommended for _ in range(2)]
    assert again[0] == again[1]
    assert [str(one.policy) for one in again[0]] == TABLE_VII
    (study,) = store.studies()
    assert [one["origin"] for one in study.frozen["recommended"]] == ["published", "published"]
    assert open_study(8, cold=True).setup.recommended == ()


def test_what_lies_outside_the_peaks_that_probes_leave_is_not_tried(open_study, world):
    study = open_study(8)
    run_all(study, world(best=1e-4, edge=1e-3))
    assert study.strategy.pruned(study.setup, study.history).space.peak.high < 0.06
    assert of_papers(study) == []


def test_a_policy_in_great_doubt_does_not_contradict_the_probes(open_study, task):
    setup = open_study(8).setup
    papers = setup.recommended
    assert next(policy for _, policy in transferred(setup.raw, papers, None)) == SIN2(k0=0.01, k1=0.06, l=2000)
    assert len(evidence_of(setup.raw, 2.3, papers, [], RULES, task.level).stored) == 2
    doubted = [replace(one, same_settings=False, corrections=(Correction("no probe", 0.0, 0.5),)) for one in papers]
    assert evidence_of(setup.raw, 2.3, doubted, [], RULES, task.level).stored == ()
