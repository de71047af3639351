"""A user's own Optuna study: enqueued policies and added results are described by the trials' parameters."""

import warnings

import numpy as np
import optuna
import pytest

import lrsearch as lrs
from lrsearch.errors import UsageError
from lrsearch.recommendation import Recommendation
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import COS, FIX, FUNCTIONS, HALFCOS, NSTEP, TRI, WARMUP, parse
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import ORIGIN, POLICY
from lrsearch.spaces.space import FORMS
from lrsearch.store import open_store
from lrsearch.tasks import find_task

optuna.logging.set_verbosity(optuna.logging.ERROR)
HORIZON = 60
EVERY = Space.standard(*FORMS, horizon=HORIZON, epoch=10)
LONG = WARMUP(policy=HALFCOS(k0=0.05, l=180), l=20)


def queued(space, policies, **given):
    """What a study's trials suggest after a warm start, each with its trial; the random point last."""
    study = optuna.create_study(direction="maximize")
    count = lrs.warm_start(study, space, policies, **given)
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Fixed parameter")
        for _ in range(count):
            trial = study.ask()
            found.append((space.suggest(trial, given.get("prefix")), trial))
    return found


def made_of(trial, space, prefix=""):
    """The policy that a trial's parameters say: what a sampler learns from."""
    return space.build(lambda name, axis: trial.params.get(prefix + name, getattr(axis, "low", None)))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_enqueued_is_what_its_text_and_its_parameters_say_for_every_lr_function(form):
    name, _, inside = form.partition("(")
    whole = WARMUP(policy=FUNCTIONS[inside[:-1]].example, l=10) if inside else FUNCTIONS[name].example
    if form == "ONECYCLE2":  # its example ends at 0: no coordinates
        whole = FUNCTIONS[form](**whole.params | {"k2": 1e-3})
    as_long = whole.stretch(HORIZON / (whole.horizon or HORIZON))
    each = [as_long.stretch(r).scale(c) for r, c in ((1, 1), (1 / 7, 0.5), (3, 0.1))]
    given = {policy: policy.horizon for policy in each}
    found = queued(EVERY, list(given))
    assert len(found) == 1 + len(given)
    for suggested, trial in found:
        assert str(suggested) == trial.user_attrs[POLICY]
        said = made_of(trial, EVERY).curve(HORIZON)
        np.testing.assert_allclose(suggested.curve(HORIZON), said, rtol=1e-9, atol=1e-15)
        if trial.user_attrs[ORIGIN] != "random":
            before = parse(trial.user_attrs.get("lrsearch:stretched", str(suggested)))
            r = given[before] / HORIZON if before != suggested else 1
            np.testing.assert_allclose(suggested(np.arange(60)), before(np.arange(60) * r), rtol=0.01, atol=1e-6)


def test_a_policy_of_another_length_is_stretched_to_the_space_and_named(caplog):
    space = Space.standard("WARMUP", horizon=HORIZON, epoch=10)
    ((suggested, trial), _) = queued(space, [LONG])
    assert suggested == WARMUP(policy=HALFCOS(k0=0.05, l=54), l=6)
    assert trial.user_attrs["lrsearch:stretched"] == str(LONG)
    assert f"{LONG} ends after 200 steps, the space after 60: it is enqueued as {suggested}" in caplog.text
    assert suggested(59) < 1e-4 < 0.04 < LONG(59)


def test_a_warm_up_that_is_longer_than_the_space_is_stretched_as_well():
    space = Space.standard("WARMUP", horizon=HORIZON, epoch=10)
    ((suggested, _), _) = queued(space, [WARMUP(policy=HALFCOS(k0=0.05, l=180), l=200)])
    assert suggested.horizon == pytest.approx(HORIZON)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (COS(k0=0, k1=1, l=30), "no LR function in this space 'COS'"),
        (NSTEP(k0=1, gamma=0.9, l=[1, 2, 3, 4, 5, 6, 7, 60]), "NSTEP.milestones is 8"),
        (NSTEP(k0=1, gamma=1e-200, l=[1, 60]), "a learning rate left at the end"),
        (parse("PLATEAU(k0=0.1, gamma=0.5, patience=1)"), "PLATEAU"),
    ],
    ids=lambda value: getattr(value, "form", ""),
)
def test_a_policy_that_does_not_fit_is_named_with_the_reason(policy, says, caplog):
    found = queued(Space.standard("FIX", "NSTEP", horizon=HORIZON, epoch=10), [policy, FIX(k0=0.1)])
    assert [suggested for suggested, _ in found][:1] == [FIX(k0=0.1)]
    assert len(found) == 2
    assert f"{policy} is not enqueued: " in caplog.text
    assert says in caplog.text


def test_a_fourth_policy_is_named(caplog):
    assert len(queued(EVERY, [FIX(k0=k0) for k0 in (0.1, 0.2, 0.3, 0.4)])) == 4
    assert "FIX(k0=0.4) is not enqueued: a study starts from 3 policies at most" in caplog.text


def test_a_recommendation_that_rounding_would_make_shorter_keeps_its_digits():
    space = Space.standard("WARMUP", horizon=777, epoch=10)
    one = Recommendation(WARMUP(policy=HALFCOS(k0=0.05, l=1216), l=64), "x", 0, 0.9, 1, 0, None, 1280)
    ((suggested, trial), _) = queued(space, [one])
    np.testing.assert_allclose(suggested.curve(777), made_of(trial, space).curve(777), rtol=1e-9, atol=1e-15)
    assert "lrsearch:stretched" not in trial.user_attrs


