"""What the commands print of results, on stdout."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from lrsearch.cli.plain import labelled, open_console
from lrsearch.heuristics import Pruned
from lrsearch.report.explanation import how_to_search, sentences, summary, what_it_showed
from lrsearch.report.story import (
    answer_trial,
    how_to_use,
    judged,
    score_text,
    what_was_cut,
    what_was_tried,
    where_it_started,
)
from lrsearch.runs import Metrics
from lrsearch.study.explanation import Explanation
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import with_role
from lrsearch.words import counted

if TYPE_CHECKING:
    from lrsearch.compare.comparison import Comparison
    from lrsearch.compare.figures import Figure, Replay
    from lrsearch.compare.held_out import Ranked
    from lrsearch.compare.reproduction import Outcome, Results
    from lrsearch.runs.executor import Lockstep
    from lrsearch.study.range_tests import RangeTested
    from lrsearch.study.recipe import Recipe
    from lrsearch.tasks import Portrait

LEADERS = 8
WIDE = 120


def print_result(result: SearchResult, pictures: list[str], test: dict[str, Any] | None) -> None:
    """Print what a person wants to know of a search: the verdict first."""
    console = open_console()

    def say(label: str, text: str) -> None:
        console.print(labelled(label, text, 16))

    console.print(Text(result.verdict, "bold"))
    for label, answer in judged(result.decision):
        say(label, f"{score_text(answer)}  {answer.policy}")
    if test:
        read = {name: "diverged" if test[name] is None else f"{100 * test[name]:.2f} %" for name in ("best", "default")}
        default = "" if result.decision.is_default else f"; default {read['default']}"
        say("test set", f"{read['best']}{default} ({test['note']})")
    spent = result.spent
    say("cost", f"{spent.fre:.2f} of {result.setup.budget:g} FRE: {counted(spent.steps, 'step')},"
                f" {counted(spent.runs, 'run')},"
                f" {spent.seconds:.0f} s of training")
    say("this start", f"{counted(spent.trained_runs, 'run')} trained ({counted(spent.trained_steps, 'step')}),"
                      f" {spent.reused_runs} taken from the store")
    for line in where_it_started(result):
        say("started from", line)
    console.print(_tried(result), _leaders(result), _metrics(result, test), _cuts(result))
    console.print(Text("use it", "bold"), f"{how_to_use(result.decision)}\n", sep="\n")
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
    searched = [*with_role(result.history, "default"), *with_role(result.history, "candidate")]
    ended = sorted((t for t in searched if t.run), key=lambda t: (-t.assignment.horizon, t.rank(objective)))
    answer = answer_trial(result)
    title = "by the search's own seed, the longest first (* the answer)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "steps", "top-1", "loss"):
        table.add_column(name, justify="right")
    table.add_column("from")
    table.add_column("policy", overflow="fold")
    for trial in ended[:LEADERS]:
        run = trial.run
        score = f"{100 * run.score:.2f}" if run and run.score is not None else "-"
        loss = f"{run.loss:.4f}" if run and run.loss is not None else "-"
        asked, mark = trial.assignment, "*" if trial is answer else ""
        table.add_row(mark, str(asked.horizon), score, loss, asked.origin, str(asked.policy))
    return table


def _metrics(result: SearchResult, test: dict[str, Any] | None) -> Table:
    """The metrics of the LRBench paper at the last step, means over the seeds of the reported scores."""
    table = Table(title="metrics at the last step, by validation", title_justify="left", box=None, pad_edge=False,
                  padding=(0, 1, 0, 0))
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
    """Give a label without what stands in brackets, for a narrow table."""
    return label.partition(" (")[0]


def _read(result: SearchResult, test: dict[str, Any] | None) -> list[tuple[str, Metrics]]:
    """Give (label, metrics) of what was read on the test set: of the answer and of the default, no other."""
    if not test:
        return []
    kinds = [(label, "best" if answer is result.best else "default") for label, answer in judged(result.decision)
             if answer is result.best or answer is result.default]
    return [(label, test["metrics"].get(kind, {})) for label, kind in kinds]


def _numbers(metrics: Metrics) -> list[str]:
    shown = [(name, 100, ".2f") for name in ("top1", "top5")] + [
        (name, 1, ".4f") for name in ("loss", "ld", "ac", "cd", "cdac")]
    found = ((metrics.get(name), times, form) for name, times, form in shown)
    return [format(times * value, form) if value is not None else "-" for value, times, form in found]


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


def print_pruned(told: Explanation) -> None:
    """Print a pruned space: its ranges, the runs behind it, what it cost and how to use it."""
    spent = told.spent
    console = open_console()
    console.print(_bounds(f"the space that is left of {told.task}", told.pruned), _probes(told))
    for sentence in summary(told):
        console.print(sentence)
    console.print(labelled("this start", f"{counted(spent.trained_runs, 'run')} trained"
                                         f" ({counted(spent.trained_steps, 'step')}),"
                                         f" {spent.reused_runs} taken from the store"))
    console.print(Text("use it", "bold"), f"{how_to_search(told)}\n", sep="\n")
    if told.study:
        console.print(labelled("study", f"{told.study} in {told.store}"))


def print_explanation(told: Explanation) -> None:
    """Print why a study's space is what it is."""
    console = open_console(soft_wrap=False)
    console.print(Text(told.study or told.task, "bold"))
    answer = [f"The search's answer: {told.decision.verdict}"] if told.decision else []
    for sentence in [*answer, *sentences(told)]:
        console.print()
        console.print(sentence)
    console.print()
    console.print(_probes(told))


