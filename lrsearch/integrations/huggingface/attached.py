"""A callback that also takes the place of some of its Trainer's methods, on this one Trainer."""

from typing import Any, ClassVar

from transformers import Trainer, TrainerCallback

from lrsearch.errors import UsageError


class Attached(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """A callback whose methods named in `replaced` stand in the place of the Trainer's own.

    They are set on the Trainer itself, so that its class and other Trainers stay what they are. The Trainer's own
    method is called by its class: a bound method kept here would call itself after it was sent to a Ray worker.

    Args:
        trainer: the Trainer.

    Raises:
        UsageError: if the Trainer trains with DeepSpeed.
    """

    replaced: ClassVar[tuple[str, ...]] = ()
    is_replaceable: ClassVar[bool] = True

    def __init__(self, trainer: Trainer) -> None:
        if trainer.is_deepspeed_enabled:
            raise UsageError("DeepSpeed steps a scheduler of its own, which lrsearch cannot set yet: use DDP")
        self.trainer = trainer
        self._losses: list[Any] = []

    def attach(self) -> None:
        """Take part in the Trainer's training, in the place of what was attached before.

        Raises:
            UsageError: if a range test waits to be run.
        """
        for before in attached_to(self.trainer):
            if not before.is_replaceable:
                raise UsageError("a range test waits to be run: call trainer.train() first, then attach")
            before.detach()
        for name in self.replaced:
            setattr(self.trainer, name, getattr(self, name))
        self.trainer.add_callback(self)

    def detach(self) -> None:
        """Leave the Trainer as it was."""
        for name in self.replaced:
            vars(self.trainer).pop(name, None)
        self.trainer.remove_callback(self)

    def call_original(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call the Trainer's own method."""
        return getattr(type(self.trainer), name)(self.trainer, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch, and keep its share of the update's loss on its device; for those that replace it."""
        loss = self.call_original("training_step", *args, **kwargs)
        self._losses.append(loss)
        return loss

    def take_loss(self) -> Any:
        """Return the loss of the update that was made, the sum of its batches' shares."""
        losses, self._losses = self._losses, []
        return sum(losses[1:], losses[0])


def attached_to(trainer: Trainer) -> list[Attached]:
    """What is attached to a Trainer."""
    return [one for one in trainer.callback_handler.callbacks if isinstance(one, Attached)]
