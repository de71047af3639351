"""How much of the replay's figures rests on the law of the horizon having been measured on the same tables?

The exponent b is estimated again for each problem, from the other four: least squares of log10(best rate of the
probes / best rate of the run) on log10(epochs), through 0. The pruned search is then replayed with it.

    python studies/deepobs/law.py DIR
"""

import math
import sys
from pathlib import Path

import numpy as np

import lrsearch.heuristics.forecast as forecast
from lrsearch.compare.replay import SEEDS, Probed, pay, probe
from lrsearch.compare.searches import within
from lrsearch.compare.tables import read_table


def exponent(studies: list[Probed]) -> float:
    longer = np.array([math.log10(study.table.epochs) for study in studies])
    fallen = np.array([math.log10(study.optimum / study.table.best) for study in studies if study.optimum])
    return float(fallen @ longer / (longer @ longer))


def main(folder: Path) -> None:
    studies = [probe(table, seed) for table in read_table("deepobs", folder) for seed in range(SEEDS)]
    costs, covered = [], []
    for problem in dict.fromkeys(study.table.problem for study in studies):
        b = exponent([study for study in studies if study.table.problem != problem])
        print(f"{problem:18} b from the others {b:.3f}")
        forecast.SHIFT_PER_DECADE = (b, forecast.SHIFT_PER_DECADE[1])  # this script's own process only
        for study in studies:
            if study.table.problem == problem:
                pruned = study.pruned()
                costs.append(pay("pruned", study, within(pruned, study.seed), study.cost).cost)
                covered.append(study.table.best in pruned.space.peak)
    print(f"coverage {np.mean(covered):.3f}, FRE mean {np.mean(costs):.2f}, p90 {np.percentile(costs, 90):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
