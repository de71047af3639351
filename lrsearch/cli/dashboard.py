"""dashboard: show the Optuna studies in the browser, behind a token, read only."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    out: Annotated[Path, typer.Option(help="The folder that `lrsearch search` wrote to.")] = Path("lrsearch-runs"),
    optuna: Annotated[str | None, typer.Option(help="Optuna storage URL", show_default="optuna.db in --out")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")] = 8080,
    study: Annotated[str | None, typer.Option(help="The study to open", show_default="the newest")] = None,
) -> None:
    """Show the studies in the Optuna Dashboard, on this machine only, until Ctrl-C."""
    import secrets

    from lrsearch.report.dashboard import find_study, serve

    url = optuna or f"sqlite:///{out / 'optuna.db'}"
    page, token = find_study(url, study), secrets.token_urlsafe(32)

    def ready(opened: int) -> None:
        print(f"http://127.0.0.1:{opened}/dashboard/studies/{page}?token={token}", flush=True)
        print("lrsearch: read only, for whoever has this address; Ctrl-C ends it", file=sys.stderr)

    try:
        serve(url, port, token, ready)
    except KeyboardInterrupt:
        print("lrsearch: the dashboard has ended", file=sys.stderr)
