"""range-test and recipe: the LR range test of a task, and what follows from it step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import (
    FOLDER,
    AsJson,
    DataDir,
    Horizon,
    Out,
    Precision,
    Seed,
    StoreUrl,
    TaskName,
    TaskOrProgram,
    named_task,
)
from lrsearch.cli.program import Program, takes_program
from lrsearch.cli.settings import Settings, Tries, read_settings, read_tries
from lrsearch.errors import UsageError
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.heuristics import Ramp
    from lrsearch.runs import RunSpec
    from lrsearch.study.range_tests import RangeTested
    from lrsearch.study.recipe import Recipe


@takes_program
def range_test(
    task: TaskOrProgram = None,
    repeats: Annotated[int, typer.Option(help="How often, each time with another seed.")] = 2,
    low: Annotated[
        float | None, typer.Option(help="The first learning rate", show_default="the optimizer's lowest")
    ] = None,
    high: Annotated[
        float | None, typer.Option(help="The last learning rate", show_default="the optimizer's highest")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates", show_default="300, at most a quarter of the horizon")
    ] = None,
    shape: Annotated[str, typer.Option(help="exponential, or linear.")] = "exponential",
    momentum: Annotated[
        str,
        typer.Option(help="FIRST,LAST: it falls as the learning rate rises, as 0.95,0.85", show_default="the task's"),
    ] = "",
    weight_decays: Annotated[
        str, typer.Option(help="Several to compare, as 1e-3,1e-4,0", show_default="the task's")
    ] = "",
    settings: Settings = None,
    store: StoreUrl = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    horizon: Horizon = None,
    precision: Precision = "fp32",
    *,
    program: Program,
) -> None:
    """Make an LR range test of a task: the learning rate rises, and where the loss was lowest is what it advises."""
    from lrsearch import api
    from lrsearch.cli.progress import log_line
    from lrsearch.tasks import Classification, find_task

    source = named_task(task, horizon, precision, program)

    def tell(spec: "RunSpec", ramp: "Ramp") -> None:
        task = spec.task
        decay = f", weight decay {task.optimizer.weight_decay:g}" if isinstance(task, Classification) else ""
        log_line(f"seed {spec.seed}{decay}: {counted(len(ramp.lrs), 'point')}")

    tested = api.range_tests(
        source,
        low=low,
        high=high,
        steps=steps,
        shape=shape,
        momentum=_pair(momentum),
        weight_decays=_numbers(weight_decays, "--weight-decays"),
        repeats=repeats,
        seed=seed,
        settings=read_settings(settings),
        store=store,
        data_dir=data_dir,
        out=out,
        watch=tell,
        is_own_process=True,
    )
    _report_tests(find_task(source).name, tested, out, as_json)


def _report_tests(task: str, tested: "list[RangeTested]", out: Path, as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_range_tests
    from lrsearch.report.range_test import draw_range_tests

    picture = draw_range_tests(tested, out / task / "range-test.png")
    if as_json:
        print_json({"task": task, "tests": [one.to_json() for one in tested], "pictures": [str(picture)]})
    else:
        print_range_tests(tested, str(picture))


def recipe(
    task: TaskName,
    tries: Tries = None,
    settings: Settings = None,
    store: StoreUrl = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = FOLDER,
    data_dir: DataDir = None,
    horizon: Horizon = None,
    precision: Precision = "fp32",
) -> None:
    """Follow the 1cycle report's recipe: learning rate, then batch size, momentum and weight decay by short runs.

    Of a function of your own: the learning rate, then the values of each setting that --try names.
    """
    from lrsearch import api
    from lrsearch.cli.progress import log_line
    from lrsearch.training.settings import with_settings

    source = with_settings(named_task(task, horizon, precision), read_settings(settings))
    result = api.recipe(
        source,
        settings=read_tries(tries),
        seed=seed,
        store=store,
        data_dir=data_dir,
        out=out,
        watch=log_line,
        is_own_process=True,
    )
    _report_recipe(result, as_json)


def _report_recipe(result: "Recipe", as_json: bool) -> None:
    from lrsearch.cli.output import print_json
    from lrsearch.cli.show import print_recipe

    if as_json:
        print_json(result.to_json())
    else:
        print_recipe(result)


def _pair(text: str) -> tuple[float, float] | None:
    numbers = _numbers(text, "--momentum")
    if not numbers:
        return None
    if len(numbers) != 2:
        raise UsageError(f"--momentum takes two numbers, as 0.95,0.85; got {text!r}")
    return numbers[0], numbers[1]


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"{option} takes numbers with commas between them, got {text!r}") from None