def _probes(told: Explanation) -> Table:
    """The runs that were read, those behind the range of the learning rate with a star."""
    behind = {key for bound in told.pruned.bounds for key in bound.runs}
    title = f"the runs that were read{' (* behind the range of the learning rate)' if behind else ''}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("run", "seed", "steps", "showed", "policy"):
        table.add_column(name, justify="right" if name in ("seed", "steps") else "left", no_wrap=name != "policy")
    for run in told.probes:
        mark = "*" if run.key in behind else ""
        showed = what_it_showed(run, told.rules, told.objective)
        table.add_row(run.key[:8] + mark, str(run.seed), str(run.horizon), showed, str(run.policy))
    return table


def print_comparison(comparison: "Comparison", picture: str) -> None:
    """Print a comparison as a table."""
    table = Table(box=None, pad_edge=False, title=f"{comparison.task}, budget {comparison.budget:g} FRE each",
                  title_justify="left")
    target = comparison.objective.text(comparison.target)
    for name in ("strategy", "seeds", "best top-1", "spread", "FRE spent", f"FRE to {target}"):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    for row in comparison.rows():
        spread = f"{100 * row['spread']:.2f}" if row["spread"] is not None else "-"
        to_target = f"{row['cost_to_target']:.2f} ({row['reached']} of {row['seeds']})" if row["reached"] else "never"
        best, cost_of = "-" if row["best"] is None else f"{100 * row['best']:.2f}", f"{row['cost']:.2f}"
        table.add_row(row["strategy"], str(row["seeds"]), best, spread, cost_of, to_target)
    console = open_console()
    console.print(table)
    console.print("Best validation score of a full-length run by the search's own seed; everything trained counts.")
    if comparison.caution:
        console.print(comparison.caution)
    console.print(labelled("picture", picture, 0))


