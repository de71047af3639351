"""What the second rules for range tests change: the blow-up of curves that were read by both.

    python studies/range-test/rules.py [--data-dir DIR] [--seeds 12]

Each test is a search's own (`RAMP` over the optimizer's range). DIR holds `mnist` and `fashion_mnist`; without it only
the digits are read. Prints for each task whether all bottoms are equal, which tests are edges or left losses out, and
where each blow-up moved; then in how many pairs of seeds, two of which a search makes, the lower blow-up moved.
"""

import argparse
from pathlib import Path

from lrsearch import api
from lrsearch.heuristics.evidence import FIRST_RULES, RULES
from lrsearch.heuristics.range_test import Reading, ceiling, read_ramp

TASKS = {"digits-cnn": None, "digits-mlp": None, "mnist-mlp": "mnist", "fashion-mlp": "fashion_mnist"}


def main() -> None:
    """Measure all tasks whose data is at hand."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=12)
    given = parser.parse_args()
    for task, folder in TASKS.items():
        if folder is None or given.data_dir:
            data_dir = given.data_dir / folder if folder else None
            ramps = api.range_tests(task, repeats=given.seeds, store="sqlite:///:memory:", data_dir=data_dir)[0].ramps
            before, now = ([read_ramp(ramp, rules) for ramp in ramps] for rules in (FIRST_RULES, RULES))
            print(f"{task}: {compared(before, now)}", flush=True)


def compared(before: list[Reading], now: list[Reading]) -> str:
    """Say what differs between two readings of the same tests."""
    moved = [
        f"{text(one)} -> {text(other)}"
        for one, other in zip(before, now, strict=True)
        if one.blown_up != other.blown_up
    ]
    pairs = [(before[n : n + 2], now[n : n + 2]) for n in range(0, len(before) - 1, 2)]
    changed = sum(ceiling(one) != ceiling(other) for one, other in pairs)
    bottoms = all(one.optimum == other.optimum for one, other in zip(before, now, strict=True))
    return (
        f"bottoms {'equal' if bottoms else 'DIFFER'}, {sum(one.edge is not None for one in now)} edges,"
        f" {sum(bool(one.left_out) for one in now)} with losses left out; blow-up moved in {len(moved)} of"
        f" {len(now)} tests ({', '.join(moved) or 'none'}), in {changed} of {len(pairs)} pairs"
    )


def text(reading: Reading) -> str:
    return f"{reading.blown_up:.3g}" if reading.blown_up else "none"


if __name__ == "__main__":
    main()
