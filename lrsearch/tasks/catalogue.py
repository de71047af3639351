"""The shipped tasks, with the settings of their papers. They are descriptions: importing them builds no model."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lrsearch.errors import TaskError, given, unknown
from lrsearch.runs import Optimizer, Task
from lrsearch.runs.executor import TrainerSource
from lrsearch.runs.job import Job
from lrsearch.schedules import INV, NSTEP, Policy
from lrsearch.tasks.cifar import CropFlip, load_cifar
from lrsearch.tasks.classification import Augment, Classification
from lrsearch.tasks.data import load_digits, load_idx
from lrsearch.tasks.functions import FUNCTION_TASKS
from lrsearch.tasks.optimizers import SGD, AdamW
from lrsearch.tasks.synthetic import load_gratings, load_marked, load_noisy_digits, load_teacher

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from lrsearch.tasks.splits import Splits

TaskLike = str | Task | Callable[[Job], Any] | TrainerSource
"""A task as users pass it: the name of a shipped one, a task, a function under `@lrs.task`, or a program."""

LENET_KNOWN = (INV(k0=0.01, gamma=0.0001, p=0.75), NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000, 8000, 9000, 9500]))
"""Source: the solvers of Caffe's LeNet, lenet_solver.prototxt and lenet_multistep_solver.prototxt."""
CNN3_KNOWN = (NSTEP(k0=0.001, gamma=0.1, l=[60_000, 65_000]),)
"""Source: the solvers of Caffe's cifar10_full."""
RESNET_KNOWN = (NSTEP(k0=0.1, gamma=0.1, l=[32_000, 48_000]),)
"""Source: He et al. 2016, section 4.2."""


def _digits(name: str, build: "Callable[[], nn.Module]", parameters: int) -> Classification:
    return Classification(
        name=name,
        data="digits",
        model=name,
        classes=10,
        shape=(1, 8, 8),
        train_size=1024,
        validation_size=384,
        test_size=389,
        batch_size=32,
        horizon=1280,
        optimizer=SGD(),
        load=load_digits,
        build=build,
        parameters=parameters,
    )


def _idx(
    data: str,
    model: str,
    build: "Callable[[], nn.Module]",
    parameters: int,
    horizon: int,
    known: tuple[Policy, ...] = (),
) -> Classification:
    name = f"{'fashion' if data == 'FashionMNIST' else 'mnist'}-{model}"
    return Classification(
        name=name,
        data=data,
        model=model,
        classes=10,
        shape=(1, 28, 28),
        train_size=54_000,
        validation_size=6000,
        test_size=10_000,
        batch_size=100,
        horizon=horizon,
        optimizer=SGD(),
        known=known,
        load=partial(load_idx, data),
        build=build,
        parameters=parameters,
    )


def _cifar(
    model: str,
    build: "Callable[[], nn.Module]",
    parameters: int,
    *,
    name: str = "CIFAR-10",
    classes: int = 10,
    mean: str,
    batch: int,
    horizon: int,
    optimizer: SGD,
    augment: Augment | None = None,
    known: tuple[Policy, ...] = (),
) -> Classification:
    return Classification(
        name=f"{name.replace('-', '').lower()}-{model}",
        data=name,
        model=model,
        classes=classes,
        shape=(3, 32, 32),
        train_size=45_000,
        validation_size=5000,
        test_size=10_000,
        batch_size=batch,
        horizon=horizon,
        optimizer=optimizer,
        augment=augment,
        known=known,
        load=partial(load_cifar, name, mean=mean),
        build=build,
        parameters=parameters,
    )


def _resnet(depth: int, parameters: int, name: str = "CIFAR-10", classes: int = 10) -> Classification:
    return _cifar(
        f"resnet{depth}",
        _model("resnet", depth, classes),
        parameters,
        name=name,
        classes=classes,
        mean="channels",
        batch=128,
        horizon=64_000,
        augment=CropFlip(),
        known=RESNET_KNOWN,
        optimizer=SGD(momentum=0.9, weight_decay=0.0001, nesterov=True),
    )


def _synthetic(
    name: str,
    data: str,
    load: "Callable[[Path | None], Splits]",
    shape: tuple[int, ...],
    classes: int,
    optimizer: Optimizer,
    horizon: int,
    model: tuple[str, *tuple[int, ...]],
    parameters: int,
) -> Classification:
    """A classification of samples that are computed."""
    return Classification(
        name=name,
        data=data,
        model=name,
        classes=classes,
        shape=shape,
        train_size=32_000,
        validation_size=8000,
        test_size=8000,
        batch_size=64,
        horizon=horizon,
        optimizer=optimizer,
        load=load,
        build=_model(*model),
        parameters=parameters,
    )


