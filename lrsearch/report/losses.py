"""What was lost while an executor trained, and how much of their time its workers trained: lines for people."""

from collections import Counter

from lrsearch.report.markdown import shortened
from lrsearch.study.driven import Driven
from lrsearch.words import counted

MOST_LINES = 5
"""Lost attempts that are named: a rule."""
LONGEST_LINE = 240
"""Rule: characters of such a line."""


def lost_lines(driven: Driven) -> list[str]:
    """The number of lost attempts by cause, then a line for each of the first few; none where none was lost."""
    if not driven.lost:
        return []
    causes = Counter(str(attempt.death.cause) for attempt in driven.lost)
    by_cause = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    named = [shortened(attempt.sentence, LONGEST_LINE) for attempt in driven.lost[:MOST_LINES]]
    more = len(driven.lost) - len(named)
    return [
        f"{counted(len(driven.lost), 'attempt')} with a process that ended: {by_cause}",
        *named,
        *([f"and {more} more"] if more else []),
    ]


def usage_line(driven: Driven) -> str | None:
    """How much of their time the workers have trained; None where one trained, or nothing was."""
    usage = driven.usage
    if usage.slots == 1 or not usage.seconds:
        return None
    return (
        f"{counted(usage.slots, 'worker')} trained {100 * usage.share:.0f} % of {usage.seconds / usage.slots:.0f} s;"
        f" {usage.idle:.0f} s waited for runs in progress"
    )