def test_texts_durations_and_a_single_policy_are_taken():
    assert queued(EVERY, "FIX(k0=0.1)")[0][0] == FIX(k0=0.1)
    assert queued(EVERY, [parse("LINEAR(k0=0.1, l=1dur)")])[0][0] == parse("LINEAR(k0=0.1, l=60)")


def test_a_script_that_is_started_again_enqueues_nothing_again(tmp_path):
    for expected in (3, 0, 0):
        study = optuna.create_study(
            storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="mine", load_if_exists=True
        )
        assert lrs.warm_start(study, EVERY, [FIX(k0=0.1), LONG]) == expected
        assert len(study.trials) == 3
        study.tell(study.ask(), 0.5)


# several spaces in one trial

G = Space.standard("COS", "TRI", horizon=HORIZON, epoch=10)
D = Space.standard("FIX", "TRI", horizon=5 * HORIZON, epoch=10, peak=(1e-4, 1e-3))


def test_two_spaces_in_a_trial_are_two_by_their_prefixes():
    def objective(trial):
        g, d = G.suggest(trial, prefix="g"), D.suggest(trial, prefix="d")
        assert (g, d) == (G.suggest(trial, prefix="g"), D.suggest(trial, prefix="d"))
        assert g in G
        assert d in D
        assert d.coordinates(5 * HORIZON)["peak"] <= 1.001e-3
        return g.coordinates(HORIZON)["peak"]

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3))
    study.optimize(objective, n_trials=8)
    assert {name.split(".")[0] for name in study.best_params} == {"g", "d"}


@pytest.mark.parametrize(
    "second",
    [D, Space.standard("COS", "TRI", horizon=2 * HORIZON, epoch=10), Space.standard("REX", horizon=HORIZON, epoch=10)],
    ids=["another range", "another length", "another function"],
)
@pytest.mark.parametrize("prefix", [None, "g"])
def test_a_second_space_under_the_same_names_is_refused(second, prefix):
    trial = optuna.create_study().ask()
    first = G.suggest(trial, prefix)
    with pytest.raises(UsageError, match=r"another space.*prefix='g'"):
        second.suggest(trial, prefix)
    assert G.suggest(trial, prefix) == first


def test_a_trial_that_is_loaded_again_suggests_the_same_of_each_prefix(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(storage=url, study_name="mine")
    assert lrs.warm_start(study, D, [FIX(k0=5e-4)], prefix="d") == 2
    trial = study.ask()
    both = G.suggest(trial, prefix="g"), D.suggest(trial, prefix="d")
    assert both[1] == FIX(k0=5e-4)
    study.tell(trial, 1.0)
    loaded = optuna.load_study(study_name="mine", storage=url).best_trial
    assert (G.suggest(loaded, prefix="g"), D.suggest(loaded, prefix="d")) == both
    with pytest.raises(UsageError, match="another space"):
        G.suggest(loaded, prefix="d")


def test_a_warm_start_of_each_prefix_is_there_once():
    study = optuna.create_study()
    for expected in (2, 0):
        assert [lrs.warm_start(study, D, [FIX(k0=5e-4)], prefix=name) for name in ("a", "b")] == [expected] * 2
    assert {name for trial in study.trials for name in trial.user_attrs} == {
        f"{name}:{prefix}" for name in (POLICY, ORIGIN) for prefix in ("a", "b")
    }


@pytest.mark.parametrize("prefix", ["", "a.b", "x" * 41, 5, "ä", "a\n"])
def test_a_prefix_that_cannot_begin_a_name_is_refused(prefix):
    study = optuna.create_study(direction="maximize")
    with pytest.raises(UsageError, match="prefix is a name"):
        G.suggest(study.ask(), prefix)
    with pytest.raises(UsageError, match="prefix is a name"):
        lrs.warm_start(study, G, [], prefix=prefix)


# results


def test_results_enter_once_under_their_prefix_and_of_one_unit():
    task = find_task("digits-mlp")
    space = Space.standard("FIX", horizon=task.horizon, epoch=task.epoch)
    with open_store("sqlite:///:memory:") as store:

        def trained(k0, seed, score):
            store.record(
                RunSpec(task, FIX(k0=k0), task.horizon, seed),
                Run(state=RunState.FINISHED, steps=task.horizon, seconds=1.0, score=score, loss=1 - score),
            )

        trained(0.1, 0, 0.9)
        with lrs.record(store, task=task, policy=FIX(k0=0.2)) as run:
            run.finish(score=97.5, unit="%")
        study = optuna.create_study(direction="maximize")
        assert [lrs.add_results(study, space, store, task, prefix="g") for _ in range(2)] == [1, 0]
        trained(0.1, 1, 0.8)
        trained(0.3, 0, 0.5)
        assert [lrs.add_results(study, space, store, task, prefix="g") for _ in range(2)] == [2, 0]
        assert [(t.params["g.peak"], t.value) for t in study.trials] == [(0.1, 0.9), (0.1, 0.8), (0.3, 0.5)]
        assert lrs.add_results(study, space, store, task, prefix="g", unit="%") == 1
        assert study.trials[-1].value == 97.5
    assert space.suggest(study.ask(), prefix="g") in space


def test_a_trial_that_was_stretched_says_what_was_given():
    (_, trial), _ = queued(Space.standard("TRI", "LINEAR", horizon=HORIZON, epoch=10), ["LINEAR(k0=0.1, l=600)"])
    assert trial.user_attrs["lrsearch:stretched"] == "LINEAR(k0=0.1, l=600)"
    assert TRI(k0=0, k1=1, l=600) == queued(G, [TRI(k0=0, k1=1, l=600)])[0][0]  # it never ends, and is as it is
