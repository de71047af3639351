"""Two processes of one search against one. Time is from the first run's begin to the last end: start-up is left out."""

import heapq
import os
from contextlib import closing
from statistics import median
from typing import Any
from unittest import mock

import trainings
from databases import database
from oracle import BEGIN, END, ORACLE, Line
from sandbox import sandbox
from searches import codes_of, release, start_search

from lrsearch.api.resources import raw_space
from lrsearch.api.studies import tpe_sampler
from lrsearch.runs.executor import NoRun
from lrsearch.store import Store
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup
from lrsearch.study.study import Study
from lrsearch.training.user_source import user_source


def two(training: str, budget: float, horizon: int, seed: int, order: tuple[int, ...] = (1, 2, 2, 1)) -> dict[str, Any]:
    """Make the same search by one process and by two, in turns, on an SQLite store.

    Args:
        training: "burns", or "sleeps", which needs no core: what is lost then, the order of the runs costs.
        budget: full-run equivalents.
        horizon: updates of a full run, each of 80 ms of a core, or of 10 ms of sleep.
        seed: the study's.
        order: the number of processes in each turn, so that a load that grows or shrinks hits both alike.
    """
    taken: dict[int, list[float]] = {1: [], 2: []}
    each, codes, updates = list[float](), list[int](), set[int]()
    for processes in order:
        with sandbox() as box, database("sqlite", box) as ledger:
            options = {"training": training, "budget": budget, "horizon": horizon, "seed": seed, "out": str(box.out)}
            searching = [start_search(box, number, options) for number in range(processes)]
            release(box, searching)
            codes += codes_of(searching)
            lines = box.oracle.lines()
            updates.add(sum(row.charged for row in ledger.rows()))
        taken[processes].append(max(line.at for line in lines) - min(line.at for line in lines))
        each += _seconds(lines, horizon) if processes == 1 else []
    ratios = [one / both for one, both in zip(taken[1], taken[2], strict=True)]
    return {
        "seed": seed,
        "seconds_of_a_full_run": round(median(each), 1),
        "seconds_with_1": [round(seconds, 1) for seconds in taken[1]],
        "seconds_with_2": [round(seconds, 1) for seconds in taken[2]],
        "speedup": round(median(ratios), 2),
        "at_best": round(_updates_in_turn(budget, horizon, seed, 1) / _updates_in_turn(budget, horizon, seed, 2), 2),
        "updates": sorted(updates),
        "exit_codes": [code for code in codes if code],
    }


def _seconds(lines: list[Line], horizon: int) -> list[float]:
    """The seconds of each full run."""
    began = {line.key: line.at for line in lines if line.what == BEGIN and line.horizon == horizon}
    return [line.at - began[line.key] for line in lines if line.what == END and line.key in began]


def _updates_in_turn(budget: float, horizon: int, seed: int, processes: int) -> int:
    """The updates from a search's begin to its end, where they alone take time, and the processes always train.

    A run that depends on others waits for them, so two processes need more than half of the updates of one.
    """
    source = user_source(trainings.instant)
    task = source.task.with_horizon(horizon)
    setup = Setup(task, raw_space(task, ()), budget, seed)
    trained = mock.patch.dict(os.environ, {ORACLE: os.devnull})
    with trained, closing(source.with_task(task).open()) as trainer:
        study = Study(setup, Funnel(), Store("sqlite:///:memory:"), tpe_sampler(setup))
        now, training = 0, list[Any]()
        while True:
            while len(training) < processes and not isinstance(trial := study.ask(), NoRun):
                run = trainer.train(trial.spec(task))
                heapq.heappush(training, (now + run.steps, trial.number, trial, run))
            if not training:
                return now
            now, _, trial, run = heapq.heappop(training)
            study.tell(trial, run)
