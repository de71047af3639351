"""study ask, tell, release, show: a search whose jobs the user trains."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import FOLDER, AsJson, Horizon, Out, StoreUrl, is_file, named_task, split_names
from lrsearch.cli.program import Program, takes_program
from lrsearch.errors import StoreError, UsageError
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.api.ask_tell import OpenStudy

StudyName = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="The study's name, or the beginning of its name or key.", show_default=False),
]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The job's number.", show_default=False)]
Steps = Annotated[int | None, typer.Option(help="Updates that it made", show_default="all of the job")]
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@takes_program
def ask(
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK]",
            help="A function of your own, train.py:name; or a study that was begun, by the beginning of its name.",
            show_default=False,
        ),
    ] = None,
    most: Annotated[int, typer.Option(help="So many jobs at once.")] = 1,
    horizon: Horizon = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Full-run equivalents (FRE) that everything may cost: a hard cap", show_default="8"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The study's seed", show_default="0")] = None,
    functions: Annotated[
        str,
        typer.Option(
            help="LR functions to search, as TRI,SINEXP, or whole policies",
            show_default="LRBench's table and the strong default",
        ),
    ] = "",
    no_range_test: Annotated[
        bool, typer.Option("--no-range-test", help="Try constant LRs alone: for a training without a training loss.")
    ] = False,
    store: StoreUrl = None,
    out: Out = FOLDER,
    as_json: AsJson = False,
    *,
    program: Program,
) -> None:
    """Get jobs of a study to train yourself; the first time opens it. A job is open until it is told or released.

    In the place of TASK, --name and --horizon describe a training that nothing here can start.
    """
    from lrsearch.cli.search import quiet_optuna

    given: dict[str, Any] = {
        "budget": budget,
        "seed": seed,
        "functions": split_names(functions) or None,
        "range_test": False if no_range_test else None,
    }
    given = {key: value for key, value in given.items() if value is not None}
    _require_fitting(task, program, horizon, given)
    quiet_optuna()
    with _opened(task, program, horizon, given, {"store": store, "out": out}) as study:
        _print_jobs(study, most, as_json)


def tell(
    study: StudyName,
    number: Number,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METRIC=VALUE]...", help="Such as val_loss=2.1; nan where it diverged.", show_default=False
        ),
    ] = None,
    failed: Annotated[str | None, typer.Option(help="Why it failed", show_default=False)] = None,
    curves: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Of a range test, its training losses: a line each, as LOSS or STEP LOSS; or JSON; - for stdin",
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Read what its program reported, started with LRSEARCH_JOB=FOLDER/job.json."),
    ] = False,
    steps: Steps = None,
    store: StoreUrl = None,
    out: Out = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Report a job to its study: metrics, the curve of a range test, its program's report, or why it failed."""
    outcome = {
        "value": _values(values or []),
        "curves": _curves(curves),
        "failed": failed,
        "steps": steps,
        "report": report,
    }
    with _reopened(study, store, out) as opened:
        run = opened.tell(number, **outcome)
        _print_left(
            opened,
            f"job {number} {run.state}",
            as_json,
            {"number": number, "state": str(run.state), "score": run.score, "scores": dict(run.scores)},
        )


