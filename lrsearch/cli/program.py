"""The options that describe a training of one's own that is no function: a program, or what is started by hand."""

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from lrsearch.errors import UsageError

if TYPE_CHECKING:
    from lrsearch.runs import Task
    from lrsearch.training.program import ProgramSource


def _option(text: str, default: str | bool = False) -> Any:
    return typer.Option(help=text, show_default=default, rich_help_panel="A program of your own")


@dataclass(frozen=True, slots=True)
class Program:
    """A program as the command line describes it; the fields are its options."""

    command: Annotated[
        str | None,
        _option("What trains, instead of TASK, such as 'torchrun --nproc-per-node 4 train.py': see docs/programs.md."),
    ] = None
    name: Annotated[str | None, _option("The task's name.")] = None
    epoch: Annotated[float | None, _option("Updates of one pass over the samples", "horizon / 20")] = None
    minimize: Annotated[str | None, _option("The metric that decides, lower is better.")] = None
    maximize: Annotated[str | None, _option("The metric that decides, higher is better.")] = None
    samples: Annotated[int | None, _option("Of how many samples the metric is a share.")] = None
    task_version: Annotated[
        str, _option("Change it where the training changed; auto follows the command and its files", "1")
    ] = "1"
    lr_range: Annotated[str, _option("LOW,HIGH, the peak learning rates to search", "the optimizer's")] = ""
    fact: Annotated[
        list[str] | None, _option("NAME=VALUE, what the key and similarity shall know, as optimizer=adamw; repeatable.")
    ] = None

    @property
    def is_described(self) -> bool:
        """Whether a training is described."""
        return self.command is not None or self.name is not None

    def source(self, horizon: int | None) -> "ProgramSource | None":
        """The program with its task; None where none is described.

        Raises:
            UsageError: where it is not whole.
        """
        if self.command is None:
            return None
        from lrsearch.training.program import program

        return program(self.command, **self._description(horizon))

    def task(self, horizon: int | None) -> "Task":
        """The task alone, of a training that nothing here can start.

        Raises:
            UsageError: where it is not whole.
        """
        from lrsearch.training.description import describe

        return describe(**self._description(horizon))

    def require_none(self, why: str) -> None:
        """Refuse whatever describes a training.

        Args:
            why: the end of the sentence that begins with the option.

        Raises:
            UsageError: it names the option.
        """
        given = next(
            (
                name
                for name, field in self.__dataclass_fields__.items()
                if getattr(self, name) not in (field.default, [])
            ),
            None,
        )
        if given is not None:
            raise UsageError(f"--{given.replace('_', '-')} {why}")

    def _description(self, horizon: int | None) -> dict[str, Any]:
        if self.name is None or horizon is None:
            raise UsageError(
                "a training of your own needs --name and --horizon (updates of a full run), and --minimize"
                " or --maximize METRIC"
            )
        return {
            "name": self.name,
            "horizon": horizon,
            "epoch": self.epoch,
            "minimize": self.minimize,
            "maximize": self.maximize,
            "samples": self.samples,
            "version": self.task_version,
            "lr_range": _range(self.lr_range),
            "facts": dict(map(_fact, self.fact or ())),
        }


def takes_program(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `Program` to a command, which receives them together as `program`."""

    @functools.wraps(command)
    def taking(**given: Any) -> None:
        own = {name: given.pop(name) for name in Program.__dataclass_fields__}
        command(**given, program=Program(**own))

    hints = get_type_hints(Program, include_extras=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[name])
        for name, field in Program.__dataclass_fields__.items()
    ]
    signature = inspect.signature(command, eval_str=True)
    others = [one for name, one in signature.parameters.items() if name != "program"]
    taking.__signature__ = signature.replace(parameters=[*others, *options])  # type: ignore[attr-defined]
    taking.__annotations__ = {one.name: one.annotation for one in (*others, *options)}
    return taking


def _fact(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--fact takes NAME=VALUE, as optimizer=adamw, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _range(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--lr-range takes LOW,HIGH, as 1e-5,1, got {text!r}") from None
    return low, high
