"""The files of jobs that are out: one process writes a job's file, and a restart loses none."""

import json
import subprocess
import sys

import pytest

from lrsearch.errors import OutputError
from lrsearch.study.job_folders import JobFolders, study_folder


def test_a_job_is_taken_once_and_again_when_it_was_given_back(tmp_path):
    folders = JobFolders(tmp_path)
    assert [folders.write(3, "{}"), JobFolders(tmp_path).write(3, "{}"), folders.write(10, "{}")] == [True, False, True]
    assert JobFolders(tmp_path).numbers == {3, 10}
    (folders.job_folder(3) / "checkpoint").write_text("mine")
    folders.remove(3)
    folders.remove(3)
    assert (folders.numbers, (folders.job_folder(3) / "checkpoint").read_text()) == ({10}, "mine")
    assert folders.write(3, "{}")


def test_of_many_processes_one_has_a_job(tmp_path):
    program = (
        "import sys; from pathlib import Path; from lrsearch.study.job_folders import JobFolders\n"
        "folders = JobFolders(Path(sys.argv[1]))\n"
        "print([n for n in range(200) if folders.write(n, '{}')])"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    taken = [number for one in racing for number in json.loads(one.communicate()[0])]
    assert sorted(taken) == list(range(200))


def test_what_is_no_job_is_left_out(tmp_path):
    folders = JobFolders(tmp_path)
    for name in ("notes", "0x1"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        (tmp_path / "jobs" / name / "job.json").write_text("{}")
    assert folders.numbers == frozenset()


def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_is_claimed(tmp_path):
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write to .*jobs"):
        JobFolders(tmp_path).write(0, "{}")


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "mein Modell", "~"])
def test_no_name_of_a_task_leads_out_of_the_folder(tmp_path, name):
    folder = study_folder(tmp_path, name, "0123456789abcdef")
    assert folder.parent == tmp_path
    assert folder.resolve().parent == tmp_path.resolve()
