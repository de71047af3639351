"""Many runs of one task at once: they differ in policy and seed, and train in lockstep in one process.

Parameters are stacked, one row a run; the model is mapped over the rows (torch.func.vmap). The update is SGD's, with a
learning rate and a momentum for each row. Runs of equal seed share their batches. A row that diverged is removed; rows
do not affect each other. There are always two rows or more, because kernels round differently for a single row. So a
run has the same result whatever the other rows are, where kernels treat all rows of a stack alike. Convolutions round
differently where a batch is shared, so searches and tables group runs of one seed only.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.environment import IN_LOCKSTEP, TRAINED
from lrsearch.schedules import Policy
from lrsearch.tasks import SGD
from lrsearch.tasks.classification import Classification
from lrsearch.training.files import files
from lrsearch.training.loop import Trainer, Watch, batches
from lrsearch.training.stacked_models import StackedModels, sgd_step
from lrsearch.training.training_log import TrainingLog

logger = logging.getLogger(__name__)


def why_not(trainer: Trainer, specs: Sequence[RunSpec]) -> str | None:
    """Why these runs cannot train in lockstep; None where they can.

    It trains nothing; it runs the model once on a batch of two samples, mapped over two rows.
    """
    task = trainer.task
    if type(task.optimizer) is not SGD:
        return f"its optimizer is {type(task.optimizer).__name__}, and only SGD has a column of learning rates here"
    if len({spec.horizon for spec in specs}) > 1:
        return "the runs are of several lengths"
    if any(spec.policy.is_controller for spec in specs):
        return "a controller's learning rate follows from its own feedback"
    try:
        rows = StackedModels.of(trainer, [0, 0])
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
        horizon: the steps of each run; None for the task's.
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
    return run_lockstep(trainer, [RunSpec(task, policy, steps, seed) for policy in bound for seed in seeds])


def run_lockstep(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch | None = None, folder: Path | None = None
) -> list[Run]:
    """Train runs of one task and horizon in lockstep; unsupported models and policies train one by one.

    Args:
        trainer, specs, watch, folder: as for `iter_lockstep`.

    Returns:
        The runs in the order of `specs`.
    """
    runs = dict(iter_lockstep(trainer, specs, watch, folder))
    return [runs[n] for n in range(len(specs))]


def iter_lockstep(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch | None = None, folder: Path | None = None
) -> Iterator[tuple[int, Run]]:
    """Train runs of one task and horizon in lockstep, and yield each as it ends; unsupported ones train one by one.

    Each run equals the run of `Trainer.train` up to rounding: in float64 to 1e-12 over tens of steps, in float32 the
    losses of a small model to about 1e-3 over hundreds. Where memory runs out, unfinished runs start over with half as
    many rows, with the same result to the bit. Where two rows are too many, they train one by one.

    Args:
        trainer: the trainer of the task, with its data in memory.
        specs: the runs; `why_not` returns whether they can train in lockstep.
        watch: called with the number of steps done by each run.
        folder: for the weights of full runs; None to write none. There are no checkpoints.

    Yields:
        The index of each run in `specs`, and the run.
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
    """Halve the number of rows until they fit into memory; where two do not fit, train one by one."""
    pending, rows = list(range(len(specs))), max(2, len(specs))
    is_shared, is_over = len({spec.seed for spec in specs}) == 1, False
    while pending and rows > 1 and not is_over:
        places = pending[:rows]
        batch = _LockstepRuns(trainer, [specs[n] for n in places], watch, folder, is_shared)
        for n, run in batch.run():
            pending.remove(places[n])
            is_over |= run.state is RunState.INTERRUPTED
            yield places[n], run
        if batch.is_out_of_memory:
            if rows >= len(specs):
                logger.warning(
                    "%s: memory ran out at step %d of %d runs in lockstep: those that have not ended begin"
                    " anew, half as many at a time",
                    trainer.task.name,
                    batch.step,
                    len(places),
                )
            rows = (batch.open_rows + 1) // 2
        del batch  # frees its memory before the next batch
    rest = _one_by_one(trainer, [specs[n] for n in pending], watch, folder, is_over)
    yield from ((pending[n], run) for n, run in rest)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _one_by_one(
    trainer: Trainer, specs: Sequence[RunSpec], watch: Watch | None, folder: Path | None, is_over: bool = False
) -> Iterator[tuple[int, Run]]:
    """Train one after the other; after an interrupt the others are interrupted too."""
    for n, spec in enumerate(specs):
        interrupted = Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0)
        run = interrupted if is_over else trainer.train(spec, watch, *files(folder, spec))
        is_over = run.state is RunState.INTERRUPTED
        yield n, run


