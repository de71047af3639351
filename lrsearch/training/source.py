"""Where trainers of a classification come from. Torch loads when one is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lrsearch.tasks.classification import Classification

if TYPE_CHECKING:
    from lrsearch.training.together import ClassificationTrainer


@dataclass(frozen=True, slots=True)
class ClassificationSource:
    """Opens trainers of a classification.

    Args:
        task: the task. To go to another process it has no lambda and no function within a function, for the workers
            know its functions by name.
        data_dir: where its data set lies; None for the default place.
    """

    task: Classification
    data_dir: Path | None = None

    @contextmanager
    def shared(self) -> Iterator["ClassificationSource"]:
        """A source whose data are in files that all workers map into memory.

        Raises:
            DataError: if the data set is missing or broken.
            OutputError: if the files cannot be written.
        """
        from lrsearch.training.loop import Trainer
        from lrsearch.training.mapped import in_files

        with TemporaryDirectory(prefix="lrsearch-") as folder:
            trainer = Trainer(self.task, self.data_dir, device="cpu")
            yield ClassificationSource(replace(self.task, load=in_files(trainer, Path(folder))))

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> "ClassificationTrainer":
        """Load the data and make a trainer.

        Args:
            is_own_process: whether this process does nothing else: it is then set up for training.
            threads: given where other processes train beside this one: each then trains in one thread, however many
                cores there are, for several threads of one step wait for each other.
            device: a torch device; None for the GPU if there is one, else the CPU.

        Raises:
            DataError: if the data set is missing or broken.
            TaskError: if its splits have other sizes than the task says.
        """
        from lrsearch.training.loop import Trainer
        from lrsearch.training.process import own_process
        from lrsearch.training.together import ClassificationTrainer

        if is_own_process:
            own_process(self.task, threads and 1)
        return ClassificationTrainer(Trainer(self.task, self.data_dir, device))

    def default_workers(self) -> int:
        """How many processes suit the task and this machine."""
        from lrsearch.training.process import default_workers

        return default_workers(self.task)
