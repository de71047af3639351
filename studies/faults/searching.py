"""One of several processes that search together: `python searching.py READY RELEASED OPTIONS`, OPTIONS as JSON.

It writes the file READY once it has loaded all that a search needs, and begins once the file RELEASED is there. Then it
prints its answer and what the study has cost, as JSON. OPTIONS are those of `lrs.search`, with the name of a training
of `trainings.py` and its horizon. Errors end it as they end `lrsearch search`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import trainings

from lrsearch import api
from lrsearch.errors import LRSearchError
from lrsearch.training.user_source import user_source

PAUSE = 0.01
"""Seconds between two looks for RELEASED: a rule, short beside a run."""


def main(ready: Path, released: Path, options: dict[str, Any]) -> None:
    """Search once all are ready."""
    source = user_source(getattr(trainings, options.pop("training")))
    own = source.with_task(source.task.with_horizon(options.pop("horizon")))
    ready.touch()
    while not released.exists():
        time.sleep(PAUSE)
    result = api.search(own, **options, is_own_process=True)
    print(json.dumps({"policy": str(result.best.policy), "cost": result.spent.to_json()}))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
    except LRSearchError as error:
        sys.exit(f"lrsearch: {error}")
