"""A study explained from the store alone: the space of its search, and the contradictions."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lrsearch.errors import UsageError, WorkError
from lrsearch.heuristics.evidence import FIRST_RULES, RULES
from lrsearch.heuristics.range_test import ceiling, read_ramp
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX
from lrsearch.spaces import Space
from lrsearch.store import StoredStudy, open_store
from lrsearch.study.baselines import FullRuns
from lrsearch.study.explanation import explain, explain_stored, find_study
from lrsearch.study.funnel import is_widened
from lrsearch.study.probing import gather
from lrsearch.study.result import conclude
from lrsearch.study.strategy import Setup, with_role
from lrsearch.study.study import Study
from lrsearch.tasks import find_task

CHAIN = "CHAIN(policies=[FIX(k0=0.1), FIX(k0=0.01)], at=[640])"


def finish(study, world):
    while trial := study.ask():
        study.tell(trial, world.train(trial.spec(study.setup.task)))
    return study


def teach(store, lr, name="digits-cnn"):
    """Let a store know of a task, on which a constant rate did well."""
    task = find_task(name)
    run = Run(state=RunState.FINISHED, steps=task.horizon, seconds=0.0, score=0.9, loss=0.1)
    store.record(RunSpec(task, FIX(k0=lr), task.horizon, 0), run)


@pytest.mark.parametrize("functions", [(), ("TRI", "SIN2"), ("FIX",), ("WARMUP", CHAIN)])
def test_the_store_alone_gives_the_space_that_the_search_had(store, open_study, world, functions):
    teach(store, 0.05)
    study = finish(open_study(4, functions=functions), world())
    told = explain(store, study.name)
    assert told.pruned == conclude(study).pruned
    assert told.space == study.strategy.space(study.setup, study.history)
    assert (told.task, told.study, told.store) == ("digits-mlp", study.name, store.url)
    assert told.recommended == study.setup.recommended
    assert told.spent.trained_runs == 0


def test_every_bound_names_its_runs_or_its_rule(store, open_study, world):
    study = finish(open_study(4), world())
    told = explain(store, study.name)
    for bound in told.pruned.bounds:
        assert sorted(run.key for run in told.behind(bound)) == sorted(set(bound.runs))
        assert bool(told.behind(bound)) != bool(bound.rule)
    probes = [*with_role(study.history, "range-test"), *with_role(study.history, "decade")]
    assert {run.key for run in told.probes} == {trial.stored.key for trial in probes}
    assert told.spent.steps == sum(trial.spent for trial in probes) > 0
    assert told.spent.fre == told.spent.steps / 1280
    assert told.grid[0] == 43 > told.grid[1] > 0
    assert not told.is_open


def test_an_explanation_is_plain_json(store, open_study, world):
    told = explain(store, finish(open_study(4), world()).name)
    values = told.to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    peak = told.space.peak
    assert values["space"]["ranges"]["peak"] == {"low": peak.low, "high": peak.high, "log": True}
    assert values["grid"]["after"] == told.grid[1]
    assert {run["key"] for run in values["probes"]} >= set(values["pruned"]["bounds"][0]["runs"])


def test_a_refused_space_keeps_the_raw_learning_rates_and_names_what_was_read(store, open_study, world):
    class Hopeless(world):
        def train(self, spec):
            return Run(state=RunState.DIVERGED, steps=1, seconds=0.0)

    told = explain(store, finish(open_study(4), Hopeless()).name)
    assert told.pruned.refusal.startswith("all-diverged")
    assert told.space.peak == told.pruned.raw.peak
    assert told.grid == (43, 43)
    assert {str(run.run.state) for run in told.probes} == {"diverged"}
    assert len(told.probes) > 3


def test_a_store_that_contradicts_the_probes_is_reported(store, open_study, world):
    teach(store, 1e-5, "digits-mlp")
    told_study = finish(open_study(4, functions=["FIX"]), world())
    told = explain(store, told_study.name)
    assert told.pruned.contradiction
    assert told.pruned == conclude(told_study).pruned
    # the stored runs alone are the task's own, and what the store knows of others is left out
    raw = Space.standard("FIX", horizon=1280, epoch=32.0)
    alone = explain_stored(store, find_task("digits-mlp"), raw)
    assert alone.pruned.contradiction is None
    assert alone.recommended == ()


def test_another_task_without_a_range_test_is_too_uncertain_to_contradict_the_probes(store, open_study, world):
    teach(store, 1e-5)
    told = explain(store, finish(open_study(4, functions=["FIX"]), world()).name)
    assert [one.task for one in told.recommended] == ["digits-cnn"]
    assert told.pruned.contradiction is None


def test_exploration_trials_are_reported_won_or_lost(store, open_study, world):
    liar, truth = world(best=1e-4, edge=1e-3), world(best=1.0, edge=10)

    class Misleading:
        def train(self, spec):
            return (liar if spec.policy.name in ("FIX", "RAMP") else truth).train(spec)

    kept = explain(store, finish(open_study(8, seed=90), world()).name).exploration
    assert (kept.won, kept.widened) == (False, False)
    assert kept.outside >= kept.candidates // 8 >= 1
    studies = [finish(open_study(8, seed, ["SIN2", "TRI", "COS"]), Misleading()) for seed in range(4)]
    found = [explain(store, study.name).exploration for study in studies]
    assert [one.widened for one in found] == [is_widened(study.history) for study in studies]
    assert any(one.widened and one.won for one in found)


def test_probes_that_longer_ones_replaced_are_counted(store, open_study, world):
    class Flat(world):
        def train(self, spec):
            run = super().train(spec)
            return replace(run, loss=1.0, score=0.5) if spec.policy.name == "FIX" and spec.horizon == 50 else run

    told = explain(store, finish(open_study(12), Flat()).name)
    assert told.set_aside >= 3
    assert all(run.horizon in (100, 300) for run in told.probes)


def test_probing_in_progress_is_reported(store, open_study, world):
    study = open_study(4)
    for _ in range(5):
        trial = study.ask()
        study.tell(trial, world().train(trial.spec(study.setup.task)))
    study.ask_all()
    assert any(trial.role == "decade" for trial in study.open_trials)
    told = explain(store, study.name)
    assert told.is_open


@pytest.mark.parametrize("text", ["name", "key", "name prefix", "key prefix"])
def test_a_study_is_found_by_its_name_or_by_the_beginning_of_its_key(store, open_study, text):
    study = open_study(4)
    asked = {"name": study.name, "key": study.key, "name prefix": "digits", "key prefix": study.key[:4]}
    assert find_study(store.studies(), asked[text]).key == study.key


def stored_study(name, key):
    return StoredStudy(key, name, {}, {}, {})


def test_an_unknown_study_gets_the_nearest_names_and_an_ambiguous_one_its_matches():
    known = [stored_study(f"digits-mlp-{n}{'a' * 7}", f"{n}{'a' * 15}") for n in range(5)]
    with pytest.raises(UsageError, match=r"no study 'digits-mpl-2aaaaaaa' among the 5 .* did you mean 'digits-mlp-2a"):
        find_study(known, "digits-mpl-2aaaaaaa")
    with pytest.raises(UsageError, match=r"5 studies are called 'digits-mlp': .*key 0aaa.* and 2 more; give more"):
        find_study(known, "digits-mlp")
    for text in ("", "zzz"):
        with pytest.raises(UsageError, match="`lrsearch store studies` lists them"):
            find_study(known, text)
    twins = [stored_study("same", "1" * 16), stored_study("same", "2" * 16)]
    with pytest.raises(UsageError, match="2 studies are called 'same'"):
        find_study(twins, "same")
    assert find_study(twins, "2").key == "2" * 16


def test_a_study_that_searches_the_raw_space_has_nothing_to_explain(store, task):
    raw = Space.standard(horizon=task.horizon, epoch=task.epoch)
    study = Study(Setup(task, raw, 4, 0), FullRuns("random"), store, lambda name, known: None)
    with pytest.raises(UsageError, match="'random' study: it searches the raw space"):
        explain(store, study.name)


def test_a_study_of_an_older_version_is_explained_where_its_space_is_known(store, open_study, world, monkeypatch):
    whole, part = finish(open_study(4), world()), finish(open_study(4, functions=["TRI"]), world())
    older = [replace(one, frozen={"recommended": []}) for one in store.studies()]
    monkeypatch.setattr(type(store), "studies", lambda self: older)
    assert explain(store, whole.name).pruned == conclude(whole).pruned
    with pytest.raises(WorkError, match="did not write down which LR functions"):
        explain(store, part.name)


def test_a_study_keeps_the_rules_for_range_tests_that_it_began_with(study_in, world, tmp_path):
    class SlowRise(world):
        """Its range test falls by half and climbs back slowly: by today's rules it blew up sooner than by the first."""

        def _ramp(self, spec):
            run = super()._ramp(spec)
            past = np.maximum(0, np.log10(spec.policy.curve(spec.horizon) / self.best) - 0.3)
            return replace(run, train_losses=tuple(np.minimum(run.train_losses, 2.3) / 2 + 1.15 + 4 * past))

    today = finish(study_in("today.db"), SlowRise())
    begun, older = today.store.studies()[0], open_store(str(tmp_path / "older.db"))
    assert begun.frozen["rules"] == today.setup.rules == RULES
    frozen = {name: value for name, value in begun.frozen.items() if name != "rules"}
    older.open_study(begun.key, begun.name, today.setup.task, begun.description, frozen)
    before = finish(study_in("older.db"), SlowRise())
    assert before.setup.rules == FIRST_RULES
    first, now = (
        ceiling([read_ramp(ramp, rules) for ramp in gather(today.setup, today.history).ramps])
        for rules in (FIRST_RULES, RULES)
    )
    assert now < first
    for study in (today, before):
        assert explain(study.store, study.name).pruned == conclude(study).pruned
    assert conclude(today).pruned.space.peak.high < conclude(before).pruned.space.peak.high
