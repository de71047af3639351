"""A space in Ray Tune, without a cluster: what its domains sample, and what OptunaSearch suggests."""

import copy
import json
import pickle
import random

import optuna
import pytest
from ray import tune
from ray.tune.schedulers.pbt import _explore
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.variant_generator import generate_variants

import lrsearch as lrs
from lrsearch.schedules import CHAIN, FIX, TRI, parse
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import POLICY, SPACE
from lrsearch.spaces.space import FORMS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray")
SPACE_OF_ALL = Space.standard(*FORMS, horizon=10_000, epoch=600)
WHOLE = CHAIN(policies=[FIX(k0=0.1), FIX(k0=0.01)], at=[500])


def configs(param_space, times):
    """The configs of trials, as Tune resolves them."""
    return [spec["config"] for _ in range(times) for _, spec in generate_variants({"config": param_space})]


def test_each_trial_gets_the_next_policy_of_the_space():
    texts = [config["policy"] for config in configs(SPACE_OF_ALL.to_ray(), 600)]
    assert len(set(texts)) == 600
    assert all(parse(text) in SPACE_OF_ALL for text in texts)
    assert {parse(text).form for text in texts} == set(SPACE_OF_ALL.forms)


def test_the_same_seed_samples_the_same_policies():
    first, again, other = (configs(SPACE_OF_ALL.to_ray(seed), 20) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert configs(SPACE_OF_ALL.to_ray(), 3) == configs(SPACE_OF_ALL.to_ray(0), 3)


def test_other_parameters_stand_beside_the_policy():
    param_space = {**SPACE_OF_ALL.to_ray(), "batch": tune.choice([16, 32]), "depth": tune.grid_search([1, 2])}
    made = configs(param_space, 10)
    assert len({config["policy"] for config in made}) == 20
    assert {config["batch"] for config in made} == {16, 32}
    assert [config["depth"] for config in made] == [1, 2] * 10


def test_a_domain_that_is_pickled_goes_on_where_it_was():
    domain = SPACE_OF_ALL.to_ray()["policy"]
    domain.sample(size=5)
    restored = pickle.loads(pickle.dumps(domain))  # noqa: S301
    assert restored.sample(size=5) == domain.sample(size=5)


def test_a_sampled_text_is_a_plain_text_in_json_and_keeps_its_space_where_it_is_copied():
    text = SPACE_OF_ALL.to_ray()["policy"].sample()
    assert json.loads(json.dumps({"policy": text})) == {"policy": str(text)}
    for copied in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):  # noqa: S301
        assert (copied, copied.space) == (text, SPACE_OF_ALL)


@pytest.mark.parametrize("factor", [0.8, 1.2, 1e-9, 1e9])
def test_a_perturbed_policy_is_a_policy_of_the_space(factor):
    domain = SPACE_OF_ALL.to_ray()["policy"]
    for text in domain.sample(size=200):
        perturbed = text * factor
        before, after = SPACE_OF_ALL.values(parse(text)), SPACE_OF_ALL.values(parse(perturbed))
        assert domain.is_valid(perturbed)
        assert after.pop("peak") == pytest.approx(min(max(before.pop("peak") * factor, 1e-6), 10))
        assert after.pop("function") == before.pop("function")
        assert after == pytest.approx(before, rel=1e-6)


def test_pbt_perturbs_a_policy_many_times_and_never_leaves_the_space():
    """By Tune's own function; a quarter of the policies is sampled anew."""
    random.seed(1)
    mutations = SPACE_OF_ALL.to_ray()
    config, operations = {"policy": mutations["policy"].sample()}, []
    for _ in range(300):
        config, done = _explore(config, mutations, 0.25, (1.2, 0.8), None)
        operations.append(done["policy"])
        assert mutations["policy"].is_valid(config["policy"])
    assert set(operations) == {"resample", "* 1.2", "* 0.8"}


def test_a_policy_that_is_searched_as_a_whole_stays_as_it_is():
    domain = Space.standard(WHOLE, horizon=1000, epoch=50).to_ray()["policy"]
    assert domain.sample() * 1.2 == domain.sample() == str(WHOLE)


def test_a_domain_knows_its_texts():
    domain = Space.standard("TRI", horizon=1000, epoch=50).to_ray()["policy"]
    assert domain.is_valid(str(TRI(k0=0.01, k1=0.1, l=100)))
    for value in ("FIX(k0=0.1)", "TRI(", None, 0.1):
        assert not domain.is_valid(value)
    assert domain.domain_str == "TRI"


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", None])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(lrs.UsageError, match="the seed is a whole number, 0 or more, got"):
        SPACE_OF_ALL.to_ray(seed)


def test_a_space_in_the_place_of_a_policy_names_what_tune_takes():
    with pytest.raises(lrs.PolicyError, match=r"got Space: Ray Tune takes it as param_space=space\.to_ray\(\)"):
        lrs.parse(SPACE_OF_ALL)


def searching(space, **more):
    return OptunaSearch(space=space.define_by_run, metric="loss", mode="min", seed=1, **more)


def built(space, params):
    """The policy of parameters in Optuna, where a range of one value is none."""
    return space.build(lambda name, axis: params.get(name, getattr(axis, "low", None)))


def test_optuna_search_suggests_policies_and_their_parameters():
    search = searching(SPACE_OF_ALL)
    for number in range(40):
        config = search.suggest(str(number))
        policy = parse(config["policy"])
        assert policy in SPACE_OF_ALL
        assert policy == built(SPACE_OF_ALL, config)
        search.on_trial_complete(str(number), {"loss": float(number), "training_iteration": 1})
    trials = search._ot_study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 40
    for trial in trials:
        assert trial.user_attrs[SPACE] == SPACE_OF_ALL.key
        assert parse(trial.user_attrs[POLICY]) == built(SPACE_OF_ALL, trial.params)


def test_optuna_search_begins_with_what_a_study_was_warm_started_with():
    storage, space = optuna.storages.InMemoryStorage(), Space.standard("TRI", "FIX", horizon=1000, epoch=50)
    study = optuna.create_study(storage=storage, study_name="mine")
    assert lrs.warm_start(study, space, [FIX(k0=0.1), TRI(k0=0.01, k1=0.1, l=100)]) == 3
    search = searching(space, storage=storage, study_name="mine")
    texts = [search.suggest(str(number))["policy"] for number in range(4)]
    assert texts[:2] == ["FIX(k0=0.1)", "TRI(k0=0.01, k1=0.1, l=100)"]
    assert len(set(texts)) == 4


def test_optuna_search_takes_a_policy_to_begin_with_by_its_values():
    space = Space.standard("TRI", "FIX", horizon=1000, epoch=50)
    search = searching(space, points_to_evaluate=[space.values(FIX(k0=0.25))])
    assert search.suggest("a")["policy"] == "FIX(k0=0.25)"


def test_a_saved_optuna_search_is_restored_with_its_space(tmp_path):
    search = searching(SPACE_OF_ALL)
    search.suggest("a")
    search.save(str(tmp_path / "search"))
    restored = OptunaSearch(metric="loss", mode="min")
    restored.restore(str(tmp_path / "search"))
    assert parse(restored.suggest("b")["policy"]) in SPACE_OF_ALL
