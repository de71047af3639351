"""Programs of several ranks, under torchrun with gloo."""

import contextlib
import re
import sys
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.runs import RunSpec, RunState, Stop
from lrsearch.training.program import program

FILE = Path(__file__).with_name("distributed_program.py")
N, EVERY = 80, 8
STOPS = {"policy": "HALFCOS(k0=0.05, l=80)", "stop": Stop(target=100.0)}
DIVERGES = {"policy": "FIX(k0=1000)"}


@pytest.fixture
def source():
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return program([*torchrun, str(FILE)], "two ranks", horizon=N, epoch=EVERY, minimize="val_loss", optimizer="sgd")


def train(source, folder, policy, stop=None, seed=0):
    with contextlib.closing(source.open()) as trainer:
        spec = RunSpec(source.task, lrs.parse(policy), N, seed, stop)
        run = trainer.train(spec, folder=folder)
    output = folder / spec.key / "output.txt"
    text = output.read_text() if output.exists() else ""
    told = re.findall(r"rank (\d) of 2 pid (\d+) ended at (\d+), off by (.*)", text)
    return run, {int(rank): (int(step), float(off)) for rank, _, step, off in told}


def test_two_ranks_use_the_policy_and_stop_together(source, tmp_path):
    run, ranks = train(source, tmp_path, **STOPS)
    assert (run.state, run.applied, run.steps) == (RunState.STOPPED, "yes", 2 * EVERY)
    assert ranks == {0: (2 * EVERY, 0.0), 1: (2 * EVERY, 0.0)}


ENDINGS = {
    "stops": (STOPS, RunState.STOPPED),
    "diverges": (DIVERGES, RunState.DIVERGED),
    "killed": ({"policy": "FIX(k0=0.01)"}, RunState.FAILED),
}


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("how", ENDINGS)
def test_however_two_ranks_end_the_run_ends(source, tmp_path, monkeypatch, how, seed):
    """It prints how soon; a rank that is left alone would wait for half an hour."""
    asked, state = ENDINGS[how]
    monkeypatch.setenv("KILLED_AT", str(20 + seed) if how == "killed" else "0")
    run, _ = train(source, tmp_path, **asked, seed=seed)
    print(f"{how} {seed}: {run.seconds - run.startup_seconds:.1f} s after its first update")
    assert run.state is state
    if how == "killed":
        # torchrun reports the rank whose end it sees first: the killed one, or its peer, which then aborts
        assert "exitcode  : -9" in run.error or "exitcode  : -6" in run.error
        assert run.steps == 20 + seed
