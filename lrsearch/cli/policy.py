"""policy show, policy plot: look at one policy."""

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.errors import PolicyError, UsageError
from lrsearch.schedules import FUNCTIONS, Policy, parse

app = typer.Typer(help="Look at LR policies.", no_args_is_help=True)

Text = Annotated[str, typer.Argument(metavar="TEXT", help="A policy, such as 'TRI(k0=0.001, k1=0.006, l=2000)'.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of the run.")]
MARKS = 10


@app.command("list")
def list_functions() -> None:
    """List the LR functions with their parameters."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("function", "family", "what it does"):
        table.add_column(column)
    for function in FUNCTIONS.values():
        fields = ", ".join(field.name for field in function.fields)
        table.add_row(f"{function.name}({fields})", function.family, function.doc.strip().splitlines()[0])
    Console(highlight=False).print(table)


@app.command()
def show(text: Text, steps: Steps = 10_000) -> None:
    """Show what a policy is: its curve at ten steps and its natural coordinates."""
    policy = parse(text)
    print(policy)
    print(f"{policy.function.family}, {policy.function.source}; key {policy.key}")
    print(policy.function.doc.strip().splitlines()[0])
    for name, value in _coordinates(policy, steps):
        print(f"  {name:<12} {value}")
    print(f"{'step':>10}  learning rate")
    for step in sorted({round(i * (steps - 1) / MARKS) for i in range(MARKS + 1)}):
        print(f"{step:>10}  {policy(step):.6g}")


@app.command()
def plot(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="One policy or several.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG file to write.")] = Path("policy.png"),
    steps: Steps = 10_000,
) -> None:
    """Draw the learning-rate curves of policies into a PNG file."""
    policies = [parse(one) for one in text]
    if output.suffix != ".png":
        raise UsageError(f"pictures are PNG files: give -o a name that ends in .png, not {output}")
    from lrsearch.api import writable
    from lrsearch.report.figures import draw_policies, save

    writable(output.parent)
    print(save(output, draw_policies, policies, steps))


def _coordinates(policy: Policy, steps: int) -> list[tuple[str, object]]:
    if not policy.function.roles:
        return [("coordinates", "none: searched as a whole value")]
    try:
        return list(policy.coordinates(steps).items())
    except PolicyError as reason:
        return [("coordinates", reason)]
