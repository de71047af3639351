"""A store with many runs: the time to write them and to read a page, and the memory of both."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from made import add_tasks, entry, processes, rows, tasks

import lrsearch as lrs
from lrsearch.store import open_store
from lrsearch.tasks import Task

BATCH = 10_000


def scale(url: str, runs: int, of: int = 200) -> dict[str, Any]:
    """Fill a new store in a process of its own, and read a page of every tenth task."""
    with processes().Pool(1) as pool:
        return pool.apply(_scale, (url, runs, of))


def time_recommendation(url: str, task: Task) -> dict[str, Any]:
    """Seconds of a recommendation from a filled store, the first time and the second."""
    with open_store(url) as store:
        took = []
        for _ in range(2):
            began = time.perf_counter()
            lrs.recommend(task, store)
            took.append(time.perf_counter() - began)
    return {"first_s": took[0], "second_s": took[1]}


def _scale(url: str, runs: int, of: int) -> dict[str, Any]:
    made = tasks(of)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the resident memory
    with open_store(url) as store:
        add_tasks(store, made)
        wall = cpu = 0.0
        for batch in _batches([task.key for task in made], runs):
            began, used = time.perf_counter(), time.process_time()
            assert store.add(batch) == len(batch)
            wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - used
        filled = _memory("VmHWM")
        pages = []
        for task in made[::10]:
            began = time.perf_counter()
            assert len(store.runs(task=task.name, limit=100)) == min(100, runs // of)
            pages.append(time.perf_counter() - began)
    ((present,),) = rows(url, "SELECT count(*) FROM lrsearch_runs")
    return {
        "present": present,
        "expected": runs,
        "runs_per_s": runs / wall,
        "runs_per_cpu_s": runs / cpu,
        "page_worst_s": max(pages),
        "page_median_s": sorted(pages)[len(pages) // 2],
        "above_imports_mb": (_memory("VmHWM") - before) / 1024,
        "filling_mb": (filled - before) / 1024,
        "load": os.getloadavg()[0],
    }


def _batches(keys: list[str], runs: int) -> Iterator[list[Any]]:
    each = runs // len(keys)
    for start in range(0, runs, BATCH):
        yield [entry(keys[n // each % len(keys)], n % each) for n in range(start, min(start + BATCH, runs))]


def _memory(name: str) -> int:
    """A figure of this process's memory, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
