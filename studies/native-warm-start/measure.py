"""What a native Optuna study of mnist-lenet gains from LRBench's rows: 1,000 steps a trial, paired seeds.

    OMP_NUM_THREADS=1 python studies/native-warm-start/measure.py [--data-dir DIR] [--seeds 5] [--trials 10]

Two studies for each seed, with the same TPE, space and training seed. The warm one begins with three published policies
and a random one (`lrs.warm_start`), the cold one with nothing. The studies take turns, a trial each. Prints after 1, 3
and 10 trials the best validation top-1 in percent, and in the end what the warm ones began with. A trial that diverged
counts 0. Products are in bfloat16, as in the search of `studies/mnist-lenet/`. Writes results.json after each round.
"""

import argparse
import json
import platform
from dataclasses import replace
from pathlib import Path

import optuna
import torch

import lrsearch as lrs
from lrsearch.runs import RunSpec
from lrsearch.training import Trainer

TASK, STEPS, SHOWN = "mnist-lenet", 1000, (1, 3, 10)
ARMS = ("warm", "cold")
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Run all studies in turns, and print their table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=10)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    trainer = Trainer(replace(lrs.TASKS[TASK], precision="bf16"), given.data_dir, "cpu")
    versions = f"Python {platform.python_version()}, Optuna {optuna.__version__}, torch {torch.__version__}"
    print(f"{TASK}, {STEPS} steps, {given.seeds} paired seeds, validation top-1 in %; {versions}", flush=True)
    studies = {(arm, seed): make_study(arm, seed) for seed in range(given.seeds) for arm in ARMS}
    for trials in range(1, given.trials + 1):
        for (_, seed), study in studies.items():
            study.optimize(lambda trial, seed=seed: train(trainer, trial, seed), n_trials=1)
        write(studies)
        if trials in SHOWN:
            print_best(studies, trials)
    for trial in studies["warm", 0].trials[:4]:
        print(f"{trial.user_attrs.get('lrsearch:source', 'random')}: {trial.user_attrs['lrsearch:policy']}")


def space() -> lrs.Space:
    """The raw space of the task, over the steps of a trial."""
    task = lrs.TASKS[TASK]
    return lrs.Space.standard(horizon=STEPS, epoch=task.epoch, peak=task.lr_range)


def make_study(arm: str, seed: int) -> optuna.Study:
    """Make a native study, warm-started or not."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, group=True))
    if arm == "warm":
        lrs.warm_start(study, space(), lrs.recommend(TASK, k=3), seed=seed)
    return study


def train(trainer: Trainer, trial: optuna.Trial, seed: int) -> float:
    """Train the policy of a trial, and return its validation top-1."""
    policy = space().suggest(trial)
    trial.set_user_attr("policy", str(policy))
    return trainer.train(RunSpec(trainer.task, policy, STEPS, seed)).score or 0.0


def write(studies: dict[tuple[str, int], optuna.Study]) -> None:
    """Write the values and attributes of all trials."""
    ended = {
        f"{arm} {seed}": [
            {"value": trial.value, **trial.user_attrs} for trial in study.trials if trial.value is not None
        ]
        for (arm, seed), study in studies.items()
    }
    RESULTS.write_text(json.dumps(ended, indent=1) + "\n")


def print_best(studies: dict[tuple[str, int], optuna.Study], trials: int) -> None:
    """Print the best of each study so far, the means, and on how many seeds the warm one is ahead."""
    best = {arm: [100 * study.best_value for (own, _), study in studies.items() if own == arm] for arm in ARMS}
    ahead = sum(warm > cold for warm, cold in zip(best["warm"], best["cold"], strict=True))
    for arm, values in best.items():
        mean = sum(values) / len(values)
        print(f"best of {trials:2d}, {arm}: mean {mean:.2f} ({', '.join(f'{value:.2f}' for value in values)})")
    print(f"best of {trials:2d}: warm ahead on {ahead} of {len(best['warm'])} seeds", flush=True)


if __name__ == "__main__":
    main()
