"""Keys are for ever: those of all shipped tasks, their variants, runs and studies are what they were, to the byte.

`python tests/test_keys.py` writes the file anew. Only a key that never was may be added to it.
"""

import json
from dataclasses import replace
from pathlib import Path

from lrsearch.runs import RunSpec
from lrsearch.schedules import parse
from lrsearch.spaces import Space
from lrsearch.study.baselines import FullRuns
from lrsearch.study.funnel import Funnel
from lrsearch.study.pruning import Probing
from lrsearch.study.strategy import Setup
from lrsearch.study.study import study_key
from lrsearch.tasks import SGD, SLS, AdamW, Task
from lrsearch.tasks.catalogue import CLASSIFICATIONS

GOLDEN = Path(__file__).parent / "golden" / "keys.json"
POLICIES = (
    "FIX(k0=0.1)",
    "RAMP(k0=1e-6, k1=10, l=299)",
    "WARMUP(policy=HALFCOS(k0=0.0951, l=1216), l=64)",
    "SIN2(k0=0.06559, k1=0.2288, l=64)",
    "ASLR(k0=0.1)",
    "NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000])",
)


def variants(task: Task) -> dict[str, Task]:
    """A task, and what people make of it."""
    found = {
        "": task,
        "horizon 100": task.with_horizon(100),
        "bf16": replace(task, precision="bf16"),
        "patience": replace(task, patience=3),
        "target": replace(task, target=0.97),
        "batch": replace(task, batch_size=64),
        "AdamW": replace(task, optimizer=AdamW()),
        "decay": replace(task, optimizer=SGD(weight_decay=0.01, nesterov=True)),
        "SLS": replace(task, optimizer=SLS()),
    }
    return found | ({"paper": task.in_paper_protocol()} if task.test_size else {})


def keys() -> dict[str, dict[str, str]]:
    tasks = {
        f"{name} {variant}".strip(): made
        for name, task in CLASSIFICATIONS.items()
        for variant, made in variants(task).items()
    }
    runs = {
        f"{name} | {text} | {horizon} | {seed}": RunSpec(task, parse(text), horizon, seed).key
        for name, task in tasks.items()
        if name in CLASSIFICATIONS or name.startswith("digits")
        for text in POLICIES
        for horizon, seed in ((task.horizon, 0), (80, 100_007))
    }
    studies = {}
    for name in ("digits-cnn", "digits-mlp target", "mnist-lenet", "cifar10-resnet20 bf16"):
        task = tasks[name]
        for functions in ((), ("TRI", "WARMUP")):
            low, high = task.optimizer.lr_range
            raw = Space.standard(*functions, horizon=task.horizon, epoch=task.epoch, peak=(low, high))
            for budget, seed, cold in ((12, 0, False), (4.5, 3, True)):
                setup = Setup(task, raw, budget, seed)
                for strategy in (Funnel(), FullRuns("tpe"), Probing()):
                    studies[f"{name} | {functions} | {budget} | {seed} | {cold} | {strategy.name}"] = study_key(
                        setup, strategy, cold
                    )
    return {"tasks": {name: task.key for name, task in tasks.items()}, "runs": runs, "studies": studies}


def test_keys_are_what_they_were_to_the_byte():
    golden, now = json.loads(GOLDEN.read_text()), keys()
    assert now.keys() == golden.keys()
    for kind, known in golden.items():
        assert {name: now[kind].get(name) for name in known} == known


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(keys(), indent=0) + "\n")
