"""Queues: an actor through which the driver and the workers of a sweep exchange orders and messages."""

import asyncio
from collections import defaultdict
from typing import Any

Values = dict[str, Any]
TRAIN, STOP, END = "train", "stop", "end"
"""What a worker is to do: train, stop its runs at their next check, or end at once."""


class Queues:
    """Holds orders for workers and messages for the driver. Ray runs it in a process beside the driver.

    A worker is known by the id of its Tune trial. After the loss of a worker another trial takes its place, so that
    a lost worker that still lives gets no order.
    """

    def __init__(self) -> None:
        self._orders: defaultdict[str, asyncio.Queue[Values | None]] = defaultdict(asyncio.Queue)
        self._messages: asyncio.Queue[tuple[str, Values]] = asyncio.Queue()
        self._state = TRAIN

    async def put(self, trial_id: str, order: Values) -> None:
        """Hold an order for a worker."""
        await self._orders[trial_id].put(order)

    async def take(self, trial_id: str) -> Values | None:
        """Wait for the next order of a worker, and return it; None once all is over."""
        return None if self._state == END else await self._orders[trial_id].get()

    async def report(self, trial_id: str, message: Values | None) -> str:
        """Hold a message of a worker for the driver. Returns what the worker is to do: TRAIN, STOP or END."""
        if message is not None:
            await self._messages.put((trial_id, message))
        return self._state

    async def messages(self) -> list[tuple[str, Values]]:
        """Wait for messages, and return all that there are."""
        messages = [await self._messages.get()]
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return messages

    async def stop(self) -> None:
        """Have all open runs stopped."""
        self._state = STOP

    async def end(self) -> None:
        """Have all workers end: those that wait for an order get None."""
        self._state = END
        for orders in self._orders.values():
            await orders.put(None)
