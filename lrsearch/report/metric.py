"""How people see a metric: its name, its axis, its numbers in tables and in pictures."""

from lrsearch.report.markdown import shortened
from lrsearch.runs import Objective
from lrsearch.runs.objective import TOP1

LONGEST_HEAD = 32
PERCENT = "%"


def name_of(objective: Objective) -> str:
    """The metric's name for people; of lrsearch's own loop it says of which split.

    >>> from lrsearch.runs import maximize, minimize
    >>> name_of(maximize("top1", samples=384)), name_of(minimize("val_mse"))
    ('validation top-1', 'val_mse')
    """
    return f"validation {_short(objective)}" if _is_top1(objective) else objective.name


def column(objective: Objective) -> str:
    """The head of its column in a table, with its unit.

    >>> from lrsearch.runs import maximize, minimize
    >>> column(maximize("top1", samples=384)), column(minimize("val_loss", unit="nats"))
    ('top-1', 'val_loss, nats')
    """
    head = _short(objective) if _is_top1(objective) else _with_unit(objective.name, objective)
    return shortened(head, LONGEST_HEAD)


def cell(objective: Objective | None, value: float | None) -> str:
    """A value as a table's column shows it, without the unit; one of no objective as it is.

    >>> from lrsearch.runs import maximize, minimize
    >>> cell(maximize("top1", samples=384), 0.96875), cell(minimize("val_loss"), 2.5), cell(minimize("val_loss"), None)
    ('96.88', '2.5', '-')
    """
    if value is None:
        return "-"
    return f"{drawn(objective, value):.2f}" if objective is not None and objective.is_share else f"{value:.5g}"


def drawn(objective: Objective, value: float) -> float:
    """A value as a picture's axis counts it: a share in percent, another in its own unit."""
    return 100 * value if objective.is_share else value


def axis(objective: Objective, form: str = "{}") -> str:
    """The label of its axis: name, unit, and which way is better where that is not plain from the name.

    Args:
        objective: the metric.
        form: what stands around the name, such as "best {} so far".

    >>> from lrsearch.runs import maximize, minimize
    >>> axis(maximize("top1", samples=384)), axis(minimize("val_loss", unit="nats"), "best {} so far")
    ('validation top-1, %', 'best val_loss so far, nats (lower is better)')
    """
    label = _with_unit(form.format(name_of(objective)), objective)
    return label if _is_top1(objective) else f"{label} ({better(objective)})"


def better(objective: Objective) -> str:
    """Which way is better, in words."""
    return "lower is better" if objective.is_minimized else "higher is better"


def _is_top1(objective: Objective) -> bool:
    return objective.name == TOP1 and objective.is_share


def _short(objective: Objective) -> str:
    return "top-1" if _is_top1(objective) else objective.name


def _with_unit(text: str, objective: Objective) -> str:
    unit = PERCENT if objective.is_share else objective.unit
    return f"{text}, {unit}" if unit else text
