"""Ask-and-tell studies: the user trains the jobs, over days, and no process has to stay for it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lrsearch.api.ask_tell import OpenStudy
from lrsearch.api.functions import changed_source
from lrsearch.api.resources import DEFAULT_FOLDER, opened_store, writable
from lrsearch.api.studies import search_setup
from lrsearch.errors import TaskError
from lrsearch.runs import OWN
from lrsearch.runs.roles import Role
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.study.reopening import stored_setup
from lrsearch.tasks import find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.settings import with_settings
from lrsearch.training.user_source import is_user_training

BUDGET = 8
"""Full-run equivalents. A rule: the least budget that plans two confirming pairs."""


def open_study(
    task: TaskLike,
    budget: float = BUDGET,
    *,
    store: str | Store | None = None,
    functions: Sequence[str | Policy] = (),
    settings: Mapping[str, Any] | None = None,
    known: Sequence[str | Policy] = (),
    seed: int = 0,
    range_test: bool = True,
    out: str | Path = DEFAULT_FOLDER,
    storage: str | None = None,
) -> OpenStudy:
    """Open a search whose jobs the user trains: ask, train where and when you like, tell.

    The same call continues the study, in any process, days later. With a function it is the study that `search` makes
    with the same arguments.

    Args:
        task: a function under `@lrs.task`, a program, or `lrs.Task("my-lm", horizon=..., epoch=...,
            minimize="val_loss")` where no function or program trains it.
        budget: full-run equivalents (FRE) of the whole study: a hard cap.
        store: the knowledge store or its URL; None for `store.db` in `out`.
        functions: LR functions to search; none for all.
        settings, known: as in `search`.
        seed: the study's seed, 0 or more.
        range_test: whether range tests come first, which need the training losses. Without them only constant LRs are
            tried.
        out: the folder for the store, the Optuna study and the jobs' folders: the same in all processes.
        storage: the Optuna storage's URL; None for `optuna.db` in `out`.

    Returns:
        The open study: use it under `with`, or close it.

    Raises:
        UsageError: for a task that lrsearch trains itself, or a budget that is too small.
        WorkError: if the store or the folder cannot be opened.

    >>> from tempfile import TemporaryDirectory
    >>> from lrsearch import Task
    >>> task = Task("my-lm", horizon=2000, epoch=100, minimize="val_loss")
    >>> with TemporaryDirectory() as folder, open_study(task, 4, out=folder) as study:
    ...     (job,) = study.ask()
    ...     study.tell(job.number, curves={"train_loss": [5 - 0.01 * step for step in range(job.horizon)]}).state
    <RunState.FINISHED: 'finished'>
    """
    source = with_settings(task, settings)
    described = find_task(source)
    if described.trainer != OWN:
        raise TaskError(
            f"{described.name} is trained by lrsearch itself: lrs.search({described.name!r}). A study is asked and"
            " told of a function under @lrs.task, or of lrs.Task('my-lm', horizon=..., epoch=...,"
            " minimize='val_loss')"
        )
    without = (*(() if is_user_training(source) else (Role.CHECK,)), *(() if range_test else (Role.RANGE_TEST,)))
    setup, notes = search_setup(source, functions, known, budget, seed, without)
    folder = writable(out)
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_store(store, folder))
        warnings = (*notes, *changed_source(source, ledger))
        return OpenStudy(setup, ledger, folder, storage, warnings=warnings, stack=stack.pop_all())


def reopen_study(
    study: str, *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER, storage: str | None = None
) -> OpenStudy:
    """Open an ask-and-tell study by its name, with the setup that it began with.

    Args:
        study: its name, or the beginning of its name or key: `lrsearch store studies` lists them.
        store, out, storage: as for `open_study`.

    Raises:
        UsageError: for an unknown or ambiguous study, or one that is no ask-and-tell study.
        WorkError: if the store does not exist, or an older version began the study.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_store(store, Path(out), existing=True))
        setup = stored_setup(ledger, study)
        return OpenStudy(setup, ledger, writable(out), storage, stack=stack.pop_all())
