"""policy list, show, table, plot, diff, convert, paths: look at policies, compare them, take them elsewhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lrsearch.errors import PolicyError, UsageError
from lrsearch.schedules import FUNCTIONS, Policy, parse
from lrsearch.schedules.fields import REQUIRED, Field
from lrsearch.schedules.values import text_of

MARKS = 10
MOST_STEPS = 10_000_000

app = typer.Typer(help="Look at LR policies.", no_args_is_help=True)

Text = Annotated[str, typer.Argument(metavar="TEXT", help="A policy, such as 'TRI(k0=0.001, k1=0.006, l=2000)'.")]
Texts = Annotated[list[str], typer.Argument(metavar="TEXT...", help="One policy or several.")]
Steps = Annotated[
    int, typer.Option(min=1, max=MOST_STEPS, help="Steps of the run; durations such as 0.1dur are parts of it.")
]
Epoch = Annotated[
    float | None, typer.Option(min=1e-9, help="Steps of an epoch, for durations such as 3ep.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The PNG file to write.")]
Picture = Annotated[
    Path | None, typer.Option("-o", "--output", help="A PNG file for both curves and their ratio.", show_default=False)
]


@app.command("list")
def list_functions(as_json: AsJson = False) -> None:
    """List the LR functions with their parameters."""
    from rich.table import Table
    from rich.text import Text

    from lrsearch.cli.output import open_console, print_json

    if as_json:
        print_json(
            [
                {
                    "name": f.name,
                    "family": f.family,
                    "parameters": [field.name for field in f.fields],
                    "rules": {field.name: field.rule for field in f.fields},
                    "defaults": {field.name: field.default for field in f.fields if field.default is not REQUIRED},
                    "source": f.source,
                    "example": str(f.example),
                    "what": f.summary,
                }
                for f in FUNCTIONS.values()
            ]
        )
        return
    shown = Table(box=None, pad_edge=False)
    for column in ("function", "parameters", "what it does"):
        shown.add_column(column, no_wrap=column == "function")
    for family in dict.fromkeys(function.family for function in FUNCTIONS.values()):
        shown.add_row(Text(family, "bold"), "", "")
        for function in (f for f in FUNCTIONS.values() if f.family == family):
            says = function.summary.partition(": ")[0].rstrip(".")
            shown.add_row(function.name, " ".join(map(_parameter, function.fields)), says)
    open_console(soft_wrap=False).print(shown)


@app.command()
def show(text: Text, steps: Steps = 10_000, epoch: Epoch = None, as_json: AsJson = False) -> None:
    """Show what a policy is: its curve at ten steps and its natural coordinates."""
    from lrsearch.cli.output import print_json

    policy = _bound(text, steps, epoch)
    marks = [] if policy.is_controller else sorted({round(i * (steps - 1) / MARKS) for i in range(MARKS + 1)})
    curve = [(step, policy(step)) for step in marks]
    momenta = [policy.momentum(step) for step in marks] if policy.has_momentum else []
    if as_json:
        print_json(_facts(policy, steps) | {"curve": curve, "momentum": momenta or None})
        return
    print(policy)
    print(f"{policy.function.family}, {policy.function.source}; key {policy.key}")
    print(policy.function.summary)
    for name, value in _summary(policy, steps):
        print(f"  {name:<13} {value}")
    if curve:
        print(f"{'step':>10}  {'learning rate':<15}{'momentum' if momenta else ''}".rstrip())
    for n, (step, lr) in enumerate(curve):
        print(f"{step:>10}  {lr:<15.6g}{f'{momenta[n]:.4g}' if momenta else ''}".rstrip())


@app.command()
def table(output: Output = Path("policies.png")) -> None:
    """Draw the whole table of LR functions on one page."""
    from lrsearch.report.gallery import draw_gallery

    print(draw_gallery(_png(output), FUNCTIONS))


@app.command()
def plot(
    text: Texts,
    output: Output = Path("policy.png"),
    steps: Steps = 10_000,
    epoch: Epoch = None,
    log: Annotated[bool, typer.Option(help="Draw learning rates on a logarithmic axis.")] = False,
) -> None:
    """Draw the learning rates of policies over each other, and the momentum of those that carry one."""
    policies = [_curve(one, steps, epoch) for one in text]
    from lrsearch.report.curves import draw_policies

    print(draw_policies(_png(output), policies, steps, log))


@app.command()
def diff(
    a: Text, b: Text, steps: Steps = 10_000, epoch: Epoch = None, as_json: AsJson = False, output: Picture = None
) -> None:
    """Show how two policies differ over a run: in what, from which step on, and by how much."""
    from lrsearch.cli.output import print_json
    from lrsearch.report.curves import draw_difference
    from lrsearch.report.difference import difference

    result = difference(_bound(a, steps, epoch), _bound(b, steps, epoch), steps)
    if output and not result.lrs:
        raise UsageError("a controller has no curve to draw: leave -o out")
    picture = draw_difference(_png(output), result.a, result.b, steps) if output else None
    if as_json:
        print_json(result.to_json() | {"picture": str(picture) if picture else None})
        return
    print(f"A  {result.a}\nB  {result.b}")
    for line in [*result.lines(), *_beside(result.a, result.b, steps)]:
        print(line)
    if picture:
        print(picture)


@app.command()
def convert(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A schedule in the words of the tool it comes from.")],
    source: Annotated[
        str, typer.Option("--from", help="lrsearch, json, torch, huggingface, caffe or lrbench.")
    ] = "lrsearch",
    target: Annotated[str, typer.Option("--to", help="The same names.")] = "lrsearch",
    lr: Annotated[
        float | None,
        typer.Option(help="The optimizer's LR, which torch's and Hugging Face's schedules scale.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the run, where the target or a duration needs them.", show_default=False),
    ] = None,
    epoch: Epoch = None,
) -> None:
    """Translate a schedule between tools, exactly; what cannot be expressed is refused with the reason."""
    from lrsearch.exchange import convert as translated

    print(translated(text, source, target, lr=lr, steps=steps, epoch=epoch))


@app.command()
def paths(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="Policies", show_default="the paper's three")
    ] = None,
    output: Output = Path("paths.png"),
    steps: Steps = 200,
    momentum: Annotated[float, typer.Option(min=0, max=0.999, help="Nesterov momentum.")] = 0,
) -> None:
    """Draw optimisation paths on a two-dimensional loss surface: figure 1 of the LRBench paper."""
    from lrsearch.report.descent import PAPER, descend, draw_paths, loss

    policies = [_curve(one, steps, None) for one in text] if text else list(PAPER)
    picture = draw_paths(_png(output), policies, steps, momentum)
    print(f"{'end x':>8}{'end y':>8}{'loss':>8}  policy")
    for policy in policies:
        x, y = descend(policy, steps, momentum)[-1]
        print(f"{x:>8.2f}{y:>8.2f}{float(loss(x, y)):>8.2f}  {policy}")
    print(picture)


def _parameter(field: Field) -> str:
    return field.name if field.default is REQUIRED else f"{field.name}={text_of(field.default)}"


def _bound(text: str, steps: int, epoch: float | None) -> Policy:
    return parse(text).bind(horizon=steps, epoch=epoch)


def _curve(text: str, steps: int, epoch: float | None) -> Policy:
    """A policy that can be drawn."""
    policy = _bound(text, steps, epoch)
    policy.require_curve()
    return policy


def _png(output: Path) -> Path:
    if output.suffix != ".png":
        raise UsageError(f"pictures are PNG files: give -o a name that ends in .png, not {output}")
    return output


def _facts(policy: Policy, steps: int) -> dict[str, Any]:
    import json

    from lrsearch.schedules import to_json

    ends = {} if policy.is_controller else {"horizon": policy.horizon, "period": policy.period}
    return {
        "policy": str(policy),
        "key": policy.key,
        "family": policy.function.family,
        "source": policy.function.source,
        "what": policy.function.summary,
        "json": json.loads(to_json(policy)),
        "coordinates": _coordinates(policy, steps),
        **ends,
    }


def _summary(policy: Policy, steps: int) -> list[tuple[str, object]]:
    """Name and value of what is worth telling a person."""
    if policy.is_controller:
        return [("feedback", "policy.scheduler(optimizer), then step(loss) after each evaluation")]
    coordinates = _coordinates(policy, steps)
    ends = {"constant from": policy.horizon, "period": policy.period}
    named = coordinates if isinstance(coordinates, dict) else {"coordinates": coordinates}
    return [(name, value) for name, value in (ends | named).items() if value is not None]


def _coordinates(policy: Policy, steps: int) -> dict[str, Any] | str:
    """The natural coordinates, or why there are none."""
    if not policy.function.roles:
        return "none: searched as a whole value"
    try:
        return policy.coordinates(steps)
    except PolicyError as reason:
        return str(reason)


def _beside(a: Policy, b: Policy, steps: int) -> list[str]:
    """The natural coordinates of two policies side by side, where both have some and they differ."""
    one, other = _coordinates(a, steps), _coordinates(b, steps)
    if isinstance(one, str) or isinstance(other, str) or one == other:
        return []
    names = dict.fromkeys([*one, *other])
    rows = [f"  {name:<12} {_short(one.get(name, '-')):<20} {_short(other.get(name, '-'))}" for name in names]
    return [f"  {'coordinate':<12} {'A':<20} B", *rows]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
