"""Optuna as the sampler: a normal study, a copy of the ledger, and the same suggestions again."""

import math

import optuna
import pytest
from optuna.trial import TrialState

from lrsearch.errors import EngineError, UsageError
from lrsearch.runs import Run, RunState
from lrsearch.samplers.mirror import Mirror
from lrsearch.samplers.optuna import OptunaSampler
from lrsearch.samplers.storages import storage_lock
from lrsearch.schedules import EXP, FIX, NSTEP, TRI, parse
from lrsearch.spaces import Interval, Space
from lrsearch.store import Trial

SPACE = Space.standard("TRI", "FIX", "NSTEP", "EXP", horizon=1600, epoch=40).narrowed(
    Interval(0.01, 0.1), Interval(0.01, 1), lambda form, name, axis: axis
)


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def sampler(kind="tpe", storage=None, known=None, **more):
    mirror = Mirror("study", storage, known) if storage else None
    return OptunaSampler("study", mirror, seed=5, horizon=1600, kind=kind, **more)


def stored(storage):
    """The trials of the copy in a storage."""
    return optuna.load_study(study_name="study", storage=storage).trials


def asked(number, policy, horizon=100, origin="suggested"):
    return Trial(number, "candidate", origin, policy, horizon, 0)


def ended(score=0.5, steps=100, state=RunState.FINISHED):
    return Run(state=state, steps=steps, seconds=0.0, score=score, loss=None if score is None else 1 - score)


def play(own, numbers, score=lambda peak: 1 - peak, before=()):
    """Suggest, describe and finish; the score falls with the peak. The ledger has the policies `before`."""
    policies = []
    for number, policy in [*enumerate(before), *((number, None) for number in numbers)]:
        policy = policy or own.suggest(number, SPACE)
        own.add(asked(number, policy), SPACE)
        own.tell(asked(number, policy), ended(score(policy.coordinates(1600)["peak"])))
        own.save()
        policies.append(policy)
    return policies[len(before) :]


def test_a_full_run_is_complete_a_shorter_one_pruned_at_its_steps_and_a_diverged_one_nan():
    own = sampler()
    for number, (horizon, run) in enumerate(
        [(1600, ended(0.9, 1600)), (100, ended(0.4)), (100, ended(None, 7, RunState.DIVERGED))]
    ):
        trial = asked(number, FIX(k0=0.05), horizon)
        own.add(trial, SPACE)
        own.tell(trial, run)
    complete, short, diverged = own.study.trials
    assert (complete.state, complete.value) == (TrialState.COMPLETE, 0.9)
    assert (short.state, short.intermediate_values) == (TrialState.PRUNED, {100: 0.4})
    assert diverged.state is TrialState.PRUNED
    assert math.isnan(diverged.intermediate_values[7])
    assert own.study.best_value == 0.9
    assert diverged.user_attrs["lrsearch:state"] == "diverged"


def test_a_failed_run_is_a_failed_trial():
    own = sampler()
    own.add(asked(0, FIX(k0=0.05)), SPACE)
    own.tell(asked(0, FIX(k0=0.05)), ended(None, 3, RunState.FAILED))
    assert own.study.trials[0].state is TrialState.FAIL


@pytest.mark.parametrize(
    "policy", [TRI(k0=0.001, k1=5, l=123), NSTEP(k0=3, gamma=0.9, l=[1, 2, 3, 4, 5]), FIX(k0=1e-6)]
)
def test_a_policy_from_outside_is_a_trial_and_the_ranges_stay(policy):
    own = sampler()
    play(own, range(3))
    own.add(asked(3, policy, origin="escape"), SPACE)
    own.tell(asked(3, policy), ended(0.99))
    play(own, range(4, 16))
    outside = own.study.trials[3]
    assert outside.user_attrs["lrsearch:policy"] == str(policy)
    assert outside.user_attrs["lrsearch:origin"] == "escape"
    highs = {trial.distributions["peak"].high for trial in own.study.trials}
    assert highs == {0.1}


def test_a_policy_that_the_space_cannot_describe_stays_outside_of_optuna():
    own = sampler()
    for number, policy in enumerate([EXP(k0=0.1, gamma=1e-9), EXP(k0=0, gamma=0.9)]):
        own.add(asked(number, policy), SPACE)
        own.tell(asked(number, policy), ended())
    assert own.study.trials == []


