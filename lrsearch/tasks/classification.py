"""A classification of samples in memory: data set, model, optimizer, batch size, splits and metric."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lrsearch.errors import TaskError, unknown
from lrsearch.runs import Objective, Optimizer, Run, Stop, Task
from lrsearch.runs.objective import MAXIMIZE, TOP1
from lrsearch.runs.run import TRAINER_VERSION
from lrsearch.runs.task import policies_of
from lrsearch.schedules import Policy

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lrsearch.tasks.splits import Splits

PAPER_EVERY = 500
"""Steps between evaluations in the papers' protocol. Source: Caffe's LeNet solver; LRBench does not state its own."""
PRECISIONS = ("fp32", "bf16")
METRICS = {
    "validation": "validation top-1 at the last step",
    "paper": "test top-1 at its best look, learning from all training samples, as the papers report it",
}
"""The definition of a run's score, by protocol; part of the key."""


def is_optimistic(task: Task) -> bool:
    """Whether a run's score is that of its best evaluation, as the papers report it."""
    return isinstance(task, Classification) and task.protocol == "paper"


class Augment(Protocol):
    """Changes a batch at random, on the batch's device."""

    @property
    def name(self) -> str:
        """Its name, for people and for the task's key."""

    def __call__(self, x: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """Return a changed batch of the same shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification(Task):
    """A classification that lrsearch's own loop trains: a data set, a model and an optimizer.

    It is a description: with `parameters` given, it builds no model, loads no data, and needs no torch. `epoch`,
    `objectives` and `lr_range` follow from the arguments.

    Args:
        name: the task's name.
        data: the data set's name.
        model: the model's name.
        classes: number of classes, 2 or more.
        shape: the shape of one sample.
        train_size: samples of the training split.
        validation_size: samples held out of the training set for validation.
        test_size: samples of the test split; 0 where there is none.
        batch_size: samples of one update.
        horizon: updates of a full run.
        optimizer: the optimizer and its fixed settings.
        augment: changes each training batch at random; None to train on the data as they are.
        precision: "fp32", or "bf16" for bfloat16 products with float32 weights: faster where the processor has them.
        patience: end a run early after this many evaluations in a row that were not better than the best before. Its
            state is then "stopped", its score that of the last evaluation. For a policy with cycles only evaluations
            at the ends of cycles count, where the learning rate is low. None to train all runs to their horizon.
        target: end a run at the first evaluation with this validation top-1 or a higher one, above 0 and at most 1.
            Its state is then "stopped". It is part of the task's key, so that such a run never replaces a full one.
            None for no target; `lrs.verify` sets it.
        protocol: "validation": a held-out split chooses, by its top-1 at the last step. "paper": see
            `in_paper_protocol`.
        known: policies that are commonly used for this task: a list of policies or their texts, or one of them.
            Durations such as `0.1dur` are of this task's horizon and epoch.
        load: loads the splits from a data folder, or from the cache for None.
        build: returns a new model, initialised from torch's random state.
        parameters: the number of the model's parameters, 0 or more; None to count them. They are counted again for
            another `build`.
        counted: the `build` of which `parameters` is known; set by the class itself.

    Raises:
        TaskError: for impossible numbers, or a model that cannot be built.
    """

    name: str
    data: str
    model: str
    classes: int
    shape: tuple[int, ...]
    train_size: int
    validation_size: int
    test_size: int = 0
    batch_size: int
    horizon: int
    optimizer: Optimizer
    augment: Augment | None = None
    precision: str = "fp32"
    patience: int | None = None
    target: float | None = None
    protocol: str = "validation"
    known: tuple[Policy, ...] = ()
    load: "Callable[[Path | None], Splits]" = field(compare=False, repr=False)
    build: "Callable[[], nn.Module]" = field(compare=False, repr=False)
    parameters: int = None  # type: ignore[assignment]  # a number once the task is made
    counted: "Callable[[], nn.Module] | None" = field(default=None, compare=False, repr=False)
    epoch: float = field(init=False, repr=False)
    objectives: tuple[Objective, ...] = field(init=False, repr=False)
    version: str = field(init=False, repr=False, default="1")
    facts: Mapping[str, Any] = field(init=False, repr=False, hash=False, default_factory=dict)
    settings: Mapping[str, Any] = field(init=False, repr=False, hash=False, default_factory=dict)
    lr_range: tuple[float, float] = field(init=False, repr=False)
    evaluations: int = field(init=False, repr=False, default=10)
    trainer: ClassVar[int | str] = TRAINER_VERSION

    def __post_init__(self, minimize: str | None, maximize: str | None) -> None:
        if minimize is not None or maximize is not None:
            raise TaskError(
                f"task {self.name!r}: a classification is judged by its validation top-1; leave minimize"
                " and maximize out"
            )
        least = {"classes": 2, "train_size": 1, "validation_size": 1, "batch_size": 1, "horizon": 16}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise TaskError(f"task {self.name!r}: {name} must be a whole number, {low} or more, got {value!r}")
        if self.patience is not None and (
            isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1
        ):
            raise TaskError(
                f"task {self.name!r}: patience must be a whole number, 1 or more, or None, got {self.patience!r}"
            )
        if self.target is not None and (
            isinstance(self.target, bool) or not isinstance(self.target, int | float) or not 0 < self.target <= 1
        ):
            raise TaskError(
                f"task {self.name!r}: target must be a number above 0, at most 1, or None, got {self.target!r}"
            )
        if self.precision not in PRECISIONS:
            raise TaskError(unknown("precision", str(self.precision), PRECISIONS))
        if self.protocol not in METRICS:
            raise TaskError(unknown("protocol", str(self.protocol), METRICS))
        derived = {
            "epoch": self.train_size / self.batch_size,
            "lr_range": self.optimizer.lr_range,
            "objectives": (Objective(TOP1, MAXIMIZE, samples=self.validation_size),),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "known", policies_of(self.name, self.known, self.horizon, self.epoch))
        object.__setattr__(self, "parameters", self._parameters())
        object.__setattr__(self, "counted", self.build)

    def _parameters(self) -> int:
        """The number of parameters: the given one if it is of this very `build`, otherwise counted."""
        if self.parameters is None or (self.counted is not None and self.counted is not self.build):
            from lrsearch.tasks.counting import count_parameters

            return count_parameters(self.name, self.build)
        if isinstance(self.parameters, bool) or not isinstance(self.parameters, int) or self.parameters < 0:
            raise TaskError(
                f"task {self.name!r}: parameters must be a whole number, 0 or more, or left out to be"
                f" counted, got {self.parameters!r}"
            )
        return self.parameters

    @property
    def stop(self) -> Stop | None:
        """The rules of early stopping; None where runs train to their horizon."""
        return Stop.of(self.description)

    @property
    def can_fork(self) -> bool:
        """Whether runs with a shared prefix can train it once; the steps of a line search are not known in advance."""
        return not self.optimizer.searches

    @property
    def chance_loss(self) -> float:
        """The cross-entropy of guessing."""
        return math.log(self.classes)

    def evaluate_every(self, horizon: int, *, is_controller: bool = False) -> int:
        """Updates from one evaluation of a run to the next; in the papers' protocol the papers' number."""
        if self.protocol != "paper" or is_controller:
            return Task.evaluate_every(self, horizon, is_controller=is_controller)
        shortened = horizon / self.horizon
        tenth = math.ceil(horizon / self.evaluations)
        return PAPER_EVERY if shortened >= 1 else max(round(PAPER_EVERY * shortened), tenth)

    def level(self, run: Run) -> float:
        """The validation cross-entropy at a run's end; infinite where it diverged."""
        return math.inf if run.loss is None else run.loss

    @property
    def description(self) -> dict[str, Any]:
        """All values that enter the key, as plain JSON values."""
        return (
            {
                "name": self.name,
                "data": {
                    "name": self.data,
                    "classes": self.classes,
                    "shape": list(self.shape),
                    "train": self.train_size,
                    "validation": self.validation_size,
                },
                "model": {"name": self.model, "parameters": self.parameters},
                "optimizer": _described(self.optimizer),
                "batch_size": self.batch_size,
                "horizon": self.horizon,
                "precision": self.precision,
                "metric": METRICS[self.protocol],
            }
            | ({"augment": self.augment.name} if self.augment else {})
            | ({"patience": self.patience} if self.patience else {})
            | ({"target": self.target} if self.target is not None else {})
        )

    def in_paper_protocol(self) -> "Classification":
        """The same task in the protocol of the papers, only for comparison with their tables.

        It trains on all training samples and evaluates on the test set: every 500 steps, for a controller every epoch,
        for a shorter run ten times or more. Its score is that of the best evaluation, which is optimistic, because the
        test set chose it. Its name ends with "-paper"; its runs are never recommended.

        Raises:
            TaskError: if it has no test split, or is in that protocol already.

        >>> from lrsearch.tasks import find_task
        >>> task = find_task("mnist-lenet").in_paper_protocol()
        >>> task.name, task.train_size, task.validation_size
        ('mnist-lenet-paper', 60000, 10000)
        """
        if self.protocol == "paper" or not self.test_size:
            reason = "is judged so already" if self.protocol == "paper" else "has no test split"
            raise TaskError(f"task {self.name!r} {reason}: the papers choose by the test set")
        from lrsearch.tasks.splits import PaperSplits

        return replace(
            self,
            name=f"{self.name}-paper",
            protocol="paper",
            train_size=self.train_size + self.validation_size,
            validation_size=self.test_size,
            test_size=0,
            load=PaperSplits(self.load),
        )


def _described(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer in a task's description, where `rates` is the key of its range of learning rates."""
    values = asdict(optimizer)
    return values | {"rates": list(values.pop("lr_range"))}
