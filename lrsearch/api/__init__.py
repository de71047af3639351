"""What `lrs.` offers beyond values: search, sweep, prune, explain, verify, compare, the warm start of Optuna."""

from lrsearch.api.advice import advise, similarity
from lrsearch.api.opening import DEFAULT_FOLDER, writable
from lrsearch.api.own_studies import add_results, warm_start
from lrsearch.api.studies import explain, prune, search, sweep, tpe_sampler
from lrsearch.api.tables import compare, replay, replay_ranking, run_table
from lrsearch.api.training import ensemble, final_test, range_tests, recipe, verify

__all__ = [
    "DEFAULT_FOLDER", "add_results", "advise", "compare", "ensemble", "explain", "final_test", "prune", "range_tests",
    "recipe", "replay", "replay_ranking", "run_table", "search", "similarity", "sweep", "tpe_sampler", "verify",
    "warm_start", "writable",
]
