"""The shipped tasks, with the settings of the papers they come from."""

from collections.abc import Callable
from functools import partial

from torch import nn

from lrsearch.errors import TaskError, unknown
from lrsearch.schedules import INV, NSTEP, Policy
from lrsearch.tasks import models
from lrsearch.tasks.data import load_digits, load_idx
from lrsearch.tasks.optimizers import SGD
from lrsearch.tasks.task import Task

LENET_KNOWN = (
    INV(k0=0.01, gamma=0.0001, p=0.75),
    NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000, 8000, 9000, 9500]),
)


def _digits(name: str, model: Callable[[], nn.Module]) -> Task:
    return Task(name=name, data="digits", model=name, classes=10, shape=(1, 8, 8), train_size=1024,
                validation_size=384, batch_size=32, horizon=1280, optimizer=SGD(), load=load_digits, build=model)


def _idx(data: str, model: str, build: Callable[[], nn.Module], horizon: int, known: tuple[Policy, ...] = ()) -> Task:
    name = f"{'fashion' if data == 'FashionMNIST' else 'mnist'}-{model}"
    return Task(name=name, data=data, model=model, classes=10, shape=(1, 28, 28), train_size=54_000,
                validation_size=6000, batch_size=100, horizon=horizon, optimizer=SGD(), known=known,
                load=partial(load_idx, data), build=build)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _digits("digits-mlp", models.digits_mlp),
        _digits("digits-cnn", models.digits_cnn),
        _idx("MNIST", "mlp", models.mnist_mlp, 2000),
        _idx("MNIST", "lenet", models.lenet, 10_000, LENET_KNOWN),
        _idx("FashionMNIST", "mlp", models.mnist_mlp, 2000),
        _idx("FashionMNIST", "lenet", models.lenet, 10_000, LENET_KNOWN),
    )
}


def find_task(task: str | Task) -> Task:
    """Give a shipped task by name; a task of one's own is given back as it is.

    Raises:
        TaskError: if there is none of that name; it gives the nearest.
    """
    if isinstance(task, Task):
        return task
    if task not in TASKS:
        raise TaskError(unknown("task", task, TASKS))
    return TASKS[task]
