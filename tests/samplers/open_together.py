"""Many processes open a storage at once and each runs a trial: `python open_together.py URL PROCESSES [plain]`.

Prints the exit codes of all; `plain` opens the storage by Optuna alone.
"""

import json
import multiprocessing
import os
import sys

import optuna

from lrsearch.samplers.storages import open_storage


def run_a_trial(url, is_plain, together):
    together.wait(timeout=120)
    storage = url if is_plain else open_storage(url)
    study = optuna.create_study(storage=storage, study_name="shared", load_if_exists=True)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)


def main(url, processes, is_plain):
    context = multiprocessing.get_context("fork")  # all have imported Optuna when the barrier opens
    together = context.Barrier(processes)
    started = [context.Process(target=run_a_trial, args=(url, is_plain, together)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    print(json.dumps([process.exitcode for process in started]))


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["plain"])
    os._exit(0)
