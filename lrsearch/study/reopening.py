"""A study by its name: what it searches is read from the store, and is the same to the key."""

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

PLACES = ("optimizer", "batch_size", "data", "model")
"""Where a description keeps facts beside `facts`."""


def stored_setup(store: Store, text: str) -> Setup:
    """What a study in the store starts from.

    Args:
        store: the store.
        text: the study's name, or the beginning of its name or key.

    Raises:
        UsageError: if no study is called so, several are, or it is none that is told by hand.
        WorkError: if the store does not say enough of it.
    """
    found = find_study(store.studies(), text)
    if found.description["strategy"] != Funnel().name or "objectives" not in found.task:
        raise UsageError(
            f"{found.name} trains itself: only a search of a training of one's own is asked and told by hand"
        )
    raw = raw_space(found)
    task = stored_task(
        found.task,
        lr_range=(raw.peak.low, raw.peak.high),
        known=tuple(found.frozen.get("known", ())),
        evaluations=found.frozen.get("evaluations", EVALUATIONS),
    )
    setup = Setup(
        task,
        raw,
        found.description["budget"],
        found.description["seed"],
        known=tuple(map(parse, found.description.get("known", ()))),
        without=tuple(found.description.get("without", ())),
    )
    if study_key(setup, Funnel()) != found.key:
        raise WorkError(f"{found.name} was begun by another version, which cannot be read: open it by its task")
    return setup


def stored_task(description: Mapping[str, Any], **more: Any) -> Task:
    """The task of somebody's own training that a stored description is of.

    Args:
        description: as `Task.description` gives it.
        more: what a task says of its study, and not of itself.

    Raises:
        UsageError: for the description of a task that lrsearch trains itself.
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


def _facts(described: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a description, from where `Task.description` put them."""
    return {name: described[name] for name in PLACES if name in described} | dict(described.get("facts", {}))
