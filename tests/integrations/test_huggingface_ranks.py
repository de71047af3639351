"""The Trainer in two processes, under torchrun with gloo."""

import contextlib
import re
import sys
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.runs import RunSpec, RunState, Stop

FILE = Path(__file__).with_name("huggingface_ranks.py")
HORIZON, EPOCH = 60, 10


@pytest.mark.adapters
@pytest.mark.parametrize("stop", [None, Stop(target=100.0)], ids=["whole", "stopped"])
def test_two_ranks_use_the_policy_and_stop_together(tmp_path, stop) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(FILE)]
    source = lrs.program(torchrun, "two ranks", horizon=HORIZON, epoch=EPOCH, minimize="distance")
    spec = RunSpec(source.task, lrs.parse("WARMUP(policy=HALFCOS(k0=0.1, l=50), l=10)"), HORIZON, 0, stop)
    with contextlib.closing(source.open()) as trainer:
        run = trainer.train(spec, folder=tmp_path)
    output = (tmp_path / spec.key / "output.txt").read_text()
    steps = HORIZON if stop is None else 2 * EPOCH
    assert (run.state, run.steps, run.applied) == (
        RunState.FINISHED if stop is None else RunState.STOPPED,
        steps,
        "yes",
    )
    assert [point.step for point in run.points] == list(range(EPOCH, steps + 1, EPOCH))
    exact = "0.0"
    for said, updates in {"range test": 40, "policy of 1": 30, "policy of 3": 30, "search": 8, "job": steps}.items():
        ranks = re.findall(f"{said}: (.*)", output)
        assert [rank.split()[:3] for rank in ranks] == [["2", str(updates), exact]] * 2, said
        assert len(set(ranks)) == 1, said  # both ranks have read the same losses, policies and metrics
    assert "restored: True" in output
