"""Trainings that take turns in one process, and what one costs in the time of another.

A loop is an iterator: each `next` makes the same number of updates. A generator is one, and `Training` makes one of a
framework's own loop. `show(time_turns(loops, turns), updates)` prints how each compares with the first.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping


class Training(Iterator[None]):
    """A framework's training as a loop. It runs in a thread, from each `next` to its next call of `pause`.

    Args:
        train: makes the whole training, given `pause`, which it calls at the end of each turn.
    """

    def __init__(self, train: Callable[[Callable[[], None]], object]) -> None:
        self._go, self._done, self._has_ended = threading.Semaphore(0), threading.Semaphore(0), False
        threading.Thread(target=self._run, args=(train,), daemon=True).start()

    def __next__(self) -> None:
        self._go.release()
        self._done.acquire()
        if self._has_ended:
            raise StopIteration

    def _pause(self) -> None:
        """End a turn, and wait for the next."""
        self._done.release()
        self._go.acquire()

    def _run(self, train: Callable[[Callable[[], None]], object]) -> None:
        self._go.acquire()
        try:
            train(self._pause)
        finally:
            self._has_ended = True
            self._done.release()


def time_turns(loops: Mapping[str, Iterator[None]], turns: int) -> dict[str, list[float]]:
    """Processor seconds of each loop's turns, in an order that is drawn anew. The first, which sets up, is left out.

    A loop that ends before raises StopIteration.
    """
    order, draw = list(loops), random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(turns):
        draw.shuffle(order)
        for name in order:
            began = time.process_time()
            next(loops[name])
            taken[name].append(time.process_time() - began)
    return {name: seconds[1:] for name, seconds in taken.items()}


def show(taken: Mapping[str, list[float]], updates: int) -> None:
    """Print each loop's median time of an update, and the median of its ratios to the first loop's same turns.

    Args:
        taken: seconds of each loop's turns, of `time_turns`; the first is the one that others are compared with.
        updates: how many updates a turn makes.
    """
    base, *others = taken
    print(f"{base}: {_update(taken[base], updates)}")
    for name in others:
        low, middle, high = ratios(taken[name], taken[base])
        print(f"{name}: {_update(taken[name], updates)}, {middle:.3f} x (quartiles {low:.3f} to {high:.3f})")


def ratios(seconds: list[float], base: list[float]) -> list[float]:
    """The quartiles of the ratios of paired turns: the first, the median and the third."""
    return statistics.quantiles([one / other for one, other in zip(seconds, base, strict=True)], n=4)


def _update(seconds: list[float], updates: int) -> str:
    return f"{1e6 * statistics.median(seconds) / updates:.0f} us an update"
