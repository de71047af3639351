"""Does a second search profit from a first one on another task, and an Optuna study of one's own?

    python studies/warm-start/measure.py SOURCE TARGET [--budget 4] [--seeds 5] [--first 0] [--data-dir DIR]
        [--out FOLDER]

Searches SOURCE once with twice the budget. Then searches TARGET with every seed, with an empty store and with a copy of
the first search's store. Prints for each: the validation score of the best full-length run after 2.5 FRE and in the
end, and the FRE until the mean of all cold searches' best scores was reached. Then the same with Optuna's TPE over the
whole space, full runs only, with `lrs.warm_start` and without. Writes SOURCE-TARGET.json beside it.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import optuna

import lrsearch as lrs
from lrsearch.runs import RunSpec
from lrsearch.store import open_store
from lrsearch.study.strategy import best_so_far
from lrsearch.tasks import find_task
from lrsearch.training import Trainer

HERE = Path(__file__).parent
EARLY = 2.5


def main() -> None:
    """Measure one pair of tasks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--budget", type=float, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=6, help="full runs of each Optuna study")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "lrsearch-warm-start")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = given.out / given.source
    known = lrs.search(given.source, 2 * given.budget, data_dir=given.data_dir, out=first)
    print(f"{given.source}: {known.best.policy} {known.best.score:.4f}", flush=True)
    seeds = range(given.first, given.first + given.seeds)
    courses = {
        kind: [course(given, kind, seed, first / "store.db" if kind == "warm" else None) for seed in seeds]
        for kind in ("cold", "warm")
    }
    goal = statistics.mean(one["points"][-1][1] for one in courses["cold"])
    rows = {kind: [told(one, goal) for one in some] for kind, some in courses.items()}
    for kind, some in rows.items():
        early, best = (statistics.mean(row[name] for row in some) for name in ("early", "best"))
        costs = sorted(row["reached"] or float("inf") for row in some)
        print(
            f"{kind} {given.target}: {100 * early:.2f} % after {EARLY:g} FRE, {100 * best:.2f} % in the end;"
            f" {100 * goal:.2f} % after {statistics.median(costs):.2f} FRE (median of {costs})"
        )
    apart = [warm["best"] - cold["best"] for warm, cold in zip(rows["warm"], rows["cold"], strict=True)]
    print(f"warm less cold, by seed: {[f'{100 * one:+.2f}' for one in apart]}")
    loops = {
        kind: [own_loop(given, seed, first / "store.db" if kind == "warm" else None) for seed in seeds]
        for kind in ("cold", "warm")
    }
    for kind, some in loops.items():
        for tries in (1, 2, given.trials):
            best = [max(scores[:tries]) for scores in some]
            print(
                f"{kind} Optuna study, best of {tries}: {100 * statistics.mean(best):.2f} %"
                f" ({', '.join(f'{100 * one:.2f}' for one in best)})",
                flush=True,
            )
    path = HERE / f"{given.source}-{given.target}.json"
    found = {"budget": given.budget, "goal": goal, "searches": courses, "rows": rows, "loops": loops}
    path.write_text(json.dumps(found, indent=1) + "\n")


def course(given: argparse.Namespace, kind: str, seed: int, store: Path | None) -> dict[str, object]:
    """Search the target once, and give what it started from and how it went."""
    out = given.out / f"{given.source}-{given.target}-{kind}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    own = out / "store.db"
    if store and not own.exists():
        with open_store(store) as source, open_store(own) as copy:
            copy.merge(source)
    result = lrs.search(given.target, given.budget, seed=seed, data_dir=given.data_dir, out=out)
    task = result.setup.task
    return {
        "seed": seed,
        "best": str(result.best.policy),
        "points": list(best_so_far(result.history, task.horizon, task.objective)),
        "from": [[str(one.policy), one.task, one.origin] for one in result.setup.recommended],
    }


def own_loop(given: argparse.Namespace, seed: int, store: Path | None) -> list[float]:
    """Optimise full runs of the target with Optuna's TPE; give the scores in order, 0 for one that diverged."""
    task = find_task(given.target)
    trainer = Trainer(task, given.data_dir)
    space = lrs.Space.standard(horizon=task.horizon, epoch=task.epoch, peak=task.optimizer.lr_range)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    if store:
        with open_store(store) as known:
            lrs.warm_start(study, space, lrs.recommend(task, known), seed=seed)

    def objective(trial: optuna.Trial) -> float:
        run = trainer.train(RunSpec(task, space.suggest(trial), task.horizon, seed))
        return run.score or 0.0

    study.optimize(objective, n_trials=given.trials)
    return [trial.value or 0.0 for trial in study.trials]


def told(one: dict[str, object], goal: float) -> dict[str, float | None]:
    """Give a course's score after 2.5 FRE and in the end, and the FRE at which the goal was reached."""
    points = one["points"]
    assert isinstance(points, list)
    return {
        "early": max((score for cost, score in points if cost <= EARLY), default=0.0),
        "best": points[-1][1],
        "reached": next((cost for cost, score in points if score >= goal), None),
    }


if __name__ == "__main__":
    main()
