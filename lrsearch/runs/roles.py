"""The roles of a study's trials and the origins of their policies; the values are the texts of stores."""

from enum import StrEnum


class Role(StrEnum):
    """The purpose of a trial."""

    CHECK = "check"
    """Two updates and one evaluation of a user's own training, before all other trials."""
    RANGE_TEST = "range-test"
    """A probe whose learning rate rises."""
    CONSTANT_LR = "decade"
    """A probe at a constant learning rate."""
    DEFAULT = "default"
    """The strong default over the whole horizon."""
    CANDIDATE = "candidate"
    """A policy that may be the answer, over the whole horizon or as a shorter complete run."""
    CONFIRM = "confirm"
    """A run on a fresh seed that no choice has used."""


class Origin(StrEnum):
    """The source of a trial's policy."""

    RULE = "rule"
    DEFAULT = "default"
    KNOWN = "known"
    STORED = "stored"
    PUBLISHED = "published"
    SUGGESTED = "suggested"
    EXPLORATION = "escape"
    """Drawn from outside the pruned space."""

    @property
    def label(self) -> str:
        """What is printed for it: the stored text, but for an exploration trial.

        >>> Origin.EXPLORATION.label, Origin.KNOWN.label
        ('explored', 'known')
        """
        return "explored" if self is Origin.EXPLORATION else str(self)


PROBES = (Role.RANGE_TEST, Role.CONSTANT_LR)
SEARCHED = (Role.DEFAULT, Role.CANDIDATE)
"""Trials of the search itself: probes and confirming runs are not."""
