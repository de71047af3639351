"""Functions as tasks: the decorator `lrs.task`, and how a function reaches the processes that train."""

import atexit
import hashlib
import inspect
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lrsearch.errors import TaskError, UsageError, given
from lrsearch.runs import Objective, Task
from lrsearch.runs.job import Job
from lrsearch.runs.task import EVALUATIONS
from lrsearch.schedules import Policy
from lrsearch.training.description import AUTO, describe
from lrsearch.training.function_places import Train, how_it_is_sent, module_of, named, place_of

if TYPE_CHECKING:
    from lrsearch.training.function_trainer import FunctionTrainer

F = TypeVar("F", bound=Callable[..., Any])


def task(
    name: str,
    *,
    horizon: int | None = None,
    epochs: float | None = None,
    epoch: float | None = None,
    minimize: str | None = None,
    maximize: str | None = None,
    objectives: Sequence[Objective] = (),
    samples: int | None = None,
    unit: str = "",
    version: str = "1",
    lr_range: tuple[float, float] | None = None,
    known: Sequence[Policy | str] = (),
    evaluations: int = EVALUATIONS,
    facts: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Callable[[F], F]:
    """Make a training function a task: it can be searched, pruned, verified and recorded.

    The function takes a `Job`. It returns its metric, a mapping of metrics, or None where it logged them. The decorator
    returns the function itself, with its description in `.task`.

    Args:
        name: the task's name.
        horizon: updates of a full run, 16 or more; or `epochs`, passes over the samples of `epoch` updates each.
        epochs: instead of `horizon`.
        epoch: updates of one pass over the training samples; None for a twentieth of the horizon.
        minimize, maximize: the metric that decides: one of the two.
        objectives: several, made by `lrs.minimize` and `lrs.maximize`; the first decides.
        samples: where the metric is a share of samples: of how many.
        unit: the metric's unit, for people.
        version: change it when the training changes. "auto": the digest of the function's source.
        lr_range: the peak learning rates to search; None for those of the optimizer's family.
        known: policies that are commonly used for this training.
        evaluations: how often a full run is evaluated.
        facts: further plain values for the key and for similarity, such as {"pretrained": True}.
        settings: plain values that the function reads from `job.settings`.
        more: facts with keywords of their own: `optimizer`, `batch_size`, `parameters`, `data`, `model`.

    Raises:
        TaskError: for an impossible description, or a function that takes no job.

    >>> @task("toy", horizon=100, epoch=10, minimize="val_loss", optimizer="sgd")
    ... def toy(job):
    ...     return {"val_loss": 1.0}
    >>> toy.task.objective.name, toy.task.lr_range
    ('val_loss', (1e-06, 10.0))
    """
    described = describe(
        name,
        horizon=horizon,
        epochs=epochs,
        epoch=epoch,
        minimize=minimize,
        maximize=maximize,
        objectives=objectives,
        samples=samples,
        unit=unit,
        version=version,
        lr_range=lr_range,
        known=known,
        evaluations=evaluations,
        facts=facts,
        settings=settings,
        **more,
    )

    def decorate(function: F) -> F:
        _require_job(name, function)
        is_auto = version == AUTO
        try:
            function.task = (  # type: ignore[attr-defined]
                replace(described, version=f"{AUTO} {source_digest(function)}") if is_auto else described
            )
        except AttributeError:
            raise TaskError(
                f"task {name!r}: {given(function)} cannot carry its description: put a function around it"
            ) from None
        return function

    return decorate


class FunctionSource:
    """A function with its task, small enough to send: its file and its name, or else its code.

    Args:
        function: trains a job.
        task: the task that it trains.
    """

    def __init__(self, function: Train, task: Task) -> None:
        self.function, self.task = function, task

    def shared(self) -> AbstractContextManager[Self]:
        """The source for the workers of this machine: the function loads its data itself, once in each worker."""
        return nullcontext(self)

    def portable(self) -> "FunctionSource":
        """The source for other machines: it carries the text of the function's file, which they may lack."""
        return _PortableSource(self.function, self.task)

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> "FunctionTrainer":
        """A trainer in this process."""
        from lrsearch.training.function_trainer import FunctionTrainer

        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return FunctionTrainer(self.function, self.task, device, self.digest)

    def default_workers(self) -> int:
        """1, because the memory and the cores of a run are not known."""
        return 1

    @property
    def digest(self) -> str | None:
        """The digest of the function's source; None where it has none."""
        return source_digest(self.function)

    @property
    def sent(self) -> str:
        """How another process gets the function, as a text for people."""
        return how_it_is_sent(self.function)

    def why_not_sent(self) -> str | None:
        """Why the function cannot be sent to another process; None where it can."""
        try:
            ForkingPickler.dumps(self)
        except Exception as error:  # an object that the function refers to may raise any exception
            return str(error) if isinstance(error, TaskError) else _not_sent(self.task, error)
        return None

    def __call__(self, job: Job) -> Any:
        """Train a job."""
        return self.function(job)

    def with_task(self, task: Task) -> "FunctionSource":
        """The same function for another horizon or other settings."""
        return FunctionSource(self.function, task)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it by its module where another process can import that, by its file, else by its code."""
        place = place_of(self.function)
        if place is None:
            return _of_code, (_code(self), self.task)
        file, path = place
        return (_of_module, (self.function, self.task)) if file is None else (_of_file, (str(file), path, self.task))


class _PortableSource(FunctionSource):
    """A function that is sent with the text of its file."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the text of its file too, where it has one that is no importable module."""
        file, path = place_of(self.function) or (None, "")
        if file is None:
            return super().__reduce__()
        return _of_text, (str(file), file.read_text(), path, self.task)


def function_source(function: Any) -> FunctionSource:
    """The source of a function under `@lrs.task`.

    Raises:
        UsageError: for anything else.
    """
    if isinstance(function, FunctionSource):
        return function
    described = getattr(function, "task", None)
    if not callable(function) or not isinstance(described, Task):
        raise UsageError(f"this takes a function with @lrs.task(...) above it, got {given(function)}")
    return FunctionSource(function, described)


def source_digest(function: Train) -> str | None:
    """The digest of a function's source: 16 hex digits; None where it has none."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _require_job(name: str, function: Any) -> None:
    if not callable(function):
        raise TaskError(f"task {name!r}: @lrs.task stands above a function, got {given(function)}")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise TaskError(f"task {name!r}: {function.__name__} is a generator or a coroutine: return the metric instead")
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        raise TaskError(
            f"task {name!r}: {getattr(function, '__name__', function)} takes one argument, the job, as"
            " def train(job): ..."
        ) from None
    except ValueError:  # a function written in C has no signature and may take one argument
        pass


def _of_module(function: Train, task: Task) -> FunctionSource:
    return FunctionSource(function, task)


def _of_file(file: str, path: str, task: Task) -> FunctionSource:
    return FunctionSource(named(module_of(Path(file)), path), task)


def _of_text(file: str, text: str, path: str, task: Task) -> FunctionSource:
    """The function of a file, or of its text where this machine has no such file, or another one."""
    with suppress(OSError):
        if Path(file).read_text() == text:
            return _of_file(file, path, task)
    folder = Path(tempfile.mkdtemp(prefix="lrsearch-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / Path(file).name
    copy.write_text(text)
    return _of_file(str(copy), path, task)


def _of_code(code: bytes, task: Task) -> FunctionSource:
    import cloudpickle  # type: ignore[import-untyped]

    return FunctionSource(cloudpickle.loads(code), task)


def _code(source: FunctionSource) -> bytes:
    """A function's code, pickled for a worker process of lrsearch.

    Raises:
        TaskError: if it refers to an object that cannot be pickled.
    """
    import cloudpickle

    try:
        code: bytes = cloudpickle.dumps(source.function)
    except Exception as error:
        raise TaskError(_not_sent(source.task, error)) from error
    return code


def _not_sent(task: Task, error: Exception) -> str:
    return (
        f"task {task.name!r}: its function cannot be sent to another process: {error}; define it at the top of a"
        " file, and open files and connections inside of it"
    )