def test_suggestion_n_depends_on_the_seed_n_and_the_trials_before_it_only():
    whole = play(sampler(), range(16))
    first = play(sampler(), range(9))
    again = play(sampler(), range(9, 16), before=first)
    assert first + again == whole
    assert len(set(map(str, whole))) == 16


def test_random_and_tpe_suggest_differently_once_there_is_something_to_learn():
    assert play(sampler(kind="random"), range(16)) != play(sampler(), range(16))


def test_tpe_learns_from_short_runs():
    policies = play(sampler(), range(60))
    peaks = [policy.coordinates(1600)["peak"] for policy in policies]
    assert sum(peaks[40:]) / 20 < sum(peaks[:10]) / 10


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_metric_and_its_negative_are_searched_alike_trial_by_trial(kind):
    """Values stand in the Optuna study in their own sign, and diverged runs are the worst either way."""

    def losses(sign):
        return lambda peak: sign * (2 + peak) if peak < 0.08 else None

    low, high = sampler(kind=kind, direction="minimize"), sampler(kind=kind, direction="maximize")
    assert play(low, range(24), losses(1)) == play(high, range(24), losses(-1))
    for own, peak in ((low, FIX(k0=0.05)), (high, FIX(k0=0.05))):
        own.add(asked(24, peak, 1600), SPACE)
        own.tell(asked(24, peak, 1600), ended(2.3 if own is low else -2.3, 1600))
    assert (low.study.direction.name, low.study.best_value) == ("MINIMIZE", 2.3)
    assert (high.study.direction.name, high.study.best_value) == ("MAXIMIZE", -2.3)


def test_any_sampler_of_optuna_can_suggest_and_goes_on_after_a_stop():
    made = []

    def make(seed):
        made.append(seed)
        return optuna.samplers.TPESampler(seed=seed, multivariate=False, n_startup_trials=2)

    whole = play(sampler(make=make), range(9))
    assert type(sampler(make=make).study.sampler) is optuna.samplers.TPESampler
    assert len(set(made)) >= 9
    first = play(sampler(make=make), range(5))
    assert first + play(sampler(make=make), range(5, 9), before=first) == whole != play(sampler(), range(9))


def test_an_unknown_kind_of_sampler_is_refused():
    with pytest.raises(UsageError, match="no sampler 'tpee'; did you mean 'tpe'"):
        sampler(kind="tpee")


def test_hearing_twice_changes_nothing(storage):
    own = sampler(storage=storage)
    play(own, range(2))
    for _ in range(2):
        own.add(asked(1, FIX(k0=0.05)), SPACE)
        own.tell(asked(1, FIX(k0=0.05)), ended(0.1))
        own.save()
    trials = stored(storage)
    assert len(trials) == 2
    assert all(trial.state is TrialState.PRUNED for trial in trials)


def test_the_copy_of_a_killed_process_is_taken_up(storage):
    first = play(sampler(storage=storage), range(3))
    killed = sampler(storage=storage)
    play(killed, [3], before=first)
    policy = killed.suggest(4, SPACE)
    killed.add(asked(4, policy), SPACE)
    killed.save()
    again = sampler(storage=storage)
    fourth = parse(killed.study.trials[3].user_attrs["lrsearch:policy"])
    play(again, [], before=[*first, fourth])
    again.add(asked(4, policy), SPACE)
    again.tell(asked(4, policy), ended())
    again.save()
    assert [trial.state for trial in stored(storage)] == [TrialState.PRUNED] * 5


def test_where_another_process_was_first_its_policy_is_learnt_from_and_not_the_own_one():
    own = sampler()
    own.suggest(0, SPACE)
    own.add(asked(0, FIX(k0=0.05)), SPACE)
    own.tell(asked(0, FIX(k0=0.05)), ended(0.7))
    lost, learnt = own.study.trials
    assert (lost.state, learnt.state) == (TrialState.FAIL, TrialState.PRUNED)
    assert (learnt.params["peak"], learnt.user_attrs["lrsearch:policy"]) == (0.05, "FIX(k0=0.05)")


def test_a_trial_of_which_a_killed_process_had_reported_is_finished_without_a_warning():
    own = sampler()
    trial = asked(0, FIX(k0=0.05))
    own.add(trial, SPACE)
    own._running[0].report(0.4, 100)
    own.tell(trial, ended(0.4))
    assert own.study.trials[0].intermediate_values == {100: 0.4}


