"""A study opened by its name: its setup is rebuilt from the store, and its key is checked."""

from collections.abc import Mapping
from typing import Any

from lrsearch.errors import UsageError, WorkError
from lrsearch.runs import Task, objectives_of
from lrsearch.runs.task import EVALUATIONS
from lrsearch.schedules import parse
from lrsearch.store import Store
from lrsearch.study.explanation import find_study, raw_space
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup
from lrsearch.study.study import study_key

FACT_KEYS = ("optimizer", "batch_size", "data", "model")
"""Keys of a description that hold facts, beside `facts` itself."""


def stored_setup(store: Store, text: str) -> Setup:
    """The setup of a stored ask-and-tell study.

    Args:
        store: the store.
        text: the study's name, or the beginning of its name or key.

    Raises:
        UsageError: if no study or several have that name, or it is no ask-and-tell study.
        WorkError: if the rebuilt setup has another key.
    """
    study = find_study(store.studies(), text)
    if study.description["strategy"] != Funnel().name or "objectives" not in study.task:
        raise UsageError(
            f"{study.name} trains itself: only a search of a training of one's own is asked and told by hand"
        )
    raw = raw_space(study)
    task = stored_task(
        study.task,
        lr_range=(raw.peak.low, raw.peak.high),
        known=tuple(study.frozen.get("known", ())),
        evaluations=study.frozen.get("evaluations", EVALUATIONS),
    )
    setup = Setup(
        task,
        raw,
        study.description["budget"],
        study.description["seed"],
        known=tuple(map(parse, study.description.get("known", ()))),
        without=tuple(study.description.get("without", ())),
    )
    if study_key(setup, Funnel()) != study.key:
        raise WorkError(f"{study.name} was begun by another version, which cannot be read: open it by its task")
    return setup


def stored_task(description: Mapping[str, Any], **more: Any) -> Task:
    """The task of a user's training, rebuilt from its stored description.

    Args:
        description: the stored `Task.description`.
        more: arguments of `Task` that the description does not hold, such as `lr_range`.

    Raises:
        UsageError: for the description of a task that lrsearch's own loop trains.
    """
    if "objectives" not in description:
        raise UsageError(f"{description['name']!r} is trained by lrsearch itself, and not by a program or by hand")
    return Task(
        description["name"],
        horizon=description["horizon"],
        epoch=description["epoch"],
        objectives=objectives_of(description),
        version=description["version"],
        facts=_facts(description),
        settings=description.get("settings", {}),
        **more,
    )


def _facts(description: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a description, from all keys that hold some."""
    own = {name: description[name] for name in FACT_KEYS if name in description}
    return own | dict(description.get("facts", {}))