def release(
    study: StudyName,
    number: Number,
    steps: Annotated[int, typer.Option(help="Updates that were trained for nothing: they are charged.")] = 0,
    store: StoreUrl = None,
    out: Out = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Release a job: it can be asked for again."""
    with _reopened(study, store, out) as opened:
        opened.release(number, steps=steps)
        _print_left(opened, f"job {number} released", as_json, {"number": number, "state": "released"})


def show(study: StudyName, store: StoreUrl = None, out: Out = FOLDER, as_json: AsJson = False) -> None:
    """Show a study that is told by hand: what is left, the jobs that are out, and the answer so far."""
    from lrsearch.cli.output import open_console, print_json
    from lrsearch.errors import WorkError

    with _reopened(study, store, out) as opened:
        try:
            result, verdict = opened.result().to_json(), opened.result().verdict
        except WorkError as error:
            result, verdict = None, str(error)
        jobs = opened.open_jobs()
        if as_json:
            print_json({**_state(opened), "open_jobs": [job.to_json() for job in jobs], "result": result})
            return
        console = open_console()
        console.print(verdict)
        console.print(_left(opened))
        for job in jobs:
            console.print(_line(job))


def _require_fitting(task: str | None, program: Program, horizon: int | None, given: dict[str, Any]) -> None:
    """Refuse arguments that do not go together."""
    if (task is None) is not program.is_described:
        raise UsageError(
            "ask takes a TASK, such as train.py:name or a study that was begun; or --name, --horizon, and"
            " --minimize or --maximize for a training that nothing here can start"
        )
    if task is not None:
        program.require_none("goes with --name: a function or a study says it itself")
    if task is not None and not is_file(task) and (given or horizon is not None):
        named = [f"--{'no-range-test' if key == 'range_test' else key}" for key in given]
        named += ["--horizon"] if horizon is not None else []
        raise UsageError(f"a study that was begun keeps what it began with: leave {', '.join(named)} out")


def _opened(
    task: str | None, program: Program, horizon: int | None, given: dict[str, Any], places: dict[str, Any]
) -> "OpenStudy":
    from lrsearch import api

    if task is None:
        return api.open_study(program.source(horizon) or program.task(horizon), **given, **places)
    if is_file(task):
        return api.open_study(named_task(task, horizon, "fp32"), **given, **places)
    try:
        return api.reopen_study(task, **places)
    except (UsageError, StoreError) as error:
        raise type(error)(
            f"{error}. A new study begins with a function, train.py:name, or with --name, --horizon"
            " and --minimize or --maximize"
        ) from None


def _reopened(study: str, store: str | None, out: Path) -> "OpenStudy":
    from lrsearch import api
    from lrsearch.cli.search import quiet_optuna

    quiet_optuna()
    return api.reopen_study(study, store=store, out=out)


def _values(texts: list[str]) -> Any:
    """One value, or values by name; None without any."""
    if len(texts) == 1 and "=" not in texts[0]:
        return _number(texts[0])
    pairs = [text.partition("=") for text in texts]
    odd = next((text for text, (_, equals, _) in zip(texts, pairs, strict=True) if not equals), None)
    if odd is not None:
        raise UsageError(f"metrics are told as METRIC=VALUE, such as val_loss=2.1, got {odd!r}")
    return {name: _number(value) for name, _, value in pairs} or None


def _number(text: str) -> float | str:
    """A number; any other text as it is, for what reads it knows NaN and refuses the rest."""
    return float(text) if NUMBER.fullmatch(text) else text


def _curves(file: str | None) -> Any:
    """Read the curve of a range test: JSON, or a line a step."""
    if file is None:
        return None
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        read = json.loads(text) if text.lstrip()[:1] in ("{", "[") else _lines(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"--curves {file} cannot be read: {error}") from None
    return read if isinstance(read, dict) else {"train_loss": read}


def _lines(text: str) -> list[Any]:
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(row) > 2 for row in rows):
        raise ValueError("its lines are LOSS, or STEP LOSS")
    return [[int(row[0]), _number(row[1])] if len(row) == 2 else _number(row[0]) for row in rows]


def _state(study: "OpenStudy") -> dict[str, Any]:
    return {"study": study.name, "is_done": study.is_done, "left": study.left}


def _left(study: "OpenStudy") -> str:
    left = f"{study.left:.2f} FRE left of {study.budget:g}"
    return f"{study.name} is done, {left}" if study.is_done else f"{study.name}: {left}"


def _line(job: Any) -> str:
    steps = counted(job.horizon, "step", form=">6")
    return f"job {job.number:<4} {job.purpose:<10} {steps}  seed {job.seed}  {job.policy}  in {job.folder}"


def _print_left(study: "OpenStudy", line: str, as_json: bool, values: dict[str, Any]) -> None:
    from lrsearch.cli.output import open_console, print_json

    if as_json:
        print_json(values | _state(study))
    else:
        open_console().print(f"{line}; {_left(study)}")


def _print_jobs(study: "OpenStudy", most: int, as_json: bool) -> None:
    from lrsearch.cli.output import open_console, print_json

    jobs = study.ask(most)
    if as_json:
        print_json({**_state(study), "jobs": [job.to_json() for job in jobs]})
        return
    for job in jobs:
        open_console().print(_line(job))
    open_console(stderr=True).print(_next(study, jobs))


def _next(study: "OpenStudy", jobs: list[Any]) -> str:
    """The next step for the user."""
    if not jobs and study.is_done:
        return f"the study is done: lrsearch study show {study.name}"
    if not jobs:
        out = ", ".join(str(job.number) for job in study.open_jobs())
        return f"nothing to train by now: what is out must be told first, job {out}"
    first = jobs[0]
    outcome = "--curves FILE, or --report" if first.is_range_test else f"{study.task.objective.name}=VALUE"
    return f"{_left(study)}; train, then: lrsearch study tell {study.name} {first.number} {outcome}"
