"""The job in a program: what it reports, and how several ranks end together."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.errors import UsageError, WorkError
from lrsearch.runs import RunSpec, RunState, Stop, Task, minimize
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.job_file import JobFile
from lrsearch.training.followed_job import FollowedJob
from lrsearch.training.report import Report
from lrsearch.training.served_job import ServedJob

N, EVERY = 40, 8
TASK = Task(name="toy", horizon=N, epoch=EVERY, objectives=(minimize("val_loss"),))


@pytest.fixture
def file(tmp_path):
    return JobFile(
        job="run",
        task="toy",
        policy="FIX(k0=0.1)",
        horizon=N,
        epoch=EVERY,
        seed=0,
        device="cpu",
        folder=str(tmp_path),
        resumed=False,
        evaluate_every=EVERY,
        report=str(tmp_path / "report"),
        stop=str(tmp_path / "stop"),
        next=None,
        lrs=None,
        objectives=(("val_loss", "minimize"),),
    )


def train_together(jobs, values):
    """Ranks that wait for each other at every update, as those of a distributed training; gives where each ended."""
    open_ = dict(enumerate(jobs))
    ended = {}
    for step in range(1, 1 + N):
        for job in open_.values():
            if not job.rank:
                job.log(step, train_loss=1.0)
            if job.is_evaluation_due(step) and not job.rank:
                job.log(step, val_loss=values(step))
        assert len(open_) == len(jobs), "a rank left alone: the others would wait for ever"
        for rank, job in list(open_.items()):
            if job.should_stop or step == N:
                ended[rank] = step
                del open_[rank]
        if not open_:
            break
    return ended


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("reached_at", [8, 16, 32, 40])
def test_ranks_end_together_one_evaluation_after_the_target_is_reached(file, reached_at, order):
    ranks = [ServedJob(replace(file, stop_when={"target": 0.5}), rank=rank, size=3) for rank in range(3)]
    ended = train_together(ranks[::order], lambda step: 0.1 if step >= reached_at else 1.0)
    assert set(ended.values()) == {min(reached_at + EVERY, N)}


def followed(file, policy="FIX(k0=0.1)", stop=None):
    job = FollowedJob(RunSpec(TASK, lrs.parse(policy), N, 0, stop))
    for line in Report(Path(file.report), file.job).lines():
        job.take(line)
    return job


def test_who_started_the_ranks_takes_the_score_of_where_they_ended(file):
    ranks = [ServedJob(replace(file, stop_when={"target": 0.5}), rank=rank, size=2) for rank in range(2)]
    train_together(ranks, lambda step: 4.0 / step)
    run = conclude(followed(file, stop=Stop(target=0.5)), None, seconds=1.0)
    assert (run.state, run.score, run.points[-1].step) == (RunState.STOPPED, 4.0 / 16, 16)


def test_one_process_ends_at_once(file):
    job = ServedJob(replace(file, stop_when={"target": 0.5}), rank=0, size=1)
    assert train_together([job], lambda step: 4.0 / step) == {0: 8}


def test_only_rank_0_reports_judges_and_counts(file, tmp_path):
    other = ServedJob(file, rank=1, size=2)
    for step in range(1, 1 + N):
        other.log(step, train_loss=float("nan"), val_loss=float("nan"))
    assert not other.should_stop
    assert not (tmp_path / "report").exists()
    ServedJob(file, rank=0, size=2).log(3, train_loss=1.0)
    assert int.from_bytes((tmp_path / "steps").read_bytes()[:8], "little") == 1


def test_every_rank_says_the_same_of_the_attempt_before(file):
    assert [ServedJob(replace(file, resumed=True), rank=rank, size=2).resumed for rank in range(2)] == [True, True]


def test_a_rank_is_what_its_launcher_says(file, monkeypatch):
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("PMI_RANK", "PMI_SIZE")):
        monkeypatch.setenv(rank, "2")
        monkeypatch.setenv(size, "4")
        made = ServedJob(file)
        assert (made.rank, made.size) == (2, 4)
        monkeypatch.delenv(rank)
        monkeypatch.delenv(size)


def test_a_stop_that_was_said_elsewhere_holds_from_its_step_on(file, tmp_path):
    job = ServedJob(file)
    assert not job.should_stop
    (tmp_path / "stop").write_text('{"at": 16}')  # it is still being written
    job.log(16, train_loss=1.0)
    assert not job.should_stop
    (tmp_path / "stop").write_text('{"at": 16}\n')
    assert job.should_stop


def test_what_is_reported_is_what_was_logged(file):
    job = ServedJob(file)
    for step in range(1, 1 + N):
        job.log(step, train_loss=1 / step)
        if job.is_evaluation_due(step):
            job.log(step, val_loss=2 / step, accuracy=0.5)
    job.end()
    got = followed(file)
    assert got.values.series == job.values.series
    assert (got.step, got.has_ended, got.points) == (N, True, job.points)
    run = conclude(got, None, seconds=1.0)
    assert (run.score, run.scores, run.state) == (2 / N, {"accuracy": 0.5}, RunState.FINISHED)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        (None, WorkError, "cannot be read: No such file"),
        ("{", UsageError, "is no job's file"),
        ("[1]", UsageError, "has no version"),
        ('{"version": 2}', WorkError, "install the same version"),
        ('{"version": 1, "jbo": 3}', UsageError, "did you mean 'job'"),
        ('{"version": 1}', UsageError, "it has no 'job'"),
    ],
)
def test_what_is_no_job_is_refused(tmp_path, monkeypatch, text, error, match):
    path = tmp_path / "job.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("LRSEARCH_JOB", str(path))
    with pytest.raises(error, match=match):
        lrs.job()


def test_a_job_s_file_is_read_as_it_was_written(file, tmp_path):
    file.write(tmp_path / "job.json")
    assert JobFile.read(tmp_path / "job.json") == file
    assert json.loads((tmp_path / "job.json").read_text())["version"] == 1
