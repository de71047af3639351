"""What `lrs.` offers beyond values: search, sweep, prune, explain, verify, compare, the warm start of Optuna."""

from typing import TYPE_CHECKING

from lrsearch.later import load_later

if TYPE_CHECKING:
    from lrsearch.api.advice import advise, similarity
    from lrsearch.api.asking import open_study, reopen_study
    from lrsearch.api.functions import check, train
    from lrsearch.api.own_studies import add_results, warm_start
    from lrsearch.api.reproducing import reproduce
    from lrsearch.api.resources import DEFAULT_FOLDER, writable
    from lrsearch.api.script_jobs import job, jobs
    from lrsearch.api.studies import explain, prune, search, sweep, tpe_sampler
    from lrsearch.api.tables import compare, replay, replay_ranking, run_table
    from lrsearch.api.training import ensemble, final_test, range_tests, recipe, verify

__all__ = [
    "DEFAULT_FOLDER",
    "add_results",
    "advise",
    "check",
    "compare",
    "ensemble",
    "explain",
    "final_test",
    "job",
    "jobs",
    "open_study",
    "prune",
    "range_tests",
    "recipe",
    "reopen_study",
    "replay",
    "replay_ranking",
    "reproduce",
    "run_table",
    "search",
    "similarity",
    "sweep",
    "tpe_sampler",
    "train",
    "verify",
    "warm_start",
    "writable",
]

_MODULES = {
    "advice": ("advise", "similarity"),
    "asking": ("open_study", "reopen_study"),
    "functions": ("check", "train"),
    "script_jobs": ("job", "jobs"),
    "resources": ("DEFAULT_FOLDER", "writable"),
    "own_studies": ("add_results", "warm_start"),
    "reproducing": ("reproduce",),
    "studies": ("explain", "prune", "search", "sweep", "tpe_sampler"),
    "tables": ("compare", "replay", "replay_ranking", "run_table"),
    "training": ("ensemble", "final_test", "range_tests", "recipe", "verify"),
}

__getattr__ = load_later(
    __name__, {name: f"lrsearch.api.{module}" for module, names in _MODULES.items() for name in names}
)
