"""What the `store` commands print."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.table import Table

from lrsearch.cli.output import labelled, open_console
from lrsearch.runs import Objective, objectives_of
from lrsearch.schedules import parse
from lrsearch.store import StoredRun, StoredStudy
from lrsearch.store.bundles import Imported
from lrsearch.store.checking import Check
from lrsearch.store.entries import stored_of
from lrsearch.store.fields import objective_of
from lrsearch.words import counted


def print_runs(runs: list[StoredRun]) -> None:
    """Print stored runs as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "task", "state", "score", "steps", "seed", "origin"):
        table.add_column(name, justify="right" if name in ("score", "steps", "seed") else "left", no_wrap=True)
    table.add_column("policy", overflow="fold")
    for stored in runs:
        run = stored.run
        score = stored.objective.text(run.score)
        table.add_row(
            stored.key[:8],
            stored.task,
            str(run.state),
            score,
            str(stored.horizon),
            str(stored.seed),
            stored.origin,
            str(stored.policy),
        )
    console = open_console(soft_wrap=False)
    console.print(table)
    console.print(counted(len(runs), "run"))


def print_run(shown: Mapping[str, Any]) -> None:
    """Print all that the store holds of a run: `shown` is what `Store.show` returns."""
    entry, objectives = shown["record"], objectives_of(shown["task_description"])
    stored = stored_of(entry, shown["task"], parse(shown["policy"]), objectives)
    console = open_console()
    curves = (f"{name} ({counted(len(curve), 'point')})" for name, curve in entry["curves"].items())
    steps = counted(entry["steps"], "step")
    rows = {
        "run": stored.key,
        "policy": str(stored.policy),
        "task": f"{stored.task} ({stored.task_key})",
        "horizon": counted(stored.horizon, "step"),
        "seed": str(stored.seed),
        "origin": stored.origin,
        "state": f"{stored.run.state}: {stored.run.state.meaning}",
        "metric": f"{stored.objective.name}, {stored.objective.direction}d",
        "score": _score(entry["score"], stored.objective),
        "loss": _number(entry["loss"]),
        "trained": f"{steps} in {entry['seconds']:.1f} s, {entry['lost_steps']} more were lost",
        "curves": ", ".join(curves) or "none",
        "studies": ", ".join(shown["studies"]) or "none",
        "error": stored.run.error,
    }
    for name, value in rows.items():
        if value:
            console.print(labelled(name, value, 8))
    for attempt in shown["attempts"]:
        objective = objective_of(attempt)
        is_same = replace(stored.objective, samples=None) == objective
        score = _score(attempt["score"], stored.objective if is_same else objective)
        console.print(labelled("again", f"{attempt['origin']}: {attempt['state']}, {score}", 8))


def _score(value: float | str | None, objective: Objective) -> str:
    """A score as the objective writes it; "nan" or "inf" of a run that diverged, "none" where there is none."""
    return objective.text(value) if isinstance(value, float) else _number(value)


def _number(value: float | str | None) -> str:
    return "none" if value is None else str(value)


def print_stats(stats: Mapping[str, Any]) -> None:
    """Print how much a store holds."""
    console = open_console(soft_wrap=False)
    table = Table(box=None, pad_edge=False)
    for name in ("task", "framework", "model", "data", "classes", "runs", "policies"):
        table.add_column(name, justify="right" if name in ("classes", "runs", "policies") else "left", overflow="fold")
    for task in stats["tasks"]:
        table.add_row(
            *(
                str(task[name]) if task[name] is not None else "-"
                for name in ("task", "framework", "model", "data", "classes", "runs", "policies")
            )
        )
    console.print(table)
    states = ", ".join(f"{count} {state}" for state, count in stats["states"].items())
    origins = ", ".join(
        f"{row['runs']} {row['origin']}{'' if row['trusted'] else ' (not trusted)'}" for row in stats["origins"]
    )
    for name, said in (("states", states), ("origins", origins)):
        if said:
            console.print(labelled(name, said, 0), soft_wrap=True)
    hours = stats["seconds"] / 3600
    policies, studies = counted(stats["policies"], "policy", "policies"), counted(stats["studies"], "study", "studies")
    console.print(
        f"{counted(stats['runs'], 'run')} of {policies}, {studies},"
        f" {counted(stats['steps'], 'step', form=',')}, {hours:.1f} hours of training"
    )


def print_check(check: Check) -> None:
    """Print what a check found."""
    console = open_console()
    for damage in check.damage:
        console.print(labelled(damage.table, f"{damage.key} {damage.what}".strip(), 0))
    rows = ", ".join(f"{count} {name}" for name, count in check.rows.items() if count)
    damaged = f"{len(check.damage)} damaged; `lrsearch store salvage` gets out what is whole"
    said = "whole" if check.is_whole else damaged
    console.print(f"{check.store}: {rows or 'nothing in it'}: {said}")


def print_import(done: Imported, bundle: str) -> None:
    """Print what an import did, or would do."""
    console = open_console()
    for line in done.bad:
        console.print(f"line {line.number}: {line.reason}")
    did = f"{done.new} were new" if done.new is not None else "nothing was written"
    named = f", from now on of origin {done.origin}" if done.origin else ""
    console.print(f"{bundle}: {counted(done.runs, 'run')}{named}, {counted(len(done.bad), 'bad line')}; {did}")


def print_studies(studies: list[StoredStudy]) -> None:
    """Print stored studies as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("study", "task", "strategy", "budget", "seed", "steps"):
        table.add_column(name, justify="right" if name in ("budget", "seed", "steps") else "left", no_wrap=True)
    for stored in studies:
        values = stored.to_json()
        numbers = (f"{values['budget']:g}", str(values["seed"]), str(values["horizon"]))
        table.add_row(stored.name, str(values["task"]), str(values["strategy"]), *numbers)
    console = open_console(soft_wrap=False)
    console.print(table)
    console.print(counted(len(studies), "study", "studies"))
