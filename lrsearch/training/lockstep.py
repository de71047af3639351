"""Many runs of one task at once: they differ in policy and seed, and train in lockstep in one process.

Parameters are stacked, one row a run; the model is mapped over the rows (torch.func.vmap); the update is SGD's, with a
learning rate and a momentum of its own for each row. Runs of equal seed share their batches. A row that blew up is
taken out; rows never touch each other. There are two rows at least, for kernels round otherwise where there is one: so
a run comes out the same in whatever company it trains, where kernels treat each row of a stack alike. But convolutions
round otherwise where a batch is shared, so searches and tables put runs of one seed together only.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.environment import IN_LOCKSTEP, TRAINED
from lrsearch.schedules import Policy
from lrsearch.tasks import SGD, Split
from lrsearch.tasks.classification import Classification
from lrsearch.training.files import files
from lrsearch.training.loop import Trainer, Watch, at_least_float, batches, write_weights
from lrsearch.training.training_log import EVALUATION_BATCH, TrainingLog

logger = logging.getLogger(__name__)

Rows = dict[str, torch.Tensor]


def why_not(trainer: Trainer, specs: Sequence[RunSpec]) -> str | None:
    """Say why these runs cannot be trained together; None if they can.

    It trains nothing, but takes the model once through a batch of two samples, mapped over two rows.
    """
    task = trainer.task
    if type(task.optimizer) is not SGD:
        return f"its optimizer is {type(task.optimizer).__name__}, and only SGD has a column of learning rates here"
    if len({spec.horizon for spec in specs}) > 1:
        return "the runs are of several lengths"
    if any(spec.policy.is_controller for spec in specs):
        return "a controller's learning rate follows from its own feedback"
    try:
        rows = _Rows.of(trainer, [0, 0])
        scores = rows.forward(trainer.train_split.x[:2], shared=True)
        rows.gradients(scores.sum())
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        return f"its model cannot be mapped over rows: {said.splitlines()[0][:200]}"
    return None


def train_lockstep(
    task: Classification,
    policies: Sequence[Policy],
    seeds: Sequence[int] = (0,),
    *,
    horizon: int | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
) -> list[Run]:
    """Train a task under several policies and seeds at once, each policy with each seed.

    Args:
        task: the task.
        policies: the policies; their durations are bound to the task.
        seeds: the seeds.
        horizon: the steps of each run; the task's where none is given.
        data_dir, device: as for a `Trainer`.

    Returns:
        The runs: of the first policy with each seed, of the second, and so on.

    >>> from lrsearch.schedules import FIX
    >>> from lrsearch.tasks import find_task
    >>> runs = train_lockstep(find_task("digits-mlp"), [FIX(k0=0.01), FIX(k0=0.1)], [0, 1], horizon=16)
    >>> [run.steps for run in runs]
    [16, 16, 16, 16]
    """
    steps = horizon or task.horizon
    bound = [policy.bind(horizon=steps, epoch=task.epoch) for policy in policies]
    trainer = Trainer(task, data_dir, device)
    return fuse(trainer, [RunSpec(task, policy, steps, seed) for policy in bound for seed in seeds])


def fuse(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch | None = None, folder: Path | None = None
) -> list[Run]:
    """Train runs of one task and horizon together, and give them in order; what cannot be is trained one by one.

    Args:
        trainer, specs, watch, folder: as for `fused`.
    """
    found = dict(fused(trainer, specs, watch, folder))
    return [found[n] for n in range(len(specs))]


def fused(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch | None = None, folder: Path | None = None
) -> Iterator[tuple[int, Run]]:
    """Train runs of one task and horizon together, and give each as it ends; what cannot be is trained one by one.

    Each run equals the one that `Trainer.train` gives up to rounding: in float64 to 1e-12 over tens of steps, in
    float32 the losses of a small model to about 1e-3 over hundreds. Where memory runs out, runs that have not ended
    begin anew with half as many rows, and come out the same to the bit; where two are too many, one by one.

    Args:
        trainer: holds the task and its data.
        specs: what to train; `why_not` tells whether they can be trained together.
        watch: is told the number of steps done by each run.
        folder: for the weights of full runs; None to keep none. Runs in progress are not kept: they begin anew.

    Returns:
        The place in `specs` of each run, and the run.
    """
    for spec in specs:
        trainer.require(spec)
    if why_not(trainer, specs) is not None:
        yield from _one_by_one(trainer, specs, watch, folder)
    elif specs:
        yield from _in_lockstep(trainer, specs, watch or (lambda step: None), folder)


def _in_lockstep(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch, folder: Path | None
) -> Iterator[tuple[int, Run]]:
    """Train in as many rows as memory bears, which is found by halving; what two rows do not fit into, one by one."""
    waiting, rows = list(range(len(specs))), max(2, len(specs))
    is_shared, is_over = len({spec.seed for spec in specs}) == 1, False
    while waiting and rows > 1 and not is_over:
        places = waiting[:rows]
        together = _Fused(trainer, [specs[n] for n in places], watch, folder, is_shared)
        for n, run in together.run():
            waiting.remove(places[n])
            is_over |= run.state is RunState.INTERRUPTED
            yield places[n], run
        if together.is_out_of_memory:
            if rows >= len(specs):
                logger.warning(
                    "%s: memory ran out at step %d of %d runs in lockstep: those that have not ended begin"
                    " anew, half as many at a time",
                    trainer.task.name,
                    together.step,
                    len(places),
                )
            rows = (together.open_rows + 1) // 2
        del together  # its memory, for those that follow
    rest = _one_by_one(trainer, [specs[n] for n in waiting], watch, folder, is_over)
    yield from ((waiting[n], run) for n, run in rest)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; on a CPU torch has no class for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _one_by_one(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch | None, folder: Path | None, is_over: bool = False
) -> Iterator[tuple[int, Run]]:
    """Train one after the other; an interrupt ends them all."""
    for n, spec in enumerate(specs):
        run = (
            Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0)
            if is_over
            else trainer.train(spec, watch, *files(folder, spec))
        )
        is_over = run.state is RunState.INTERRUPTED
        yield n, run


@dataclass(slots=True)
class _Rows:
    """The stacked parameters and buffers of several models, and one of them as the template."""

    trainer: Trainer
    template: nn.Module
    parameters: Rows
    buffers: Rows

    @classmethod
    def of(cls, trainer: Trainer, seeds: Sequence[int]) -> "_Rows":
        models = [trainer.new_model(seed) for seed in seeds]
        parameters, buffers = stack_module_state(models)
        return cls(trainer, models[0], parameters, buffers)

    def forward(self, x: torch.Tensor, *, shared: bool) -> torch.Tensor:
        """Give the scores of each row's batch, or of one batch that all rows share: shape (rows, batch, classes)."""

        def one(parameters: Rows, buffers: Rows, batch: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = functional_call(self.template, (parameters, buffers), (batch,))
            return found

        with self.trainer.precision():
            scores: torch.Tensor = vmap(one, in_dims=(0, 0, None if shared else 0), randomness="error")(
                self.parameters, self.buffers, x
            )
        return at_least_float(scores)

    def gradients(self, loss: torch.Tensor) -> Rows:
        """Give the gradient of each parameter that learns and that the loss depends on."""
        learning = {name: p for name, p in self.parameters.items() if p.requires_grad}
        found = torch.autograd.grad(loss, list(learning.values()), allow_unused=True)
        return {name: gradient for name, gradient in zip(learning, found, strict=True) if gradient is not None}

    def keep(self, alive: torch.Tensor) -> None:
        """Take out the other rows."""
        self.parameters = {
            name: p.detach()[alive].requires_grad_(p.requires_grad) for name, p in self.parameters.items()
        }
        self.buffers = {name: b[alive] for name, b in self.buffers.items()}

    def state(self, row: int) -> tuple[Rows, Rows]:
        """Give the parameters and the buffers of one row."""
        return {name: p[row] for name, p in self.parameters.items()}, {n: b[row] for n, b in self.buffers.items()}

    def write(self, row: int, path: Path) -> None:
        """Write one row's weights, as a run that trained alone would."""
        parameters, buffers = self.state(row)
        self.template.load_state_dict({**parameters, **buffers}, strict=False)
        write_weights(path, self.template)

    @torch.no_grad()
    def predict(self, row: int, split: Split) -> torch.Tensor:
        """Give the scores of a split by one row."""
        state = self.state(row)
        self.template.eval()
        with self.trainer.precision():
            parts = [functional_call(self.template, state, (x,)) for x in torch.split(split.x, EVALUATION_BATCH)]
        self.template.train()
        return at_least_float(torch.cat(parts))


class _Fused:
    """Several runs in progress."""

    def __init__(
        self,
        trainer: Trainer,
        specs: Sequence[RunSpec],
        watch: Watch,
        folder: Path | None = None,
        is_shared: bool = False,
    ) -> None:
        self.asked = len(specs)
        specs = specs if len(specs) > 1 else [*specs, *specs]
        self.trainer, self.specs, self.watch, self.folder = trainer, specs, watch, folder
        self.is_shared, self.is_out_of_memory, self.step = is_shared, False, 0
        self.horizon = specs[0].horizon
        self.losses = torch.zeros(len(specs), self.horizon, device=trainer.device)
        self.records = [
            TrainingLog(spec, trainer.validation, trainer.digest, losses)
            for spec, losses in zip(specs, self.losses, strict=True)
        ]
        self.results: dict[int, Run] = {}

    def run(self) -> Iterator[tuple[int, Run]]:
        """Give each run as it ends; where memory runs out, those that have not ended are not given."""
        training = self._train()
        is_over = False
        while not is_over:
            known = set(self.results)
            try:
                is_over = next(training, None) is None
            except KeyboardInterrupt:
                is_over = self._end(RunState.INTERRUPTED)
            except Exception as error:  # what finished or diverged before stays
                self.is_out_of_memory = is_out_of_memory(error)
                is_over = self.is_out_of_memory or self._end(RunState.FAILED, f"{type(error).__name__}: {error}")
            yield from ((n, run) for n, run in self.results.items() if n not in known and n < self.asked)

    @property
    def open_rows(self) -> int:
        """The rows of those that have not ended; two at least."""
        return max(2, sum(n not in self.results for n in range(self.asked)))

    def _end(self, state: RunState, error: str | None = None) -> bool:
        for n, record in enumerate(self.records):
            if n not in self.results:
                self.results[n] = self._result(record, state, error)
        return True

    def _result(self, record: TrainingLog, state: RunState, error: str | None = None) -> Run:
        """Give a run; its seconds are its share of what all of them took together."""
        run = record.result(state, error)
        return replace(run, seconds=run.seconds / self.asked, environment={**run.environment, TRAINED: IN_LOCKSTEP})

    def _train(self) -> Iterator[int]:
        """Train to the end; give the number of runs that have ended whenever one has."""
        optimizer = self.trainer.task.optimizer
        assert isinstance(optimizer, SGD)
        self.rows = rows = _Rows.of(self.trainer, [spec.seed for spec in self.specs])
        lrs, momenta = self._columns(optimizer.momentum)
        feed = _Feed(self.trainer, [spec.seed for spec in self.specs], self.is_shared)
        alive = list(range(len(self.specs)))
        buffers: dict[str, torch.Tensor] = {}
        for step in range(self.horizon):
            self.step = step
            x, y = feed.next(alive)
            scores = rows.forward(x, shared=feed.shared)
            labels = y.expand(len(alive), -1) if feed.shared else y
            each = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
            losses = each.view(len(alive), -1).mean(1)
            gradients = rows.gradients(losses.sum())
            update(rows.parameters, gradients, buffers, lrs[alive, step], momenta[alive, step], optimizer)
            self.losses[alive, step] = losses.detach().to(self.losses.dtype)
            if self._judge(rows, alive):
                stay = self._staying(alive)
                alive = [alive[place] for place in stay]
                if not alive:
                    return
                at = torch.tensor(stay, device=self.trainer.device)
                rows.keep(at)
                buffers = {name: buffer[at] for name, buffer in buffers.items()}
                yield len(self.results)

    def _staying(self, alive: Sequence[int]) -> list[int]:
        """The places of the runs that go on; where it is one, another that has ended keeps it company."""
        stay = [place for place, n in enumerate(alive) if n not in self.results]
        return stay if len(stay) != 1 else sorted({*stay, 0 if stay != [0] else 1})

    def _columns(self, momentum: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Learning rate and momentum of each run at each step, shape (runs, horizon)."""
        device = self.trainer.device
        lrs = torch.stack([torch.from_numpy(spec.policy.curve(self.horizon)) for spec in self.specs])
        steps = torch.arange(self.horizon, dtype=torch.float64).numpy()
        momenta = torch.stack(
            [
                torch.from_numpy(spec.policy.momentum(steps))
                if spec.policy.has_momentum
                else torch.full((self.horizon,), momentum, dtype=torch.float64)
                for spec in self.specs
            ]
        )
        return lrs.to(device), momenta.to(device)

    def _judge(self, rows: _Rows, alive: Sequence[int]) -> bool:
        """Note the step, and the ends of runs."""
        before = len(self.results)
        going = [(place, n) for place, n in enumerate(alive) if n not in self.results]
        for place, n in going:
            record = self.records[n]
            record.steps += 1
            state = record.ended(partial(rows.predict, place))
            if state is not None:
                self.results[n] = self._result(record, state)
                self._keep(rows, place, n)
        if (record := self.records[going[0][1]]).is_check_due:
            self.watch(record.steps)
        return len(self.results) > before

    def _keep(self, rows: _Rows, place: int, n: int) -> None:
        """Keep the weights of a full run that did not diverge."""
        weights, _ = files(self.folder, self.specs[n])
        if weights and n < self.asked and self.results[n].state is not RunState.DIVERGED:
            rows.write(place, weights)


class _Feed:
    """The batches of several runs: one for all where it is shared, which takes one seed."""

    def __init__(self, trainer: Trainer, seeds: Sequence[int], shared: bool) -> None:
        self.split, self.augment, self.seeds = trainer.train_split, trainer.task.augment, seeds
        self.shared = shared
        size = trainer.task.batch_size
        self.orders = {seed: batches(len(self.split), size, seed, trainer.device) for seed in set(seeds)}
        self.generators = {seed: torch.Generator().manual_seed(seed) for seed in set(seeds)}

    def next(self, alive: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give inputs and classes: of one batch if all share it, else of one batch a row."""
        wanted = {self.seeds[n] for n in alive}
        made: dict[int, Any] = {}
        for seed in wanted:
            batch = next(self.orders[seed])
            x = self.split.x[batch]
            made[seed] = (self.augment(x, self.generators[seed]) if self.augment else x, self.split.y[batch])
        if self.shared:
            inputs, classes = made[self.seeds[0]]
            return inputs, classes
        rows = [made[self.seeds[n]] for n in alive]
        return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])


@torch.no_grad()
def update(
    parameters: Rows, gradients: Rows, buffers: Rows, lrs: torch.Tensor, momenta: torch.Tensor, optimizer: SGD
) -> None:
    """Make a step of SGD as torch has it, in place, with a rate and a momentum for each row.

    Where a momentum is 0, the row's buffer rests.
    """
    at_rest = momenta <= 0
    rests = bool(at_rest.any())
    for name, gradient in gradients.items():
        p = parameters[name]
        column = (-1, *(1,) * (p.ndim - 1))
        lr, momentum = lrs.to(p.dtype).view(column), momenta.to(p.dtype).view(column)
        g = gradient.add(p, alpha=optimizer.weight_decay) if optimizer.weight_decay else gradient
        before = buffers.get(name)
        after = g.clone() if before is None else (momentum * before if rests else before.mul_(momentum)).add_(g)
        descent = g + momentum * after if optimizer.nesterov else after
        if rests:
            still = at_rest.view(column)
            after = torch.where(still, torch.zeros_like(p) if before is None else before, after)
            descent = torch.where(still, g, descent)
        buffers[name] = after
        p.sub_(lr * descent)
