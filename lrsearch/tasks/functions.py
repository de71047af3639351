"""Shipped tasks that a function trains: small language models, and regressions. `training.shipped` has the functions.

A language model learns from a text that comes with Python, so its task has another key in another version of Python.
"""

from typing import Any

from lrsearch.errors import DataError
from lrsearch.runs import Task
from lrsearch.runs.objective import minimize
from lrsearch.tasks.texts import text_digest

ADAM = {"name": "adam", "momentum": 0.9, "weight_decay": 0}
ADAMW = {"name": "adamw", "momentum": 0.9, "weight_decay": 0.1}


def _language_model(name: str, text: str, width: int, layers: int, context: int, parameters: int) -> list[Task]:
    """The task of a GPT on characters; none where Python comes without the text."""
    try:
        digest = text_digest(text)
    except DataError:
        return []
    batch = 16
    return [
        Task(
            name,
            horizon=1200,
            epoch=320_000 / (batch * context),
            objectives=(minimize("val_loss", unit="nats"),),
            facts={
                "data": {"name": f"python-{text}-{digest}", "train": 320_000, "classes": 96, "shape": [context]},
                "model": {"name": f"gpt-{width}x{layers}", "parameters": parameters},
                "optimizer": ADAMW,
                "batch_size": batch,
            },
            settings={"text": text, "width": width, "layers": layers, "context": context, "batch": batch},
        )
    ]


def _regression(name: str, data: str, model: str, parameters: int, samples: int, batch: int, horizon: int) -> Task:
    described: dict[str, Any] = {"name": data, "train": samples}
    return Task(
        name,
        horizon=horizon,
        epoch=samples / batch,
        objectives=(minimize("val_mse"),),
        facts={
            "data": described,
            "model": {"name": model, "parameters": parameters},
            "optimizer": ADAM,
            "batch_size": batch,
        },
        settings={"data": data, "batch": batch},
    )


FUNCTION_TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *_language_model("char-gpt", "manual", width=64, layers=2, context=64, parameters=110_336),
        *_language_model("code-gpt", "code", width=48, layers=3, context=48, parameters=91_824),
        _regression("waves-mlp", "waves", "mlp-48x4", 7441, samples=4000, batch=64, horizon=1200),
        _regression("digits-autoencoder", "digits", "autoencoder-6", 24_502, samples=1024, batch=32, horizon=1200),
    )
}
