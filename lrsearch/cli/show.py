"""What the commands print of results, on stdout."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from lrsearch.cli.output import labelled, open_console
from lrsearch.heuristics import Pruned
from lrsearch.report.explanation import how_to_search, sentences, summary, what_it_showed
from lrsearch.report.losses import lost_lines, usage_line
from lrsearch.report.markdown import shortened
from lrsearch.report.metric import LONGEST_HEAD, cell, column
from lrsearch.report.summary import (
    answer_trial,
    how_to_use,
    judged,
    score_text,
    what_failed,
    what_started_up,
    what_was_cut,
    what_was_tried,
    where_it_started,
)
from lrsearch.runs import OWN, Metrics, Objective
from lrsearch.runs.roles import Origin, Role
from lrsearch.study.driven import Driven
from lrsearch.study.explanation import Explanation
from lrsearch.study.recipe import setting_text
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import with_role
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.runs.executor import Lockstep
    from lrsearch.study.range_tests import RangeTested
    from lrsearch.study.recipe import Recipe, Step
    from lrsearch.tasks import MetaFeatures

LEADERS = 8


def print_result(result: SearchResult, pictures: list[str], test: dict[str, Any] | None) -> None:
    """Print what a person wants to know of a search: the verdict first."""
    console, objective = open_console(), result.decision.objective

    def say(label: str, text: str | None) -> None:
        if text:
            console.print(labelled(label, text, 16))

    console.print(Text(result.verdict, "bold"))
    for label, answer in judged(result.decision):
        say(label, f"{score_text(answer, objective)}  {answer.policy}")
    for warning in result.warnings:
        say("note", warning)
    if test:
        read = {name: "diverged" if test[name] is None else objective.text(test[name]) for name in ("best", "default")}
        default = "" if result.decision.is_default else f"; default {read['default']}"
        say("test set", f"{read['best']}{default} ({test['note']})")
    spent = result.spent
    say(
        "cost",
        f"{spent.fre:.2f} of {result.setup.budget:g} FRE: {counted(spent.steps, 'step')},"
        f" {counted(spent.runs, 'run')},"
        f" {spent.seconds:.0f} s of training",
    )
    say(
        "this start",
        f"{counted(spent.trained_runs, 'run')} trained ({counted(spent.trained_steps, 'step')}),"
        f" {spent.reused_runs} taken from the store",
    )
    say("workers", usage_line(result.driven))
    say("start-up", what_started_up(result))
    say("failed", what_failed(result))
    for line in lost_lines(result.driven):
        say("lost", line)
    for line in where_it_started(result):
        say("started from", line)
    metrics = _other_metrics(result) if result.setup.task.trainer == OWN else _metrics(result, test)
    console.print(*filter(None, (_tried(result), _leaders(result), _front(result), metrics, _cuts(result))))
    console.print(Text("use it", "bold"), f"{how_to_use(result)}\n", sep="\n")
    for picture in pictures:
        say("picture", picture)
    say("study", f"{result.study} in {result.store}")


def _tried(result: SearchResult) -> Table:
    table = Table(title="what was tried", title_justify="left", box=None, pad_edge=False)
    table.add_column("runs", justify="right")
    table.add_column("FRE", justify="right")
    table.add_column("of")
    for name, runs, fre in what_was_tried(result):
        table.add_row(str(runs), f"{fre:.2f}", name)
    return table


def _leaders(result: SearchResult) -> Table:
    """The best of those that were trained longest, by the search's seed; it chose, and does not decide."""
    objective = result.setup.task.objective
    searched = [*with_role(result.history, Role.DEFAULT), *with_role(result.history, Role.CANDIDATE)]
    ended = sorted((t for t in searched if t.run), key=lambda t: (-t.horizon, t.rank(objective)))
    answer = answer_trial(result)
    title = "by the search's own seed, the longest first (* the answer)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    has_loss = result.setup.task.trainer != OWN or any(trial.run.loss is not None for trial in ended if trial.run)
    for name in ("", "steps", column(objective), *(["loss"] if has_loss else [])):
        table.add_column(name, justify="right")
    table.add_column("from")
    table.add_column("policy", overflow="fold")
    for trial in ended[:LEADERS]:
        run = trial.run
        loss = f"{run.loss:.4f}" if run and run.loss is not None else "-"
        mark = "*" if trial is answer else ""
        numbers = [cell(objective, run.score if run else None), *([loss] if has_loss else [])]
        table.add_row(mark, str(trial.horizon), *numbers, Origin(trial.origin).label, str(trial.policy))
    return table


