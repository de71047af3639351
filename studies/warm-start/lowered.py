"""How much lower should a stored learning rate be than where it was best, if no range test of the new task moves it?

    python studies/warm-start/lowered.py SOURCE TARGET [--seeds 3] [--data-dir DIR] [--out FOLDER]

Searches SOURCE with 8 FRE, as `measure.py` does, and trains what its store recommends for TARGET over the whole
horizon, lowered by 0, 0.5 and 1 of its doubt: the validation scores, by seed. `SAFETY_MARGIN` is 0.5.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import lrsearch as lrs
from lrsearch.runs import RunSpec
from lrsearch.tasks import find_task
from lrsearch.training import Trainer

SHARES = (0.0, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "lrsearch-warm-start")
    given = parser.parse_args()
    task = find_task(given.target)
    folder = given.out / given.source
    lrs.search(given.source, 8, data_dir=given.data_dir, out=folder)
    trainer = Trainer(task, given.data_dir)
    with lrs.open_store(folder / "store.db") as store:
        for known in lrs.recommend(task, store):
            carried, uncertainty = known.transferred(task.horizon, None), known.uncertainty(None)
            print(f"{known.policy} of {known.task} on {task.name}, doubt {uncertainty:.2f}")
            for share in SHARES:
                policy = carried.scale(10 ** ((known.safety_margin - share) * uncertainty)).rounded()
                runs = [trainer.train(RunSpec(task, policy, task.horizon, seed)) for seed in range(given.seeds)]
                scores = [100 * (run.score or 0.0) for run in runs]
                told = ", ".join(f"{score:.2f}" for score in scores)
                print(f"  lower by {share:g} of it: {statistics.mean(scores):6.2f} % ({told})  {policy}", flush=True)


if __name__ == "__main__":
    main()
