"""The executor on Ray Tune: the processes of a Ray cluster train the runs of a study.

The study stays in this process, which alone writes the ledger. A worker receives a policy's text, a horizon and a seed,
and returns a run. So none of Ray's files names the store, and a sweep continues from the ledger, not from Ray's files.
"""

import logging
import math
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.util.client
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.search import Searcher

from lrsearch.errors import EngineError
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.executor import DONE, WAIT, NoRun
from lrsearch.schedules import parse
from lrsearch.store import Trial
from lrsearch.study.study import Study
from lrsearch.tasks import find_classification
from lrsearch.training import Trainer, own_process
from lrsearch.training.files import files
from lrsearch.training.lockstep import run_lockstep
from lrsearch.training.together import lockstep

HEARTBEAT_SECONDS = 2.0
"""Between two reports of a worker: a rule."""
CONNECT_SECONDS = 5.0
"""For a cluster to answer at its port: a rule."""
RETRIES = 3
"""Attempts after the first, where a worker dies: a rule."""
RUNS_PER_GPU = 4
"""Runs at a time on a GPU: a rule, as small models leave most of it idle."""
GPU_UNITS = 10_000
"""Ray counts parts of a GPU in ten-thousandths."""
NEW_OUTPUT = "RAY_AIR_NEW_OUTPUT"
"""The environment variable that selects Ray Tune's newer output."""
STEPS, RUN, ATTEMPT_REPORTS = "steps", "run", "training_iteration"
"""Keys of a worker's report; the last is Ray's own count of the reports of an attempt."""


def run(
    study: Study, *, address: str = "local", data_dir: Path | None = None, folder: Path, workers: int | None = None
) -> None:
    """Train the trials of a study as a Ray Tune run, until it is done.

    A Ray that this process has already started or joined is used, and left running.

    Args:
        study: the study.
        address: "local" for a new cluster that ends with the call, "auto" or host:port for a running one.
        data_dir: the folder of the data set on every machine; None for the default one.
        folder: for Ray's files and the weights of full runs; on a cluster, one that all machines share.
        workers: runs at a time; None for as many as the cluster has CPUs, at most 4 on a GPU.

    Raises:
        EngineError: if there is no cluster at the address, or it is lost for good.
        WorkError: if the default failed, or the first run of a task.
        KeyboardInterrupt: when interrupted, after the open runs are recorded.
    """
    searcher = StudySearcher(study)
    with _cluster(address, workers), _quiet(), _own_signals():
        tuner = _tuner(searcher, study, data_dir, folder.resolve(), workers)
        try:
            tuner.fit()
        except (RayError, TuneError) as error:
            raise EngineError(
                f"the Ray run broke off: {_first_line(error)}; start the same command again, what ended is kept"
            ) from error
        finally:
            searcher.close()
    if searcher.error:
        raise searcher.error
    if not searcher.is_finished:
        raise KeyboardInterrupt


class StudySearcher(Searcher):
    """Passes the trials of a study to Ray Tune, and their runs back to the study.

    Ray pickles its searchers. This one pickles no state, for the study has the store's URL.

    Args:
        study: the study.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.study = study
        self.error: Exception | None = None
        self.is_finished = False
        self._open: dict[str, Trial] = {}
        self._steps: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger has the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a sweep continues from the ledger."""
        raise EngineError("a sweep is not restored from Ray's files; start the same command again")

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while trials in training must end first, FINISHED when the study is done."""
        trial = self._ask()
        if trial is WAIT:
            return None
        if trial is DONE:
            self.is_finished = True
            return Searcher.FINISHED
        self._open[trial_id] = trial
        spec = trial.spec(self.study.setup.task)
        return {
            "number": trial.number,
            "policy": str(spec.policy),
            "horizon": spec.horizon,
            "seed": spec.seed,
            "is_short": trial.is_short(spec.task),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the steps done. The first report of an attempt shows that the attempt before was lost."""
        if result[ATTEMPT_REPORTS] == 1:
            self._record_lost(trial_id)
        self._steps[trial_id] = result[STEPS]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the run of a trial to the study."""
        if error or not result or RUN not in result:
            reason = f"its worker died or could not start, {1 + RETRIES} times in a row; see error.txt in Ray's folder"
            done = Run(state=RunState.FAILED, steps=self._steps.get(trial_id, 0), seconds=0.0, error=reason)
        else:
            if result[ATTEMPT_REPORTS] == 1:
                self._record_lost(trial_id)
            done = Run.from_text(result[RUN])
        self._pass_on(self._open.pop(trial_id), done)

    def close(self) -> None:
        """Record the open runs as interrupted, with their last reported steps."""
        for trial_id in list(self._open):
            steps = self._steps.get(trial_id, 0)
            self._pass_on(self._open.pop(trial_id), Run(state=RunState.INTERRUPTED, steps=steps, seconds=0.0))

    def _record_lost(self, trial_id: str) -> None:
        """Record the steps of an attempt whose worker died: they were trained, so they count."""
        steps = self._steps.pop(trial_id, 0)
        if steps:
            self._pass_on(self._open[trial_id], Run(state=RunState.INTERRUPTED, steps=steps, seconds=0.0))

    def _ask(self) -> Trial | NoRun:
        """The study's next trial; after an error, WAIT for the open runs, then DONE."""
        try:
            trial = self.study.ask() if self.error is None else DONE
        except Exception as error:  # Ray would print it and wrap it; it is raised again once the open runs have ended
            self.error, trial = error, DONE
        return WAIT if trial is DONE and self._open else trial

    def _pass_on(self, trial: Trial, done: Run) -> None:
        try:
            self.study.tell(trial, done)
        except Exception as error:  # as above; the first error is the one that matters
            self.error = self.error or error


