"""What is handed over to an Optuna study can be handed over again, also by several processes at once."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from lrsearch.schedules import FIX
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import CLAIM, ORIGIN, POLICY, SAME_TASK, WITHDRAWN, Offer, _as_claim, enqueue, hand_over

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = Space.standard("FIX", horizon=60, epoch=10)
QUEUE = [Offer(policy=FIX(k0=k0), origin="stored") for k0 in (0.1, 0.01, 0.3)]
RESULTS = [Offer(policy=FIX(k0=k0), origin=SAME_TASK, scores={"a": 0.5, "b": 0.7}) for k0 in (0.1, 0.02)]


@pytest.fixture(params=["memory", "sqlite", "journal"])
def study(request, tmp_path):
    made = {
        "memory": InMemoryStorage,
        "sqlite": lambda: RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}"),
        "journal": lambda: JournalStorage(JournalFileBackend(str(tmp_path / "journal.log"))),
    }
    storage = made[request.param]()
    yield optuna.create_study(storage=storage, direction="maximize")
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def told(study):
    return [
        (trial.state.name, trial.user_attrs[POLICY], trial.user_attrs[ORIGIN], trial.value) for trial in study.trials
    ]


@pytest.mark.parametrize(("backend", "rounds"), [("sqlite", 3), ("postgresql", 2)])
def test_of_processes_that_start_together_one_hands_over_each_policy(backend, rounds, tmp_path, postgres):
    url = f"sqlite:///{tmp_path / 'optuna.db'}" if backend == "sqlite" else postgres("hand_over")
    storage = RDBStorage(url)
    assert storage.engine.name == backend
    for number in range(rounds):
        optuna.create_study(study_name=f"study {number}", storage=storage, direction="maximize")
    script = Path(__file__).with_name("hand_over_together.py")
    ended = subprocess.run([sys.executable, str(script), url, str(rounds)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    added = Counter()
    for number, count in json.loads(ended.stdout):
        added[number] += count
    assert added == dict.fromkeys(range(rounds), 5)
    for number in range(rounds):
        trials = optuna.load_study(study_name=f"study {number}", storage=storage).trials
        kept = [trial for trial in trials if WITHDRAWN not in trial.user_attrs]
        assert {t.state for t in trials if WITHDRAWN in t.user_attrs} <= {TrialState.FAIL}
        assert Counter((t.state, t.user_attrs[POLICY], t.value) for t in kept) == Counter(
            [
                *((TrialState.WAITING, str(offer.policy), None) for offer in QUEUE),
                *((TrialState.COMPLETE, str(offer.policy), 0.6) for offer in RESULTS),
            ]
        )
    storage.engine.dispose()


def test_handing_over_again_adds_only_what_is_new(study):
    assert [hand_over(study, SPACE, QUEUE[:2]), hand_over(study, SPACE, QUEUE), hand_over(study, SPACE, QUEUE)] == [
        2,
        1,
        0,
    ]
    assert told(study) == [("WAITING", str(offer.policy), "stored", None) for offer in QUEUE]


def test_what_was_taken_from_the_queue_is_not_put_there_again(study):
    hand_over(study, SPACE, QUEUE)
    for state in (TrialState.COMPLETE, TrialState.FAIL):
        trial = study.ask()
        assert SPACE.suggest(trial) == parse_of(trial)
        study.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
    study.ask()
    assert hand_over(study, SPACE, QUEUE) == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "RUNNING"]


def parse_of(trial):
    (offer,) = [offer for offer in QUEUE if str(offer.policy) == trial.user_attrs[POLICY]]
    return offer.policy


def test_a_run_enters_once_and_new_runs_of_its_policy_make_a_trial_of_their_own(study):
    policy = FIX(k0=0.1)
    for scores, added in (({"a": 0.5}, 1), ({"a": 0.5, "b": 0.7, "c": 0.9}, 1), ({"b": 0.7}, 0), ({"a": 0.5}, 0)):
        assert hand_over(study, SPACE, [Offer(policy=policy, origin=SAME_TASK, scores=scores)]) == added
    assert [trial.value for trial in study.trials] == [0.5, pytest.approx(0.8)]


def test_a_result_does_not_keep_its_policy_from_the_queue_nor_another_prefix(study):
    assert hand_over(study, SPACE, RESULTS[:1]) == 1
    assert [hand_over(study, SPACE, QUEUE[:1], prefix) for prefix in (None, "g", None, "g")] == [1, 1, 0, 0]


def test_what_an_older_version_handed_over_is_there(study):
    enqueue(study, SPACE, QUEUE[0].policy, "stored")
    study.add_trial(optuna.create_trial(value=0.6, user_attrs={POLICY: str(RESULTS[0].policy), ORIGIN: SAME_TASK}))
    assert hand_over(study, SPACE, [QUEUE[0], RESULTS[0]]) == 0


def claim_of(study, offer):
    """What a process leaves behind that dies before it has released its claim."""
    study._storage.create_new_trial(study._study_id, _as_claim(SPACE, offer, offer.parts, None))


def test_the_claims_of_a_process_that_died_are_released_by_the_next(study):
    for offer in (QUEUE[0], RESULTS[0]):
        claim_of(study, offer)
    assert {trial.state for trial in study.trials} == {TrialState.RUNNING}
    assert hand_over(study, SPACE, [*QUEUE, *RESULTS], patience=0) == 3
    assert Counter(state for state, *_ in told(study)) == {"WAITING": 3, "COMPLETE": 2}
    assert study.trials[1].value == pytest.approx(0.6)


def test_a_claim_that_lost_is_never_put_into_the_queue(study):
    claim_of(study, QUEUE[0])
    claim_of(study, QUEUE[0])
    assert hand_over(study, SPACE, QUEUE[:1], patience=0) == 0
    assert [trial.state.name for trial in study.trials] == ["WAITING", "RUNNING"]


def test_a_trial_in_training_is_no_claim(study):
    hand_over(study, SPACE, QUEUE[:1])
    taken = study.ask()
    assert CLAIM in study.trials[taken.number].system_attrs
    assert hand_over(study, SPACE, QUEUE[:1], patience=0) == 0
    assert study.trials[taken.number].state is TrialState.RUNNING
