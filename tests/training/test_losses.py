"""Range tests and probes on real training with other losses than cross-entropy.

The cases and the truth, a dense sweep of full runs, are those of `studies/range-test/losses.py`.
"""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lrsearch.heuristics import prune
from lrsearch.heuristics.advice import advise
from lrsearch.heuristics.evidence import FIRST_RULES
from lrsearch.heuristics.range_test import read_ramp
from lrsearch.schedules import HALFCOS

STUDY = Path(__file__).parents[2] / "studies" / "range-test" / "losses.py"
TRUTH = json.loads(STUDY.with_suffix(".json").read_text())
READ = ["mse", "mse in thousands", "perplexity", "gaussian nll", "elbo", "hinge"]
NOISY = ["noisy mse, one sample", "noisy mse, two samples"]
SCALE_FREE = ["contrastive"]
"""What is normalised before the loss: no learning rate of Adam is too high for it."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("losses", STUDY)
    module = importlib.util.module_from_spec(spec)
    sys.modules["losses"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules["losses"]


def share(study, name: str, peak: float) -> float:
    """The share of the fall from guessing to the sweep's best that a full cosine run reaches."""
    truth = TRUTH[name]
    loss = study.CASES[name].train(HALFCOS(k0=float(f"{peak:.3g}"), l=study.STEPS))
    return (truth["guess"] - loss) / (truth["guess"] - truth["best"])


@pytest.mark.parametrize("name", READ)
def test_a_full_run_at_the_suggested_peak_is_stable_and_far_better_than_guessing(study, name):
    advice = study.CASES[name].range_test().advice
    assert advice.verdict == "found"
    assert share(study, name, advice.default.lr) > 0.7


@pytest.mark.parametrize("name", SCALE_FREE)
def test_a_loss_that_no_rate_blows_up_is_an_edge_whose_bottom_is_good(study, name):
    advice = study.CASES[name].range_test().advice
    assert (advice.verdict, advice.edge) == ("edge", "high")
    good = TRUTH[name]["good"]
    assert min(good) <= advice.readings[0].optimum <= max(good)


@pytest.mark.parametrize("name", NOISY)
def test_noise_of_one_or_two_samples_is_no_bottom(study, name):
    """By the first rules the noise is read as a bottom, decades too low."""
    good, case = TRUTH[name]["good"], study.CASES[name]
    for seed in range(2):
        ramp = case.range_test(seed, 100).ramp
        reading, first = read_ramp(ramp), read_ramp(ramp, FIRST_RULES)
        assert reading.optimum is None or min(good) <= reading.optimum <= max(good)
        assert first.optimum is not None
        assert reading.optimum or "scatter too much" in advise([ramp]).notes[0]


@pytest.mark.parametrize("name", ["mse in thousands", "elbo", "noisy mse, two samples"])
def test_the_space_that_probes_leave_holds_good_peaks(study, name):
    case = study.CASES[name]
    pruned = prune(study.space_of(case), study.probed(case))
    assert pruned.refusal is None
    assert math.log10(pruned.space.peak.high / pruned.space.peak.low) < 3.5
    assert any(peak in pruned.space.peak for peak in TRUTH[name]["good"])
