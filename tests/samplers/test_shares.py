"""The table of what samplers really model, in its short form: see studies/samplers."""

import importlib.util
from pathlib import Path

import optuna
import pytest

FILE = Path(__file__).parents[2] / "studies" / "samplers" / "measure.py"
TRIALS = 13
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measure():
    """studies/samplers/measure.py as a module."""
    spec = importlib.util.spec_from_file_location("sampler_shares", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return module


@pytest.mark.parametrize(
    ("name", "space", "least"),
    [
        ("gp", "flat", 1),
        ("qmc", "flat", 1),
        ("tpe", "flat", 1),
        ("tpe", "conditional", 0.5),
        ("cmaes", "one function, flat", 1),
        ("gp", "one function, flat", 1),
        ("qmc", "one function, flat", 1),
    ],
)
def test_a_sampler_models_the_space_that_it_is_given_without_a_warning(measure, name, space, least):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    row = measure.measure(name, measure.spaces()[space], TRIALS, 0)
    assert row.share >= least
    assert row.warnings == 0


def test_cmaes_models_all_of_a_flat_space_but_the_function(measure):
    pytest.importorskip("cmaes")
    flat = measure.spaces()["flat"]
    row = measure.measure("cmaes", flat, TRIALS, 0)
    assert row.modelled / row.coordinates == pytest.approx(len(flat.hulls) / (1 + len(flat.hulls)), abs=0.02)
    assert row.warnings == 0


def test_by_itself_optuna_leaves_half_of_a_conditional_space_to_chance_and_warns(measure):
    row = measure.measure("qmc", measure.spaces()["conditional"], TRIALS, 0)
    assert row.share < 0.7
    assert row.warnings > 0
