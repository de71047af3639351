"""Makes the table of a task, `python studies/lrpolicy-tab/make.py TASK [--folder DIR]`; goes on where it was stopped.

All runs are recorded in DIR/TASK.db, and written to `TASK.jsonl.gz`, a bundle, once the last one has ended.
"""

import argparse
import gzip
import multiprocessing
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from plan import BEST, SEEDS, rows, specs

from lrsearch import api
from lrsearch.heuristics.range_test import range_test_optimum, read_ramp
from lrsearch.heuristics.refinement import refined
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.objective import finite_cost
from lrsearch.schedules import Policy
from lrsearch.store import Store, open_store
from lrsearch.store.bundles import write_bundle
from lrsearch.tasks import Classification, find_task
from lrsearch.training import Trainer
from lrsearch.training.user_source import user_source

HERE = Path(__file__).parent
RANGE_TESTS = 3
REFINED_PEAKS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Peaks of the refined policies, in peaks of the default whose gradient norms they are made of."""
PROCESSES = 2


class Runner:
    """Trains the runs of a task in one process, with one thread."""

    def __init__(self, name: str) -> None:
        torch.set_num_threads(1)
        self.task = find_task(name)
        is_own = isinstance(self.task, Classification)
        self.trainer = Trainer(self.task, device="cpu") if is_own else user_source(name).open(device="cpu")

    def run(self, spec: RunSpec) -> Run:
        """Train a run, with gradient norms and the test metrics of its last update."""
        if not isinstance(self.trainer, Trainer):
            return self.trainer.train(spec)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pt"
            run = self.trainer.train(spec, keep=weights, norms=True)
            if run.state is not RunState.FINISHED:
                return run
            tested = self.trainer.test(weights)
            return replace(run, scores={"test_loss": tested["loss"], "test_top1": tested["top1"]})


@cache
def runner(name: str) -> Runner:
    """The runner of a task, made once in each process: it loads the data."""
    return Runner(name)


def train(name: str, spec: RunSpec) -> tuple[RunSpec, str]:
    """Train a run in a worker process; the run travels as text."""
    return spec, runner(name).run(spec).to_text()


def train_all(name: str, wanted: list[RunSpec], store: Store) -> None:
    """Train the runs that the store lacks."""
    left = [spec for spec in wanted if (stored := store.find(spec.key)) is None or not stored.run.state.is_final]
    began, updates = time.monotonic(), sum(spec.horizon for spec in left)
    done = 0
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for number, (spec, text) in enumerate(pool.imap_unordered(partial(train, name), left), start=1):
            run = Run.from_text(text)
            if run.state is RunState.FAILED:
                sys.exit(f"{spec.policy} failed:{run.why}")
            store.record(spec, run)
            done += spec.horizon
            if number % 50 == 0 or number == len(left):
                rest = (time.monotonic() - began) * (updates - done) / done
                print(f"{name}: {number} of {len(left)} runs, {rest / 60:.0f} min left", file=sys.stderr, flush=True)


def range_test_of(name: str, store: Store) -> float:
    """The optimum of three range tests, which are recorded."""
    [tested] = api.range_tests(name, repeats=RANGE_TESTS, store=store, out=store_folder(store))
    optimum = range_test_optimum([read_ramp(ramp, 2) for ramp in tested.ramps])
    if optimum is None:
        sys.exit(f"{name}: its range tests have no optimum")
    return float(f"{optimum:.3g}")


def store_folder(store: Store) -> Path:
    """The folder of a store's file."""
    return Path(store.url.partition(":///")[2]).parent


def refined_policies(name: str, optimum: float, store: Store) -> list[Policy]:
    """Refined policies, from the gradient norms of the default's full run at half the optimum."""
    task = find_task(name)
    nearest = min(
        (row.policy for row in rows(task, optimum) if row.kind == "default"),
        key=lambda policy: abs(policy.bounds[1] / (optimum / 2) - 1),
    )
    stored = store.find(RunSpec(task, nearest, task.horizon, SEEDS[0]).key)
    assert stored is not None
    [(curve, norms)] = [pair for pair in stored.run.curves.items() if pair[0].startswith("grad_norm")]
    norm = "l1" if curve == "grad_norm_l1" else "l2"
    return [
        refined(norms, horizon=task.horizon, peak=float(f"{share * nearest.bounds[1]:.4g}"), norm=norm)
        for share in REFINED_PEAKS
    ]


def best_of(name: str, policies: list[Policy], store: Store) -> list[Policy]:
    """The best third of the policies by their full runs with the first seed."""
    task = find_task(name)
    costs = {}
    for policy in policies:
        stored = store.find(RunSpec(task, policy, task.horizon, SEEDS[0]).key)
        costs[policy] = finite_cost(task.objective, stored.run.score if stored else None)
    return sorted(policies, key=costs.__getitem__)[: round(BEST * len(policies))]


def make(name: str, folder: Path) -> None:
    """Make the table of a task."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(open_store(f"sqlite:///{folder / name}.db")) as store:
        task, optimum = find_task(name), range_test_of(name, store)
        policies = [row.policy for row in rows(task, optimum)]
        train_all(name, specs(task, policies), store)
        policies += refined_policies(name, optimum, store)
        train_all(name, specs(task, policies), store)
        again = best_of(name, policies, store)
        train_all(name, [RunSpec(task, policy, task.horizon, seed) for seed in SEEDS[1:] for policy in again], store)
        bundle = folder / f"{name}.jsonl"
        bundle.unlink(missing_ok=True)
        count = write_bundle(store, bundle)
        packed = HERE / f"{name}.jsonl.gz"
        packed.write_bytes(gzip.compress(bundle.read_bytes(), mtime=0))
    print(f"{name}: {len(policies)} policies, {count} runs, {packed.stat().st_size:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the table of a task.")
    parser.add_argument("task")
    parser.add_argument("--folder", type=Path, default=Path("lrpolicy-tab"), help="of the store in progress")
    given = parser.parse_args()
    make(given.task, given.folder)