def test_a_copy_of_another_ledger_is_made_anew(storage):
    first = play(sampler(storage=storage, known=lambda: 12), range(12))
    stranger = sampler(storage=storage, known=lambda: 1)
    assert play(stranger, range(1)) == first[:1]
    assert len(stored(storage)) == 1
    other = sampler(storage=storage, known=lambda: 12)
    other.add(asked(0, FIX(k0=0.05)), SPACE)
    other.save()
    assert [trial.user_attrs["lrsearch:policy"] for trial in stored(storage)] == ["FIX(k0=0.05)"]


def test_two_processes_write_one_copy_though_one_of_them_had_suggested_another_policy(storage):
    first, second = sampler(storage=storage, known=lambda: 1), sampler(storage=storage, known=lambda: 1)
    policy = first.suggest(0, SPACE)
    second._seed = 6  # as if it had drawn from another history
    assert second.suggest(0, SPACE) != policy
    for one in (first, second):
        one.add(asked(0, policy), SPACE)
        one.save()
    again = optuna.load_study(study_name="study", storage=storage)._study_id
    second.tell(asked(0, policy), ended(0.4))
    for one in (second, first, second):
        one.save()
    (trial,) = stored(storage)
    assert (trial.state, trial.user_attrs["lrsearch:policy"]) == (TrialState.PRUNED, str(policy))
    assert optuna.load_study(study_name="study", storage=storage)._study_id == again  # it was not made anew


def test_a_run_that_failed_and_was_tried_again_is_a_second_trial_that_any_process_finishes(storage):
    failing = sampler(storage=storage)
    trial = asked(0, FIX(k0=0.05))
    failing.add(trial, SPACE)
    failing.tell(trial, ended(None, 3, RunState.FAILED))
    failing.save()
    failing.add(trial, SPACE)
    failing.save()  # and it is killed
    other = sampler(storage=storage)
    other.add(trial, SPACE)
    other.tell(trial, ended(0.4))
    other.save()
    assert [one.state for one in stored(storage)] == [TrialState.FAIL, TrialState.PRUNED]


def test_a_copy_that_another_process_writes_is_left_alone_and_filled_later(storage):
    own = sampler(storage=storage)
    with storage_lock(storage, patience=0) as held:
        assert held
        play(own, range(2))
    assert optuna.get_all_study_names(storage=storage) == []
    with own.written() as copy:
        assert len(copy.trials) == 2


def test_a_storage_that_goes_away_is_named_once_and_stops_nothing(storage, tmp_path, caplog):
    own = sampler(storage=storage)
    play(own, range(1))
    (tmp_path / "optuna.db").write_bytes(b"no database at all, and longer than its header" * 50)
    play(own, range(1, 3))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the Optuna study study in its storage is not up to date: file is not a database"
    ]
    assert len(own.study.trials) == 3


def test_a_storage_that_cannot_be_opened_says_so_without_its_url():
    with pytest.raises(EngineError, match=r"cannot be opened as an Optuna storage.*--optuna") as caught:
        sampler(storage="postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)


def test_the_optuna_study_is_filled_up_again_from_the_ledger(tmp_path, storage):
    from lrsearch.store import open_store
    from lrsearch.study.funnel import Funnel
    from lrsearch.study.strategy import Setup
    from lrsearch.study.study import Study
    from lrsearch.tasks import find_task

    task = find_task("digits-mlp").with_horizon(1600)
    raw = Space.standard("TRI", "WARMUP", horizon=1600, epoch=task.epoch)

    def study(where):
        return Study(
            Setup(task, raw, 4, 0),
            Funnel(),
            open_store(str(tmp_path / "store.db")),
            lambda name, known: OptunaSampler(name, Mirror(name, where, known), 0, 1600),
        )

    first = study(storage)
    while trial := first.ask():
        first.tell(trial, ended(0.5, trial.horizon))
    second = study(f"sqlite:///{tmp_path / 'another.db'}")
    assert second.is_done

    def copied(own):
        with own.sampler.written() as copy:
            return [(t.state, t.value, t.user_attrs["lrsearch:policy"]) for t in copy.trials]

    trials = copied(first)
    assert copied(second) == trials
    assert len(trials) > 5
    assert optuna.trial.TrialState.RUNNING not in [state for state, _, _ in trials]