def _teacher(name: str, seed: int, layers: int, parameters: int) -> Classification:
    load, model = partial(load_teacher, seed), ("deep_mlp", 32, layers)
    return _synthetic(name, f"teacher-{seed}", load, (20,), 10, AdamW(), 1200, model, parameters)


def _gratings(name: str, optimizer: Optimizer, norm: int, parameters: int) -> Classification:
    load, model = partial(load_gratings, 1.5), ("grating_cnn", 8, norm)
    return _synthetic(name, "gratings", load, (1, 12, 12), 8, optimizer, 600, model, parameters)


def _marked(name: str, length: int, parameters: int) -> Classification:
    load, model = partial(load_marked, length), ("last_of_gru", 24)
    return _synthetic(name, f"marked-{length}", load, (length, 2), 2, AdamW(), 600, model, parameters)


def _noisy(task: Classification, wrong: float) -> Classification:
    """A task on digits where a share of the training labels is drawn at random."""
    load = partial(load_noisy_digits, wrong)
    return replace(task, name="digits-noisy", data=f"digits-noisy-{wrong:g}", horizon=1024, load=load)


def _model(name: str, *settings: int) -> "Callable[[], nn.Module]":
    """A function that builds a model of `models`; torch loads when it is called."""
    return partial(_build, name, *settings)


def _build(name: str, *settings: int) -> "nn.Module":
    from lrsearch.tasks import models

    model: nn.Module = getattr(models, name)(*settings)
    return model


CLASSIFICATIONS: dict[str, Classification] = {
    task.name: task
    for task in (
        _digits("digits-mlp", _model("digits_mlp"), 9610),
        _digits("digits-cnn", _model("digits_cnn"), 6090),
        _idx("MNIST", "mlp", _model("mnist_mlp"), 101_770, 2000),
        _idx("MNIST", "lenet", _model("lenet"), 431_080, 10_000, LENET_KNOWN),
        _idx("FashionMNIST", "mlp", _model("mnist_mlp"), 101_770, 2000),
        _idx("FashionMNIST", "lenet", _model("lenet"), 431_080, 10_000, LENET_KNOWN),
        _cifar(
            "cnn3",
            _model("cnn3"),
            89_578,
            mean="image",
            batch=100,
            horizon=70_000,
            known=CNN3_KNOWN,
            optimizer=SGD(momentum=0.9, weight_decay=0.004),
        ),
        _resnet(20, 269_722),
        _resnet(32, 464_154),
        _resnet(56, 853_018),
        _resnet(56, 858_868, "CIFAR-100", 100),
        _teacher("teacher-ln", 1, 8, 10_026),
        _teacher("teacher-deep", 2, 10, 12_266),
        _gratings("gratings-bn", SGD(), 1, 3784),
        _gratings("gratings-cnn", AdamW(), 0, 3704),
        _marked("marked-gru", 24, 2066),
        _noisy(_digits("digits-mlp", _model("digits_mlp"), 9610), 0.3),
    )
}


TASKS: dict[str, Task] = {**CLASSIFICATIONS, **FUNCTION_TASKS}
"""All shipped tasks: those that lrsearch's own loop trains, and those that a function of `training.shipped` trains."""


def find_task(task: TaskLike) -> Task:
    """Find a shipped task by name. A task is returned as it is; a function or program has its own.

    Raises:
        TaskError: for an unknown name; it contains the nearest one.
    """
    described = getattr(task, "task", task)
    if isinstance(described, Task):
        return described
    if not isinstance(task, str):
        raise TaskError(
            "task is a shipped task's name, a function under @lrs.task, lrs.program(...), or what"
            f" lrs.classification(...) makes, got {given(task)}"
        )
    if task not in TASKS:
        raise TaskError(unknown("task", task, TASKS))
    return TASKS[task]


def find_classification(task: TaskLike) -> Classification:
    """Find a task as `find_task` does, for uses that need lrsearch's own loop.

    Raises:
        TaskError: for a task that a user's function or program trains.
    """
    classification = find_task(task)
    if not isinstance(classification, Classification):
        raise TaskError(
            f"task {classification.name!r} is trained by its own function or program; this needs a model and"
            " samples that lrsearch trains itself: a shipped task, or lrs.classification(...)"
        )
    return classification
