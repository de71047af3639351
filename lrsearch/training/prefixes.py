"""Runs with a shared prefix: steps with the same learning rates and momenta are trained once, then forked.

The runs form a tree. A node is a set of runs that are equal up to a step; its children are the sets that differ from
there on. A run of the tree equals the run that was trained alone, to the bit where the kernels are deterministic. It
pays for policies such as STEP and NSTEP from one k0, WSD, and warm-ups.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import uncharged_in
from lrsearch.runs.executor import Ended
from lrsearch.training.checkpoint import State
from lrsearch.training.files import files
from lrsearch.training.groups import lrs_and_momenta, shared_steps
from lrsearch.training.loop import Trainer, Training, Watch


def train_prefix_group(
    trainer: Trainer, specs: Sequence[RunSpec], ended: Ended, watch: Watch | None = None, folder: Path | None = None
) -> None:
    """Train runs with a shared prefix and pass each to `ended`; `Run.shared` counts steps trained as another run's.

    Args:
        trainer: the trainer of the task, with its data in memory.
        specs: the runs: a group of `prefix_groups`.
        ended: called with every run.
        watch: called with the number of steps done by the run in progress.
        folder: for weights and checkpoints, as in `files`. A run with a checkpoint resumes from it alone.
    """
    for spec in specs:
        trainer.require(spec)
    resumed = [spec for spec in specs if (path := files(folder, spec)[1]) and path.is_file()]
    fresh = [spec for spec in specs if spec not in resumed]
    nodes = [_Node([spec]) for spec in resumed] + ([_Node(fresh)] if fresh else [])
    while nodes:
        node = nodes.pop()
        try:
            training = _NodeTraining(trainer, node, watch or (lambda step: None), folder)
        except Exception as error:  # a model that cannot be built fails these runs, and no other
            for spec in node.specs:
                ended(spec, Run.failed(error))
            continue
        run = training.run()
        ended(node.specs[0], run)
        for spec in training.equal:  # the same to the end: no step was trained for this run
            lost = uncharged_in(folder / spec.key) if folder else 0
            ended(spec, replace(run, shared=run.steps, lost=lost))
        nodes += training.children
        if run.state is RunState.INTERRUPTED:
            for spec in (spec for node in nodes for spec in node.specs):
                ended(spec, Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0))
            return


@dataclass(frozen=True, slots=True)
class _Node:
    """Runs that are equal so far, and the state at the fork; None at the start of training."""

    specs: list[RunSpec]
    state: State | None = None


class _NodeTraining:
    """Trains the first run of a node. `equal` are the runs that equal it, `children` the nodes that forked off."""

    def __init__(self, trainer: Trainer, node: _Node, watch: Watch, folder: Path | None) -> None:
        self.node, self.equal, self.children = node, node.specs[1:], list[_Node]()
        self.weights, checkpoint = files(folder, node.specs[0])
        self.training = Training(trainer, node.specs[0], watch, checkpoint)

    def run(self) -> Run:
        training = self.training
        with torch.random.fork_rng(devices=training.trainer.devices):
            torch.manual_seed(training.spec.seed)
            training.begin(self._start_state())
            return training.end(self._advance, self.weights)

    def _advance(self) -> RunState | None:
        """Train to the end, and fork at the steps where other runs differ."""
        while self.equal:
            step = min(shared_steps(self.training.spec, spec) for spec in self.equal)
            if (state := self.training.advance(until=step)) is not None:
                return state
            self._fork(step)
        return self.training.advance()

    def _fork(self, step: int) -> None:
        """Make children of the runs whose LR or momentum differs at a step; those with equal values share a child."""
        state, by_values = copy.deepcopy(self.training.checkpoint.state(step)), defaultdict[bytes, list[RunSpec]](list)
        for spec in self.equal:
            by_values[lrs_and_momenta(spec)[step].tobytes()].append(spec)
        self.equal = by_values.pop(lrs_and_momenta(self.training.spec)[step].tobytes(), [])
        self.children += [_Node(specs, state) for specs in by_values.values()]

    def _start_state(self) -> State | None:
        """The node's state, with the scheduler and the param groups of this run's own policy."""
        if self.node.state is None:
            return None
        state = copy.deepcopy(self.node.state)
        parts, training = state["parts"], self.training
        parts["optimizer"]["param_groups"] = training.optimizer.state_dict()["param_groups"]
        parts["scheduler"] = training.scheduler.state_dict() | {"last_epoch": state["steps"]}
        parts["record"] |= {"seconds": 0.0, "shared": state["steps"]}
        return state