class _LockstepRuns:
    """Several runs in progress."""

    def __init__(
        self,
        trainer: Trainer,
        specs: Sequence[RunSpec],
        watch: Watch,
        folder: Path | None = None,
        is_shared: bool = False,
    ) -> None:
        self.count = len(specs)
        specs = specs if len(specs) > 1 else [*specs, *specs]
        self.trainer, self.specs, self.watch, self.folder = trainer, specs, watch, folder
        self.is_shared, self.is_out_of_memory, self.step = is_shared, False, 0
        self.horizon = specs[0].horizon
        self.losses = torch.zeros(len(specs), self.horizon, device=trainer.device)
        self.records = [
            TrainingLog(spec, trainer.validation, trainer.digest, losses, folder)
            for spec, losses in zip(specs, self.losses, strict=True)
        ]
        self.results: dict[int, Run] = {}

    def run(self) -> Iterator[tuple[int, Run]]:
        """Yield each run as it ends; where memory runs out, unfinished runs are not yielded."""
        training = self._train()
        is_over = False
        while not is_over:
            known = set(self.results)
            try:
                is_over = next(training, None) is None
            except KeyboardInterrupt:
                is_over = self._end(RunState.INTERRUPTED)
            except Exception as error:  # runs that finished or diverged before keep their results
                self.is_out_of_memory = is_out_of_memory(error)
                is_over = self.is_out_of_memory or self._end(RunState.FAILED, f"{type(error).__name__}: {error}")
            yield from ((n, run) for n, run in self.results.items() if n not in known and n < self.count)

    @property
    def open_rows(self) -> int:
        """The number of runs that have not ended; two at least."""
        return max(2, sum(n not in self.results for n in range(self.count)))

    def _end(self, state: RunState, error: str | None = None) -> bool:
        for n, record in enumerate(self.records):
            if n not in self.results:
                self.results[n] = self._result(record, state, error)
        return True

    def _result(self, record: TrainingLog, state: RunState, error: str | None = None) -> Run:
        """The result of one run; its seconds are its share of the time of all runs."""
        run = record.result(state, error)
        return replace(run, seconds=run.seconds / self.count, environment={**run.environment, TRAINED: IN_LOCKSTEP})

    def _train(self) -> Iterator[int]:
        """Train to the end; yield the number of ended runs whenever one has ended."""
        optimizer = self.trainer.task.optimizer
        assert isinstance(optimizer, SGD)
        self.rows = rows = StackedModels.of(self.trainer, [spec.seed for spec in self.specs])
        lrs, momenta = self._columns(optimizer.momentum)
        feed = _Feed(self.trainer, [spec.seed for spec in self.specs], self.is_shared)
        alive = list(range(len(self.specs)))
        buffers: dict[str, torch.Tensor] = {}
        for step in range(self.horizon):
            self.step = step
            x, y = feed.next(alive)
            scores = rows.forward(x, shared=feed.shared)
            labels = y.expand(len(alive), -1) if feed.shared else y
            sample_losses = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
            losses = sample_losses.view(len(alive), -1).mean(1)
            gradients = rows.gradients(losses.sum())
            sgd_step(rows.parameters, gradients, buffers, lrs[alive, step], momenta[alive, step], optimizer)
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
        """The rows to keep: those of unfinished runs, and an ended one beside a single one, for two at least."""
        stay = [place for place, n in enumerate(alive) if n not in self.results]
        return stay if len(stay) != 1 else sorted({*stay, 0 if stay != [0] else 1})

    def _columns(self, momentum: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Learning rates and momenta of each run at each step, both of shape (runs, horizon)."""
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

    def _judge(self, rows: StackedModels, alive: Sequence[int]) -> bool:
        """Record the step, and the results of runs that ended; return whether one did."""
        before = len(self.results)
        unfinished = [(place, n) for place, n in enumerate(alive) if n not in self.results]
        for place, n in unfinished:
            record = self.records[n]
            record.count_update()
            state = record.ended(partial(rows.predict, place))
            if state is not None:
                self.results[n] = self._result(record, state)
                self._write_weights(rows, place, n)
        if (record := self.records[unfinished[0][1]]).is_check_due:
            self.watch(record.steps)
        return len(self.results) > before

    def _write_weights(self, rows: StackedModels, place: int, n: int) -> None:
        """Write the weights of a full run that did not diverge."""
        weights, _ = files(self.folder, self.specs[n])
        if weights and n < self.count and self.results[n].state is not RunState.DIVERGED:
            rows.write(place, weights)


class _Feed:
    """The batches of several runs: one for all rows where they share a seed, else one for each row."""

    def __init__(self, trainer: Trainer, seeds: Sequence[int], shared: bool) -> None:
        self.split, self.augment, self.seeds = trainer.train_split, trainer.task.augment, seeds
        self.shared = shared
        size = trainer.task.batch_size
        self.orders = {seed: batches(len(self.split), size, seed, trainer.device) for seed in set(seeds)}
        self.generators = {seed: torch.Generator().manual_seed(seed) for seed in set(seeds)}

    def next(self, alive: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and classes: of one batch where all rows share it, else stacked, one batch a row."""
        wanted = {self.seeds[n] for n in alive}
        by_seed: dict[int, Any] = {}
        for seed in wanted:
            batch = next(self.orders[seed])
            x = self.split.x[batch]
            by_seed[seed] = (self.augment(x, self.generators[seed]) if self.augment else x, self.split.y[batch])
        if self.shared:
            inputs, classes = by_seed[self.seeds[0]]
            return inputs, classes
        rows = [by_seed[self.seeds[n]] for n in alive]
        return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])
