"""A study that is asked and told by hand, over days: no process has to stay for it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lrsearch.api.by_hand import OpenStudy
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
    """Open a search whose jobs somebody trains by hand: ask, train where and when you like, tell.

    The same call again goes on, in any process, days later. With a function it is the study that `search` makes with
    the same arguments.

    Args:
        task: a function under `@lrs.task`, a program, or `lrs.Task("my-lm", horizon=..., epoch=...,
            minimize="val_loss")` where nothing here can train it.
        budget: full-run equivalents (FRE) that everything together may cost: a hard cap.
        store: the knowledge store or its URL; `store.db` in `out` where none is given.
        functions: LR functions to search; all where none is named.
        settings, known: as in `search`.
        seed: the study's seed, 0 or more.
        range_test: whether range tests come first; they are read by training losses. Without them constant LRs alone
            are tried.
        out: the folder for the store, the Optuna study and the jobs' folders: the same for all that ask and tell.
        storage: the Optuna storage's URL; `optuna.db` in `out` where none is given.

    Returns:
        The open study, to be used under `with`, or closed.

    Raises:
        UsageError: for a task that lrsearch trains itself, or a budget that buys nothing.
        WorkError: if the store or the folder cannot be opened.

    >>> from tempfile import TemporaryDirectory
    >>> from lrsearch import Task
    >>> task = Task("my-lm", horizon=2000, epoch=100, minimize="val_loss")
    >>> with TemporaryDirectory() as folder, open_study(task, 4, out=folder) as study:
    ...     (job,) = study.ask()
    ...     study.tell(job.number, curves={"train_loss": [5 - 0.01 * step for step in range(job.horizon)]}).state
    <RunState.FINISHED: 'finished'>
    """
    asked = with_settings(task, settings)
    found = find_task(asked)
    if found.trainer != OWN:
        raise TaskError(
            f"{found.name} is trained by lrsearch itself: lrs.search({found.name!r}). A study is asked and"
            " told of a function under @lrs.task, or of lrs.Task('my-lm', horizon=..., epoch=...,"
            " minimize='val_loss')"
        )
    without = (*(() if is_user_training(asked) else (Role.CHECK,)), *(() if range_test else (Role.RANGE_TEST,)))
    setup, notes = search_setup(asked, functions, known, budget, seed, without)
    folder = writable(out)
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_store(store, folder))
        warnings = (*notes, *changed_source(asked, ledger))
        return OpenStudy(setup, ledger, folder, storage, warnings=warnings, stack=stack.pop_all())


def reopen_study(
    study: str, *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER, storage: str | None = None
) -> OpenStudy:
    """Open a study by its name, with all that it began with.

    Args:
        study: its name, or the beginning of its name or key: `lrsearch store studies` lists them.
        store, out, storage: as they were for `open_study`.

    Raises:
        UsageError: for an unknown or ambiguous study, or one that is not told by hand.
        WorkError: if the store is not there, or does not say enough.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_store(store, Path(out), existing=True))
        setup = stored_setup(ledger, study)
        return OpenStudy(setup, ledger, writable(out), storage, stack=stack.pop_all())
