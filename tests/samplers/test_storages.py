"""Optuna storages that many processes open at once: the tables are made once, and the lock is one over all."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage

from lrsearch.errors import EngineError, UsageError
from lrsearch.samplers.storages import open_storage, storage_lock

TOGETHER = Path(__file__).parent / "open_together.py"
PROCESSES = 12
HOLD = """
import sys
from lrsearch.samplers.storages import storage_lock
with storage_lock(sys.argv[1], 0) as held:
    print(held, flush=True)
    sys.stdin.read()
"""
FORKS = """
import os, sys
from lrsearch.samplers.storages import storage_lock
ends, end = os.pipe()
with storage_lock(sys.argv[1], 0):
    if os.fork() == 0:
        os.close(end)
        os.read(ends, 1)  # until the other process ends
        os._exit(0)
with storage_lock(sys.argv[1], 0) as held:
    print(held)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path, postgres):
    return f"sqlite:///{tmp_path / 'optuna.db'}" if request.param == "sqlite" else postgres(tmp_path.name[-40:].lower())


@pytest.fixture
def opened():
    """Opens storages, whose connections end with the test."""
    storages = []

    def make(*settings, **more):
        storages.append(open_storage(*settings, **more))
        return storages[-1]

    yield make
    for storage in storages:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


def exit_codes(*words):
    command = [sys.executable, str(TOGETHER), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout), ended.stderr


@pytest.fixture
def holder(url):
    """Another process that holds the lock until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"True\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.faults
def test_twelve_processes_start_on_a_new_database_and_none_crashes(url, opened):
    codes, errors = exit_codes(url, PROCESSES)
    assert codes == [0] * PROCESSES, errors
    study = optuna.load_study(study_name="shared", storage=opened(url))
    assert sorted(trial.number for trial in study.trials) == list(range(PROCESSES))


@pytest.mark.faults
def test_twelve_processes_start_on_a_new_journal_and_none_crashes(tmp_path):
    url = f"journal:///{tmp_path / 'optuna.log'}"
    codes, errors = exit_codes(url, PROCESSES)
    assert codes == [0] * PROCESSES, errors
    assert isinstance(open_storage(url), JournalStorage)
    assert len(optuna.load_study(study_name="shared", storage=open_storage(url)).trials) == PROCESSES


def test_the_lock_is_one_over_all_processes_and_free_once_its_process_is_killed(url, holder):
    for patience in (0, 0.2):
        with storage_lock(url, patience) as held:
            assert not held
    holder.send_signal(signal.SIGKILL)
    with storage_lock(url, 60) as held:
        assert held
        with storage_lock(url, 0) as again:
            assert not again


def test_who_waits_for_the_lock_gets_it_once_it_is_released(url):
    held, got = threading.Event(), []

    def wait():
        held.set()
        with storage_lock(url, 60) as second:
            got.append(second)

    waiting = threading.Thread(target=wait)
    with storage_lock(url, 0) as first:
        waiting.start()
        held.wait()
        assert (first, got) == (True, [])
    waiting.join()
    assert got == [True]


def test_an_error_in_the_block_releases_the_lock(url):
    with pytest.raises(RuntimeError, match="mine"), storage_lock(url, 0):
        raise RuntimeError("mine")
    with storage_lock(url, 0) as held:
        assert held


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    command = [sys.executable, "-c", FORKS, f"sqlite:///{tmp_path / 'optuna.db'}"]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b"True\n"


def test_two_paths_to_one_file_have_one_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with storage_lock("sqlite:///optuna.db", 0), storage_lock(f"sqlite:///{tmp_path}/./optuna.db", 0) as second:
        assert not second


def test_a_journal_has_a_lock_beside_the_one_of_optuna(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with storage_lock("journal:///optuna.log", 0) as first, storage_lock("journal:///optuna.log", 0) as second:
        assert (first, second) == (True, False)
        study = optuna.create_study(storage=open_storage("journal:///optuna.log"))  # Optuna takes its own
        study.add_trial(optuna.create_trial(value=1.0))
    with storage_lock("journal:///optuna.log", 0) as again:
        assert again


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite://"])
def test_other_storages_have_no_lock(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with storage_lock(url, 0) as first, storage_lock(url, 0) as second:
        assert first
        assert second
    assert list(tmp_path.iterdir()) == []


def test_heartbeats_are_those_that_were_asked_for(url, opened):
    assert opened(url).get_heartbeat_interval() is None
    assert opened(url, heartbeat=1.5).get_heartbeat_interval() == 2


def test_a_storage_in_memory_is_optunas_own():
    assert isinstance(open_storage("sqlite:///:memory:"), InMemoryStorage)


@pytest.mark.parametrize("heartbeat", [0, -1, True, "60", float("nan"), float("inf")])
def test_an_impossible_heartbeat_is_refused(heartbeat):
    with pytest.raises(UsageError, match="heartbeat is a number of seconds above 0"):
        open_storage("sqlite:///optuna.db", heartbeat)


@pytest.mark.parametrize("url", ["journal:///optuna.log", "sqlite:///:memory:"])
def test_heartbeats_are_refused_where_none_can_be_recorded(url):
    with pytest.raises(UsageError, match="heartbeats in databases alone"):
        open_storage(url, 60)


@pytest.mark.parametrize("url", ["optuna.db", "", None, 5, "postgresql://me:hunter2@host:port/x"])
def test_what_is_no_url_is_refused_without_showing_a_password(url):
    with pytest.raises(UsageError, match="an Optuna storage is a URL such as") as refused:
        open_storage(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/none",
        "nonesuch://me:hunter2@host/x",
        "sqlite:////nonesuch/optuna.db",
        "journal:////nonesuch/optuna.log",
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(url):
    with pytest.raises(EngineError) as refused:
        open_storage(url)
    assert "hunter2" not in str(refused.value)
    assert "nonesuch" in str(refused.value) or "127.0.0.1" in str(refused.value)


def test_another_programs_file_is_refused_and_left_as_it_is(tmp_path):
    file = tmp_path / "optuna.db"
    file.write_text("a diary, and no database")
    with pytest.raises(EngineError, match="not a database"):
        open_storage(f"sqlite:///{file}")
    assert file.read_text() == "a diary, and no database"
