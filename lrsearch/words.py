"""How a count reads."""


def counted(number: float, one: str, many: str | None = None, form: str = "") -> str:
    """Return a count with its noun, in the singular where it is 1.

    Args:
        number: the count.
        one: the noun for 1.
        many: the noun for all other counts; `one` with an s where it is not given.
        form: how the number is written, as in a format string.

    >>> counted(1, "seed"), counted(2, "seed"), counted(0, "study", "studies"), counted(1500, "step", form=",")
    ('1 seed', '2 seeds', '0 studies', '1,500 steps')
    """
    return f"{number:{form}} {one if number == 1 else many or f'{one}s'}"
