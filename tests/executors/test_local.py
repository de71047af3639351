"""The executor in this process, interrupted while its trainer ends the interrupted runs."""

import pytest

from lrsearch.executors.local import LocalExecutor
from lrsearch.runs import RunSpec, RunState
from lrsearch.runs.executor import DONE, Group
from lrsearch.schedules import FIX


@pytest.mark.parametrize(("in_lockstep", "steps"), [(True, [7, 7]), (False, [7, 0])])
def test_runs_that_a_second_interrupt_ends_are_passed_on_with_their_steps(plain, in_lockstep, steps):
    specs = tuple(RunSpec(plain.TASK, FIX(k0=0.1), 20, seed) for seed in (0, 1))

    class Broken(plain.PlainTrainer):
        def train_group(self, group, ended, watch=None, folder=None):
            watch(7)
            raise KeyboardInterrupt

    groups, runs = iter([Group(specs, in_lockstep)]), []
    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(Broken()).train(lambda: next(groups, DONE), lambda spec, run: runs.append((spec, run)))
    assert [(spec, run.state, run.steps) for spec, run in runs] == [
        (spec, RunState.INTERRUPTED, done) for spec, done in zip(specs, steps, strict=True)
    ]