class Worker(tune.Trainable):
    """A process that trains one run after the other. It loads the data set once.

    The training has a thread of its own, so that the process can report its steps and be stopped meanwhile.
    """

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        """Begin the first run."""
        self._task: Task = parameters["task"]
        own_process(self._task, threads=1)
        self._data_dir: Path | None = parameters["data_dir"]
        self._weights: Path = parameters["weights"]
        self._trainer: Trainer | None = None
        self._in_lockstep = False
        self._is_stopped = False
        self._pool = ThreadPoolExecutor(1)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next run."""
        self._steps_done = 0
        self._training = self._pool.submit(self._train, new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Report the run when it has ended, else the steps done."""
        ended = bool(wait([self._training], timeout=HEARTBEAT_SECONDS).done)
        report: dict[str, Any] = {STEPS: self._steps_done, "done": ended}
        return report | {RUN: self._training.result().to_text()} if ended else report

    def cleanup(self) -> None:
        """Stop the run in progress."""
        self._is_stopped = True
        self._pool.shutdown()

    def _train(self, config: dict[str, Any]) -> Run:
        try:
            if self._trainer is None:
                self._trainer = Trainer(find_classification(self._task), self._data_dir)
                self._in_lockstep = lockstep(self._trainer).rows > 0
            spec = RunSpec(self._task, parse(config["policy"]), config["horizon"], config["seed"])
            self._weights.mkdir(parents=True, exist_ok=True)
            if config["is_short"] and self._in_lockstep:
                return run_lockstep(self._trainer, [spec], self._watch)[0]  # alone, it equals the run beside others
            weights, _ = files(self._weights, spec)  # no checkpoint: a lost attempt's steps count, whole, as lost
            return self._trainer.train(spec, self._watch, weights)
        except Exception as error:  # a retry would only repeat it: a failed run, not a lost worker
            return Run(
                state=RunState.FAILED, steps=self._steps_done, seconds=0.0, error=f"{type(error).__name__}: {error}"
            )

    def _watch(self, step: int) -> None:
        self._steps_done = step
        if self._is_stopped:
            raise KeyboardInterrupt


def share(resources: dict[str, float], workers: int | None) -> tuple[int, float]:
    """The number of runs at a time, and the part of a GPU for each.

    >>> share({"CPU": 16.0, "GPU": 2.0}, None)
    (8, 0.25)
    >>> share({"CPU": 2.0}, 4)
    (4, 0.0)
    """
    gpus = int(resources.get("GPU", 0))
    most = max(1, int(resources.get("CPU", 1)))
    if not gpus:
        return workers or most, 0.0
    runs = workers or min(most, RUNS_PER_GPU * gpus)
    return runs, GPU_UNITS // math.ceil(runs / gpus) / GPU_UNITS


def _tuner(
    searcher: StudySearcher, study: Study, data_dir: Path | None, folder: Path, workers: int | None
) -> tune.Tuner:
    at_a_time, gpu = share(ray.cluster_resources(), workers)  # type: ignore[no-untyped-call]
    # Workers change their current folder, so paths must not be relative.
    worker = tune.with_parameters(
        Worker, task=study.setup.task, data_dir=data_dir.resolve() if data_dir else None, weights=folder / "weights"
    )
    return tune.Tuner(
        tune.with_resources(worker, {"cpu": 1, **({"gpu": gpu} if gpu else {})}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=at_a_time,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=f"{study.name}-{uuid.uuid4().hex[:6]}",
            storage_path=str(folder / "ray"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _trial_folder(trial: Any) -> str:
    """The folder name of a Ray trial; Ray's own name would hold the whole policy."""
    return f"{trial.config['number']:05}-{trial.trial_id}"


@contextmanager
def _cluster(address: str, workers: int | None) -> Iterator[None]:
    """Use the Ray of this process, or start or join a cluster and leave it again."""
    if address.startswith("ray://") or ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        raise EngineError(
            "a sweep does not run over a Ray client (ray://), for it would have to take the store's URL to the"
            " cluster; start the command on one of the cluster's machines with --address auto"
        )
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {"include_dashboard": False, "num_cpus": workers} if address == "local" else {}
    try:
        _check_port(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(_unreachable(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_port(address: str) -> None:
    """Raise OSError where nothing listens at host:port: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _unreachable(address: str, error: Exception) -> str:
    """The error message with advice; Ray itself does not report a wrong token."""
    if address == "local":
        return f"Ray could not start a cluster here: {_first_line(error)}"
    return (
        f"no Ray cluster can be joined at {address}: {_first_line(error)}. Start one with `ray start --head` and run"
        " this on one of its machines, or use --address local. If it runs already, it may want its token: set"
        " RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what all its machines use"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    line = lines[-1 if isinstance(error, TuneError) else 0]  # a TuneError is a traceback, the cause its last line
    return f"{type(error).__name__}: {line[:200]}".rstrip(". ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Tune from printing tables: stdout is for results, and verbose=0 silences only its older output."""
    before = os.environ.get(NEW_OUTPUT)
    os.environ[NEW_OUTPUT] = "0"
    try:
        yield
    finally:
        os.environ.pop(NEW_OUTPUT)
        if before is not None:
            os.environ[NEW_OUTPUT] = before


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore the signal handlers that Ray Tune leaves changed: else the next Ctrl-C is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
