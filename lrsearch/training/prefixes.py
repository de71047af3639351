"""Policies that begin alike share that part of their training: it is trained once, and forked where they part.

Exact: a run with a shared beginning is the run that would have been trained alone, to the bit where the kernels are
deterministic. Worth it for policies such as STEP and NSTEP from one k0, WSD, and warm-ups.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.executor import Ended
from lrsearch.training.checkpoint import State
from lrsearch.training.files import files
from lrsearch.training.groups import common, course
from lrsearch.training.loop import Trainer, Training, Watch


def train_family(
    trainer: Trainer, specs: Sequence[RunSpec], ended: Ended, watch: Watch | None = None, folder: Path | None = None
) -> None:
    """Train runs that begin alike, and tell of each that ends; `Run.shared` are the steps that another one trained.

    Args:
        trainer: holds the task and its data.
        specs: what to train: a group of `families`.
        ended: is told of every run.
        watch: is told the number of steps done by the run in progress.
        folder: for weights and checkpoints, as in `files`. A run that has a checkpoint goes on from it by itself.
    """
    for spec in specs:
        trainer.require(spec)
    begun = [spec for spec in specs if (path := files(folder, spec)[1]) and path.is_file()]
    fresh = [spec for spec in specs if spec not in begun]
    waiting = [_Branch([spec]) for spec in begun] + ([_Branch(fresh)] if fresh else [])
    while waiting:
        branch = waiting.pop()
        try:
            grown = _Growth(trainer, branch, watch or (lambda step: None), folder)
        except Exception as error:  # a model that cannot be built fails these runs, and no other
            for spec in branch.specs:
                ended(spec, Run.failed(error))
            continue
        run = grown.run()
        ended(branch.specs[0], run)
        for twin in grown.twins:  # the same to the end, and nothing of it was trained for this one
            ended(twin, replace(run, shared=run.steps))
        waiting += grown.forks
        if run.state is RunState.INTERRUPTED:
            for spec in (spec for left in waiting for spec in left.specs):
                ended(spec, Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0))
            return


@dataclass(frozen=True, slots=True)
class _Branch:
    """Runs that are alike so far, and the state that they have reached; None at the beginning."""

    specs: list[RunSpec]
    state: State | None = None


class _Growth:
    """The training of a branch's first run, and what it leaves: forks, and twins that are alike to the end."""

    def __init__(self, trainer: Trainer, branch: _Branch, watch: Watch, folder: Path | None) -> None:
        self.branch, self.twins, self.forks = branch, branch.specs[1:], list[_Branch]()
        self.weights, checkpoint = files(folder, branch.specs[0])
        self.training = Training(trainer, branch.specs[0], watch, checkpoint)

    def run(self) -> Run:
        training = self.training
        with torch.random.fork_rng(devices=training.trainer.devices):
            torch.manual_seed(training.spec.seed)
            training.begin(self._adopted())
            return training.end(self._advance, self.weights)

    def _advance(self) -> RunState | None:
        """Train to the end, and fork where others part from it."""
        while self.twins:
            parting = min(common(self.training.spec, twin) for twin in self.twins)
            if (ended := self.training.advance(until=parting)) is not None:
                return ended
            self._fork(parting)
        return self.training.advance()

    def _fork(self, parting: int) -> None:
        """Part from those whose next step is another; they may go on together."""
        state, others = copy.deepcopy(self.training.checkpoint.state(parting)), defaultdict[bytes, list[RunSpec]](list)
        ours = course(self.training.spec)[parting].tobytes()
        for twin in self.twins:
            others[course(twin)[parting].tobytes()].append(twin)
        self.twins = others.pop(ours, [])
        self.forks += [_Branch(specs, state) for specs in others.values()]

    def _adopted(self) -> State | None:
        """The branch's state as this run's own: another policy's scheduler, and what it sets."""
        if self.branch.state is None:
            return None
        state = copy.deepcopy(self.branch.state)
        parts, training = state["parts"], self.training
        parts["optimizer"]["param_groups"] = training.optimizer.state_dict()["param_groups"]
        parts["scheduler"] = training.scheduler.state_dict() | {"last_epoch": state["steps"]}
        parts["record"] |= {"seconds": 0.0, "shared": state["steps"]}
        return state
