"""The source of trainers of a classification. Torch loads when a trainer is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.tasks.classification import Classification

if TYPE_CHECKING:
    from lrsearch.training.together import ClassificationTrainer


@dataclass(frozen=True, slots=True)
class ClassificationSource:
    """Opens trainers of a classification.

    Args:
        task: the task. For worker processes it must be picklable: no lambda, no function within a function.
        data_dir: the folder of its data set; None for the default one.
    """

    task: Classification
    data_dir: Path | None = None

    @contextmanager
    def shared(self) -> Iterator["ClassificationSource"]:
        """A source with its data in a file that all workers map into memory.

        Raises:
            DataError: if the data set is missing or broken.
            OutputError: if the file cannot be written.
        """
        from lrsearch.training.loop import Trainer
        from lrsearch.training.mapped import data_file, write_mapped

        with data_file() as file:
            load = write_mapped(Trainer(self.task, self.data_dir, device="cpu"), file)
            yield ClassificationSource(replace(self.task, load=load))

    def portable(self) -> "ClassificationSource":
        """The source for other machines: this one, which names its data set and has no file."""
        return self

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> "ClassificationTrainer":
        """Load the data and make a trainer.

        Args:
            is_own_process: whether this process does nothing else, so that it may be set up for training.
            threads: not None where other processes train beside this one. Each then trains in one thread, because
                several threads of one step wait for each other.
            device: a torch device; None for the GPU if there is one, else the CPU.

        Raises:
            DataError: if the data set is missing or broken.
            TaskError: if its splits have other sizes than the task's description.
        """
        from lrsearch.training.loop import Trainer
        from lrsearch.training.process import own_process
        from lrsearch.training.together import ClassificationTrainer

        if is_own_process:
            own_process(self.task, threads and 1)
        return ClassificationTrainer(Trainer(self.task, self.data_dir, device))

    def default_workers(self) -> int:
        """The default number of processes for the task and this machine."""
        from lrsearch.training.process import default_workers

        return default_workers(self.task)