def _front(result: SearchResult) -> Table | None:
    """The runs that no other beats on all objectives; None with one objective."""
    first, *others = result.setup.task.objectives
    if not others:
        return None
    directions = " and ".join(f"{one.direction} {one.name}" for one in (first, *others))
    table = Table(
        title=f"the front ({directions}): full runs that no other beats", title_justify="left", box=None, pad_edge=False
    )
    for one in (first, *others):
        table.add_column(column(one), justify="right")
    table.add_column("seed", justify="right")
    table.add_column("policy", overflow="fold")
    for trial in result.front():
        scores = trial.run.scores if trial.run else {}
        values = [cell(first, trial.run.score if trial.run else None), *(cell(o, scores.get(o.name)) for o in others)]
        table.add_row(*values, str(trial.seed), str(trial.policy))
    return table


def _other_metrics(result: SearchResult) -> Table | None:
    """What a training of one's own said beside the metric that decides; None where it said nothing else."""
    answers, known = judged(result.decision), {one.name: one for one in result.setup.task.objectives}
    names = dict.fromkeys(name for _, answer in answers for name, value in answer.metrics.items() if value is not None)
    if not names:
        return None
    heads = [column(known[name]) if name in known else shortened(name, LONGEST_HEAD) for name in names]
    table = right_table("other metrics at the last evaluation", "of", *heads, "best at")
    for label, answer in answers:
        at = f"{answer.best_step:.0f}" if answer.best_step is not None else "-"
        table.add_row(_word(label), *(cell(known.get(name), answer.metrics.get(name)) for name in names), at)
    return table


