"""The folder of a sweep's files, on machines that share it and on those that do not."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lrsearch.executors.workers import Order


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of runs go.

    Args:
        mark: a file that the driver wrote into the folder of the sweep. A machine that has it shares the folder.
        name: the name of the folder that another machine uses, among its temporary files.
    """

    mark: str
    name: str

    @property
    def is_shared(self) -> bool:
        """Whether this machine shares the folder."""
        return Path(self.mark).exists()

    def order(self, order: Order) -> Order:
        """The order with a folder that this machine has."""
        if order.folder is None or self.is_shared:
            return order
        folder = Path(tempfile.gettempdir()) / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return replace(order, folder=str(folder))
