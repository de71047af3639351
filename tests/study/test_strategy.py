"""The cost of a trial to the budget."""

from dataclasses import replace

from lrsearch.runs import Run, RunState
from lrsearch.schedules import FIX
from lrsearch.store import StoredRun, Trial


def trial(run: Run | None, lost: int = 0) -> Trial:
    asked = Trial(0, "candidate", "suggested", FIX(k0=0.1), 100, 0)
    stored = run and StoredRun("key", "task", "task key", asked.policy, 100, 0, "local", run, lost)
    return replace(asked, stored=stored)


def test_a_shared_beginning_is_charged_to_the_budget_but_costs_nothing_twice():
    """What trains together depends on engine and workers: the budget, which decides what comes next, does not."""
    shared = Run(state=RunState.FINISHED, steps=100, seconds=1.0, score=0.9, loss=0.1, shared=60)
    assert (trial(shared).spent, trial(shared).committed) == (40, 100)


def test_lost_steps_are_charged_and_an_open_trial_is_charged_in_full():
    diverged = Run(state=RunState.DIVERGED, steps=30, seconds=1.0)
    assert trial(diverged, lost=7).committed == trial(diverged, lost=7).spent == 37
    assert trial(None).committed == 100
    interrupted = Run(state=RunState.INTERRUPTED, steps=20, seconds=1.0)
    assert trial(interrupted, lost=20).committed == 120