def _metrics(result: SearchResult, test: dict[str, Any] | None) -> Table:
    """The metrics of the LRBench paper at the last step, means over the seeds of the reported scores."""
    table = Table(
        title="metrics at the last step, by validation",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("of", no_wrap=True)
    for name in ("top-1", "top-5", "loss", "LD", "AC", "CD", "CDAC", "best at", "numbers"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, answer in judged(result.decision):
        at = f"{answer.best_step:.0f}" if answer.best_step is not None else "-"
        table.add_row(_word(name), *_numbers(answer.metrics), at, str(answer.policy.numbers))
    for name, metrics in _read(result, test):
        table.add_row(f"{_word(name)}, test", *_numbers(metrics), "", "")
    return table


def _word(label: str) -> str:
    """A label without its part in brackets, for a narrow table."""
    return label.partition(" (")[0]


def _read(result: SearchResult, test: dict[str, Any] | None) -> list[tuple[str, Metrics]]:
    """(label, metrics) on the test set, of the answer and of the default only."""
    if not test:
        return []
    kinds = [
        (label, "best" if answer is result.best else "default")
        for label, answer in judged(result.decision)
        if answer is result.best or answer is result.default
    ]
    return [(label, test["metrics"].get(kind, {})) for label, kind in kinds]


def _numbers(metrics: Metrics) -> list[str]:
    shown = [(name, 100, ".2f") for name in ("top1", "top5")] + [
        (name, 1, ".4f") for name in ("loss", "ld", "ac", "cd", "cdac")
    ]
    values = ((metrics.get(name), times, form) for name, times, form in shown)
    return [format(times * value, form) if value is not None else "-" for value, times, form in values]


def _cuts(result: SearchResult) -> Table:
    return _bounds(f"what the heuristics cut: {what_was_cut(result)}", result.pruned)


def _bounds(title: str, pruned: Pruned) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("coordinate")
    table.add_column("range", no_wrap=True)
    table.add_column("why", overflow="fold")
    for bound in pruned.bounds:
        behind = f" [{counted(len(bound.runs), 'run')}]" if bound.runs else ""
        table.add_row(bound.coordinate, f"{bound.low:.3g} .. {bound.high:.3g}", bound.reason + behind)
    return table


def print_pruned(explanation: Explanation) -> None:
    """Print a pruned space: its ranges, the runs behind it, what it cost and how to use it."""
    spent = explanation.spent
    console = open_console()
    console.print(_bounds(f"the space that is left of {explanation.task}", explanation.pruned), _probes(explanation))
    for sentence in summary(explanation):
        console.print(sentence)
    console.print(
        labelled(
            "this start",
            f"{counted(spent.trained_runs, 'run')} trained"
            f" ({counted(spent.trained_steps, 'step')}),"
            f" {spent.reused_runs} taken from the store",
        )
    )
    print_driven(explanation.driven)
    console.print(Text("use it", "bold"), f"{how_to_search(explanation)}\n", sep="\n")
    if explanation.study:
        console.print(labelled("study", f"{explanation.study} in {explanation.store}"))


def print_driven(driven: Driven) -> None:
    """Print what was lost, how much the workers trained, and whether the time was over."""
    console = open_console()
    if driven.is_out_of_time:
        console.print(labelled("note", "the time limit ended the training; the same call goes on"))
    if (usage := usage_line(driven)) is not None:
        console.print(labelled("workers", usage))
    for line in lost_lines(driven):
        console.print(labelled("lost", line))


def print_explanation(explanation: Explanation) -> None:
    """Print why a study's space is what it is."""
    console = open_console(soft_wrap=False)
    console.print(Text(explanation.study or explanation.task, "bold"))
    answer = [f"The search's answer: {explanation.decision.verdict}"] if explanation.decision else []
    for sentence in [*answer, *sentences(explanation)]:
        console.print()
        console.print(sentence)
    console.print()
    console.print(_probes(explanation))


def _probes(explanation: Explanation) -> Table:
    """The runs that were read, those behind the range of the learning rate with a star."""
    behind = {key for bound in explanation.pruned.bounds for key in bound.runs}
    title = f"the runs that were read{' (* behind the range of the learning rate)' if behind else ''}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("run", "seed", "steps", "showed", "policy"):
        table.add_column(name, justify="right" if name in ("seed", "steps") else "left", no_wrap=name != "policy")
    for run in explanation.probes:
        mark = "*" if run.key in behind else ""
        showed = what_it_showed(run, explanation.rules, explanation.objective)
        table.add_row(run.key[:8] + mark, str(run.seed), str(run.horizon), showed, str(run.policy))
    return table


def print_meta_features(task: str, features: "MetaFeatures", lockstep: "Lockstep") -> None:
    """Print a task's meta-features, and how its short runs train."""
    data, model, training = features.data, features.model, features.training
    shape = " x ".join(map(str, data.shape))
    means, deviations = (", ".join(f"{x:.4f}" for x in numbers) for numbers in (data.means, data.deviations))
    marks = data.landmarks
    console = open_console()
    for label, text in (
        ("task", task),
        (
            "data",
            f"{counted(data.samples, 'sample')} of {shape} to learn from,"
            f" {counted(data.classes, 'class', 'classes')}, label entropy"
            f" {data.label_entropy:.3f} nats",
        ),
        ("channels", f"mean {means}; deviation {deviations}"),
        (
            "landmarks",
            f"nearest neighbour {100 * marks.neighbour:.1f} %, naive Bayes {100 * marks.bayes:.1f} %,"
            f" linear {100 * marks.linear:.1f} %",
        ),
        ("model", f"{model.family}, {counted(model.parameters, 'parameter')}, depth {model.depth}, norm {model.norm}"),
        (
            "training",
            f"{training.optimizer}, momentum {training.momentum:g}, weight decay {training.weight_decay:g},"
            f" batch {training.batch_size}, {counted(training.horizon, 'step')},"
            f" {counted(features.epochs, 'epoch', form='.3g')}",
        ),
        ("short runs", f"{f'up to {lockstep.rows} in lockstep' if lockstep.rows else 'one by one'}: {lockstep.reason}"),
    ):
        console.print(labelled(label, text))


def print_description(description: Mapping[str, Any]) -> None:
    """Print what is known of a task that a function trains."""
    data, model = description["data"], description["model"]
    optimizer, objective = description["optimizer"], description["objectives"][0]
    epochs = description["horizon"] / description["epoch"]
    console = open_console()
    for label, text in (
        ("task", description["name"]),
        ("data", f"{data['name']}, {counted(data['train'], 'sample')} to learn from"),
        ("metric", f"{objective['name']}, to {objective['direction']}"),
        ("model", f"{model['name']}, {counted(model['parameters'], 'parameter')}"),
        (
            "training",
            f"{optimizer['name']}, momentum {optimizer['momentum']:g}, weight decay {optimizer['weight_decay']:g},"
            f" batch {description['batch_size']}, {counted(description['horizon'], 'step')},"
            f" {counted(epochs, 'epoch', form='.3g')}",
        ),
    ):
        console.print(labelled(label, text))


def print_range_tests(tested: Sequence["RangeTested"], picture: str) -> None:
    """Print what range tests advise, and where their picture is."""
    console = open_console()
    for one in tested:
        decay = "" if one.weight_decay is None else f", weight decay {one.weight_decay:g}"
        title = f"{one.task.name}{decay}: {counted(len(one.ramps), 'test')}"
        title += f" of {counted(one.steps, 'update')}"
        console.print(Text(title, "bold"), _VERDICTS[one.advice.verdict], sep="\n")
        for note in dict.fromkeys(one.advice.notes):
            console.print(f"{note[0].upper()}{note[1:]}.")
        if one.advice.suggestions:
            table = right_table("", "rule", "LR", "from", "to", "for")
            for suggestion in one.advice.suggestions:
                lrs = (suggestion.lr, suggestion.low, suggestion.high)
                table.add_row(suggestion.rule, *(f"{lr:.2g}" for lr in lrs), suggestion.purpose)
            console.print(table)
    console.print(f"picture: {picture}")


def print_recipe(recipe: "Recipe") -> None:
    """Print what the recipe tried, chose, and came to."""
    console, objective = open_console(), recipe.task.objective
    for step in recipe.steps:
        console.print(Text.assemble((step.setting, "bold"), ": ", step.reason))
        if step.tried:
            console.print(_tries(step, objective))
    baseline, score = ("diverged" if each is None else objective.text(each) for each in (recipe.baseline, recipe.score))
    settings = ", ".join(f"{step.setting} {setting_text(step.chosen)}" for step in recipe.steps if step.tried)
    console.print(
        Text.assemble(("found", "bold"), f": {settings}, {counted(recipe.chosen.horizon, 'step')}, {recipe.policy}")
    )
    console.print(f"full runs: {score} with what was found, {baseline} as it is. {recipe.verdict}")
    console.print(f"cost: {recipe.cost:.2f} FRE")


def _tries(step: "Step", objective: Objective) -> Table:
    """The short runs of a step of a recipe; of a training of one's own several seeds, and no loss beside the metric."""
    if len({one.seed for one in step.tried}) == 1:
        table = right_table("", "value", "steps", "loss", column(objective))
        for one in step.tried:
            loss = "diverged" if one.loss is None else f"{one.loss:.4f}"
            score = "" if one.score is None else objective.text(one.score)
            table.add_row(setting_text(one.value), str(one.steps), loss, score)
        return table
    table = right_table("", "value", "steps", "seed", column(objective))
    for one in step.tried:
        score = "diverged" if one.score is None else objective.text(one.score)
        table.add_row(setting_text(one.value), str(one.steps), str(one.seed), score)
    return table


_VERDICTS = {
    "found": "The loss was lowest at about the same learning rate in all of them.",
    "disagree": "They disagree by over half a decade: make more of them (--repeats), or longer ones (--steps).",
    "edge": "The range ends before the loss turns: they suggest nothing. Move its end (--low, --high).",
    "flat": "No curve falls: they suggest nothing. Try more steps or a higher end, and look at the picture.",
}


def right_table(title: str, *columns: str) -> Table:
    """Make a table whose first column is words, and the others numbers."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for place, head in enumerate(columns):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    return table
