"""What else was tried before the rule of `lrs.rank` was settled, on the same held-out tasks?

Six rules: the regret is capped at 20 noises, or already at the median candidate's, or there and in parts of the way
to it rather than in noises ("range"), so that all tasks count alike; a cell of n seeds counts n / (n + 1), or by what
the table's own variances say (the variance between tasks over itself plus 1 / n). `lrs.rank` caps at the median's, in
noises, and counts n / (n + 1). The columns: regret at 1, 3 and 10 tries, and their mean.

    python studies/ranking/variants.py DIR
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import lrsearch.recommendation.ranking as ranking
import lrsearch.recommendation.regrets as regrets
from lrsearch.compare.held_out import hold_out
from lrsearch.compare.settings import read_settings

measured, noise = ranking.regrets, regrets._noise


def capped_at_20(cells):
    found = noise(cells)
    found["spread"] = regrets.WORST * found["noise"]
    return found


def in_the_range(cells):
    found = noise(cells)
    found["noise"] = found["spread"] / regrets.WORST
    return found


def by_variances(table, weights=None):
    known = measured(table, weights)
    seen = known.seeds > 0
    means = (known.regret * seen).sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    within = ((known.regret - means) ** 2)[seen].sum() / np.maximum(seen.sum(axis=1) - 1, 0).sum()
    between = max(within - (1 / known.seeds[seen]).mean(), 0)
    return replace(known, reliability=np.where(seen, between / (between + 1 / np.maximum(known.seeds, 1)), 0))


def main(folder: Path) -> None:
    for name in ("deepobs", "algoperf"):
        settings = read_settings(name, folder)
        caps = (("20", capped_at_20), ("median", noise), ("range", in_the_range))
        for cap, regrets._noise in caps:  # this script's own process only
            for counts, ranking.regrets in (("n/(n+1)", measured), ("variances", by_variances)):
                for held_out, figures in hold_out(settings).figures.items():
                    values = {figure.name: figure.value for figure in figures}
                    told = "  ".join(f"{values[f'rank, {k}']:.3f}" for k in (1, 3, 10, "mean"))
                    print(f"{name:9} {held_out:14} cap {cap:7} cell {counts:10} {told}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
