"""What each figure must reach."""

from collections.abc import Callable
from typing import Any

BARS = {
    "share": "at least 90 % of the time as many distinct processes train as there are workers",
    "nodes": "all runs finish, in at most twice the undisturbed time; all retries are listed; nothing is left",
    "idle-node": "all runs finish; nothing is left",
    "probe": "the sweep ends with an answer; nothing is left",
    "workers": "all runs finish; each cause is named rightly; nothing is left",
    "search": "the search ends with an answer; nothing is left",
    "drivers": "all runs finish, none is trained twice, nothing is left, and the cost is what the oracle counted",
    "sharing": "all runs finish, none counts twice, the late result is kept, the budget and the cost hold, one answer",
    "all-killed": "as sharing, and no run that the store held is trained again",
    "together": "all processes end well with one answer; one study, all runs finish, none is trained twice",
    "cut": "no finished result is lost, none is trained again; both searches end well, with the undisturbed answer",
    "restart": "as cut",
    "full-disk": "as cut; where no room comes, the search ends with a word and exit code 1, and the next one ends well",
    "password": "each search ends with its exit code; no hit; nothing is left",
    "two": "at least 1.7 times as fast as one process",
    "overhead": "a mean of at most 100 ms, on Ray of at most 150 ms",
    "speed": "digits-cnn: at least 1.7 times; digits-mlp: at least 1 / 1.05 times",
}
"""For people, by the first word of a figure's name."""
ZEROS = (
    "processes_left",
    "files_left",
    "retries_unlisted",
    "ended_twice",
    "trained_twice",
    "not_finished",
    "exit_code",
    "exit_codes",
    "named_otherwise",
    "broke_off",
    "not_answered",
    "answered_otherwise",
    "cost_otherwise",
    "counted_twice",
    "unknown_runs",
    "over_budget",
    "unexplained",
    "other_studies",
    "tracebacks",
    "finished_lost",
    "acknowledged_lost",
    "trained_again",
    "wrong_code",
    "without_a_word",
    "hits",
)
"""Counts that must be 0, or lists and texts that must be empty."""
AS_MANY = (("finished", "runs"), ("named", "asked"), ("late_ended", "late"), ("late_kept", "late_ended"))
"""Pairs of counts that must be equal. As many faults must have landed as were asked for, or more."""
PER_KILL = 2
"""Updates that may miss in the cost for each killed driver: of two workers the one that was not counted yet."""
LIMITS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "share": lambda figure: _below("share", figure["share"], 0.9),
    "nodes": lambda figure: _above("ratio", figure["ratio"], 2.0),
    "overhead local": lambda figure: _above("mean_ms", figure["mean_ms"], 100.0),
    "overhead pool": lambda figure: _above("mean_ms", figure["mean_ms"], 100.0),
    "overhead ray": lambda figure: _above("mean_ms", figure["mean_ms"], 150.0),
    "two": lambda figure: _below("speedup", figure["speedup"], 1.7),
    "speed digits-cnn": lambda figure: _below("speedup", figure["speedup"], 1.7),
    "speed digits-mlp": lambda figure: _below("speedup", figure["speedup"], 1 / 1.05),
}
"""Limits of times and shares, which a busy machine misses: they hold for the full form alone."""


def missed(name: str, figure: dict[str, Any], *, is_short: bool) -> list[str]:
    """What a figure misses, as texts.

    Args:
        name: the figure's.
        figure: its counts.
        is_short: whether it was measured in the short form, whose times and shares say nothing.
    """
    not_zero = [f"{count}: {figure[count]}" for count in ZEROS if figure.get(count)]
    pairs = [(part, whole) for part, whole in AS_MANY if part in figure and whole in figure]
    short = [f"{part}: {figure[part]} of {figure[whole]}" for part, whole in pairs if figure[part] != figure[whole]]
    if figure.get("landed", 0) < figure.get("asked", 0):
        short.append(f"landed: {figure['landed']} of {figure['asked']}")
    counts = not_zero + short + _untrue_cost(figure)
    limit = LIMITS.get(name) or LIMITS.get(name.split()[0])
    return counts if is_short or limit is None or "broke_off" in figure else counts + limit(figure)


def _untrue_cost(figure: dict[str, Any]) -> list[str]:
    """What the cost misses of the oracle's updates, beyond what each kill may hide."""
    if "difference" not in figure or abs(figure["difference"]) <= PER_KILL * figure["landed"]:
        return []
    return [f"the cost has {figure['charged']} updates of {figure['updates']}"]


def _below(name: str, value: float, least: float) -> list[str]:
    return [f"{name}: {value} is below {least:.3g}"] if value < least else []


def _above(name: str, value: float, most: float) -> list[str]:
    return [f"{name}: {value} is above {most:.3g}"] if value > most else []
