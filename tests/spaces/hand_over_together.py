"""Two processes hand the same over to the same studies at once: `python hand_over_together.py URL ROUNDS`.

Prints, as JSON, how many trials each process added in each round.
"""

import json
import multiprocessing
import sys

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from lrsearch.schedules import FIX
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import ORIGIN, SAME_TASK, WITHDRAWN, Offer, hand_over

SPACE = Space.standard("FIX", horizon=60, epoch=10)
QUEUE = [Offer(policy=FIX(k0=k0), origin="stored") for k0 in (0.1, 0.01, 0.3)]
RESULTS = [Offer(policy=FIX(k0=k0), origin=SAME_TASK, scores={"a": 0.5, "b": 0.7}) for k0 in (0.1, 0.02)]


def hand_over_in_rounds(url, rounds, together, sums):
    """What each of the processes does."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = RDBStorage(url)
    for number in range(rounds):
        study = optuna.load_study(study_name=f"study {number}", storage=storage)
        together.wait(timeout=120)
        added = hand_over(study, SPACE, QUEUE + RESULTS)
        assert not [
            t
            for t in study.trials
            if t.state is TrialState.RUNNING and t.user_attrs[ORIGIN] == SAME_TASK and WITHDRAWN not in t.user_attrs
        ]
        sums.put((number, added))
    storage.engine.dispose()


def hand_over_together(url, rounds):
    """Start both, and give (round, number of trials added) of each."""
    context = multiprocessing.get_context("spawn")
    together, sums = context.Barrier(2), context.Queue()
    processes = [context.Process(target=hand_over_in_rounds, args=(url, rounds, together, sums)) for _ in range(2)]
    for process in processes:
        process.start()
    added = [sums.get(timeout=180) for _ in range(2 * rounds)]
    for process in processes:
        process.join()
    return added


if __name__ == "__main__":
    print(json.dumps(hand_over_together(sys.argv[1], int(sys.argv[2]))))