def print_table(results: "Results", picture: str) -> None:
    """Print what came of a table of policies, the best first."""
    table = Table(box=None, pad_edge=False, title=f"{results.table.name}: {results.table.task.name}",
                  title_justify="left")
    for name in ("top-1", "seeds", "at step", "at the end", "LD", "published"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("policy", overflow="fold")
    for outcome in sorted(results.outcomes, key=lambda o: (not o.scores, -o.mean if o.scores else 0.0)):
        table.add_row(*_outcome(outcome, results.look), str(outcome.row.policy))
    console = open_console(least_width=WIDE)
    console.print(table)
    console.print(f"Score: {results.table.task.description['metric']}; mean over seeds ± standard deviation (ddof 1).")
    for line in results.sentences:
        console.print(line)
    console.print(labelled("picture", picture, 0))


def _outcome(outcome: "Outcome", look: str) -> list[str]:
    if not outcome.scores:
        return ["diverged" if outcome.runs else "-", str(len(outcome.runs)), "-", "-", "-", _published(outcome)]
    spread = f" ± {100 * outcome.spread:.2f}" if outcome.spread is not None else ""
    return [f"{100 * outcome.mean:.2f}{spread}", str(len(outcome.scores)), f"{outcome.metric('step', look):.0f}",
            f"{100 * outcome.metric('top1', 'end'):.2f}", f"{outcome.metric('ld', look):.4f}", _published(outcome)]


def _published(outcome: "Outcome") -> str:
    published = outcome.row.published
    if "top1" not in published:
        return "-"
    spread = f" ± {published['spread']:.2f}" if "spread" in published else ""
    steps = f" at {published['steps']:.0f}" if "steps" in published else ""
    return f"{published['top1']:.2f}{spread}{steps}"


def print_portrait(task: str, portrait: "Portrait", lockstep: "Lockstep") -> None:
    """Print a task's portrait, and how its short runs train."""
    data, model, training = portrait.data, portrait.model, portrait.training
    shape = " x ".join(map(str, data.shape))
    means, deviations = (", ".join(f"{x:.4f}" for x in numbers) for numbers in (data.means, data.deviations))
    marks = data.landmarks
    console = open_console()
    for label, text in (
        ("task", task),
        ("data", f"{counted(data.samples, 'sample')} of {shape} to learn from,"
                 f" {counted(data.classes, 'class', 'classes')}, label entropy"
                 f" {data.label_entropy:.3f} nats"),
        ("channels", f"mean {means}; deviation {deviations}"),
        ("landmarks", f"nearest neighbour {100 * marks.neighbour:.1f} %, naive Bayes {100 * marks.bayes:.1f} %,"
                      f" linear {100 * marks.linear:.1f} %"),
        ("model", f"{model.family}, {counted(model.parameters, 'parameter')}, depth {model.depth}, norm {model.norm}"),
        ("training", f"{training.optimizer}, momentum {training.momentum:g}, weight decay {training.weight_decay:g},"
                     f" batch {training.batch_size}, {counted(training.horizon, 'step')},"
                     f" {counted(portrait.epochs, 'epoch', form='.3g')}"),
        ("short runs", f"{f'up to {lockstep.rows} in lockstep' if lockstep.rows else 'one by one'}: {lockstep.reason}"),
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
            table = _right_table("", "rule", "LR", "from", "to", "for")
            for found in one.advice.suggestions:
                table.add_row(found.rule, *(f"{rate:.2g}" for rate in (found.rate, found.low, found.high)),
                              found.purpose)
            console.print(table)
    console.print(f"picture: {picture}")


def print_recipe(recipe: "Recipe") -> None:
    """Print what the recipe tried, chose, and came to."""
    console = open_console()
    for step in recipe.steps:
        console.print(Text.assemble((step.setting, "bold"), ": ", step.reason))
        table = _right_table("", "value", "steps", "loss", "top-1")
        for one in step.tried:
            loss = "diverged" if one.loss is None else f"{one.loss:.4f}"
            score = "" if one.score is None else f"{100 * one.score:.2f} %"
            table.add_row(f"{one.value:g}", str(one.steps), loss, score)
        if step.tried:
            console.print(table)
    plain, score = ("diverged" if each is None else f"{100 * each:.2f} %" for each in (recipe.plain, recipe.score))
    settings = ", ".join(f"{step.setting} {step.chosen:g}" for step in recipe.steps if step.tried)
    console.print(Text.assemble(("found", "bold"), f": {settings}, {counted(recipe.found.horizon, 'step')},"
                                                   f" {recipe.policy}"))
    console.print(f"full runs: {score} with what was found, {plain} as it is. {recipe.verdict}")
    console.print(f"cost: {recipe.cost:.2f} FRE")


_VERDICTS = {
    "found": "The loss was lowest at about the same learning rate in all of them.",
    "disagree": "They disagree by over half a decade: make more of them (--repeats), or longer ones (--steps).",
    "edge": "The range ends before the loss turns: they suggest nothing. Move its end (--low, --high).",
    "flat": "No curve falls: they suggest nothing. Try more steps or a higher end, and look at the picture.",
}


def print_replay(replay: "Replay") -> None:
    """Print a replay: its figures against their bars, what each strategy paid, and on which task."""
    console = open_console()
    figures = _figures("", "figure", replay.figures)
    names = ("mean", "median", "p90", "mean_if_stopped", "first", "reached")
    strategies = _right_table("FRE until a run is good", "strategy", "mean", "median", "p90", "if stopped",
                              "first run", "ever")
    for row in replay.strategies().to_dict("records"):
        strategies.add_row(row["strategy"], *(f"{row[name]:.2f}" for name in names))
    tasks = _right_table("mean FRE by task", "task", "coverage", "pruned", "TPE", "grid")
    for row in replay.tasks().to_dict("records"):
        numbers = (f"{row[name]:.2f}" for name in ("coverage", "pruned", "TPE", "grid"))
        tasks.add_row(f"{row['problem']} {row['optimizer']}", *numbers)
    console.print(figures, strategies, tasks)
    console.print("Good: within max(2 sd of seeds, 0.5 points) of the table's best. Everything counts: probes, and"
                  " diverged runs in full; if stopped: as far as they ran. First run, ever: the share that was good.")


def print_ranked(ranked: "Ranked") -> None:
    """Print what ranking gave on held-out tasks: figures with intervals, those with a bar against it."""
    console = open_console()
    for held_out, figures in ranked.figures.items():
        console.print(_figures(f"{ranked.table}, {held_out} held out", "regret at k tries", figures))
    console.print("Regret: (best - value) / (best - median) of the held-out task, at most 1, of the best of the first"
                  " k; mean: over 1, 3 and 10. Intervals: bootstrap over tasks. The bar at k is a standard error.")


def _figures(title: str, what: str, figures: Iterable["Figure"]) -> Table:
    table = _right_table(title, what, "value", "95 % interval", "n", "bar", "met")
    for figure in figures:
        met = {True: "yes", False: "no", None: ""}[figure.is_met]
        table.add_row(figure.name, f"{figure.value:.3f}", f"{figure.low:.3f} .. {figure.high:.3f}", str(figure.n),
                      figure.bar or "", met)
    return table


def _right_table(title: str, *columns: str) -> Table:
    """Make a table whose first column is words, and the others numbers."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    return table
