"""The folder of weights: one process at a time, and nothing of an ended one is lost."""

import subprocess
import sys

import pytest

from lrsearch.runs.counter import StepCounter, uncharged_in
from lrsearch.training import run_folder as run_folders
from lrsearch.training.run_folder import gather, run_folder

PROGRAM = """
import sys
from pathlib import Path
from lrsearch.training.run_folder import run_folder
with run_folder(Path(sys.argv[1])) as folder:
    (folder / sys.argv[2]).write_text(sys.argv[2])
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def started(out, name):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def end(process):
    process.stdin.close()
    process.wait()
    process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_each_process_has_its_own_and_the_last_gathers_all(tmp_path):
    (first, own), (second, other) = started(tmp_path, "a.pt"), started(tmp_path, "b.pt")
    assert (own, other) == ("weights", "weights-2")
    end(first)
    assert names(tmp_path / "weights") == ["a.pt"]
    end(second)
    assert names(tmp_path / "weights") == ["a.pt", "b.pt"]
    assert names(tmp_path) == ["weights"]


def test_the_files_of_a_killed_process_are_gathered_by_the_next(tmp_path):
    (first, _), (second, _) = started(tmp_path, "a.pt"), started(tmp_path, "b.checkpoint")
    second.kill()
    end(second)
    gather(tmp_path)
    assert names(tmp_path / "weights-2") == ["b.checkpoint"]  # the first process still has the folder
    end(first)
    with run_folder(tmp_path) as folder:
        assert names(folder) == ["a.pt", "b.checkpoint"]


def test_another_process_finds_the_files_of_the_first_one_once_it_was_killed(tmp_path):
    first, _ = started(tmp_path, "a.checkpoint")
    with run_folder(tmp_path) as folder:
        gather(tmp_path, folder)
        assert names(folder) == []  # the first process still trains
        first.kill()
        end(first)
        gather(tmp_path, folder)
        assert names(folder) == ["a.checkpoint"]
    assert names(tmp_path) == ["weights"]
    assert names(tmp_path / "weights") == ["a.checkpoint"]


def test_a_folder_that_was_moved_away_before_its_lock_is_not_used(tmp_path, monkeypatch):
    lock = run_folders._lock

    def moved_meanwhile(file):
        if not (tmp_path / "gone").exists():
            (tmp_path / "weights").rename(tmp_path / "gone")
        return lock(file)

    monkeypatch.setattr(run_folders, "_lock", moved_meanwhile)
    with run_folder(tmp_path) as folder:
        assert folder.name == "weights-2"
        assert (folder / ".lock").exists()


def test_a_file_that_is_there_already_stays(tmp_path):
    for name in ("weights", "weights-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.pt").write_text(name)
    with run_folder(tmp_path) as folder:
        assert (folder / "a.pt").read_text() == "weights"
    assert names(tmp_path) == ["weights"]


def test_updates_of_two_killed_attempts_at_one_run_are_added(tmp_path):
    for name, updates in (("weights", 20), ("weights-2", 30)):
        counter = StepCounter(tmp_path / name / "run")
        counter.count(updates)
        counter.close()
    with run_folder(tmp_path) as folder:
        assert uncharged_in(folder / "run") == 50


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(OSError, match="weights"), run_folder(tmp_path):
        pass
