"""Programs as trainings: what becomes of a run, whatever the program does."""

import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.errors import TaskError, WorkError
from lrsearch.runs import RunSpec, RunState, Stop
from lrsearch.training import program_trainer
from lrsearch.training.program import program
from lrsearch.training.starter import Starter

N = 40
GIVEN = {"horizon": N, "epoch": 8, "minimize": "val_loss"}
ROOT = Path(lrs.__file__).parent.parent
AWK = r"""
BEGIN { x = 5 }
{ x -= $1 * 2 * x
  printf("{\"step\": %d, \"train_loss\": %.17g}\n", NR, x * x) >> report
  if (NR %% 8 == 0) printf("{\"step\": %d, \"val_loss\": %.17g}\n", NR, x * x + 1) >> report }
""".replace("%%", "%")


def bash(script, **changes):
    return program(["bash", "-c", script, "it", "{report}", "{folder}", "{stop}"], "mine", **(GIVEN | changes))


def python(tmp_path, text, **changes):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(text))
    return program([sys.executable, str(script)], "mine", **(GIVEN | changes))


def spec(source, policy="FIX(k0=0.1)", horizon=N, seed=0, stop=None):
    return RunSpec(source.task, lrs.parse(policy), horizon, seed, stop)


@pytest.fixture
def trained(tmp_path):
    """Trains one run of a source in a folder, and closes what trained it."""

    def train(source, one=None, watch=None):
        with contextlib.closing(source.open()) as trainer:
            return trainer.train(one or spec(source), watch, tmp_path / "runs")

    return train


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_without_python_trains_by_a_file_of_learning_rates(trained):
    source = program(["awk", "-v", "report={report}", AWK, "{lrs}"], "awk", **GIVEN)
    run = trained(source, spec(source, "HALFCOS(k0=0.2, l=40)"))
    x = 5.0
    for t in range(N):
        x -= lrs.parse("HALFCOS(k0=0.2, l=40)")(t) * 2 * x
    assert (run.state, run.steps, run.applied, len(run.train_losses)) == (RunState.FINISHED, N, "not checked", N)
    assert run.score == pytest.approx(x * x + 1, rel=1e-12)
    assert [point.step for point in run.points] == [8, 16, 24, 32, 40]


def test_its_last_line_may_be_its_metric_alone(trained):
    run = trained(bash("""echo '{"val_loss": 0.5}' >> "$1" """))
    assert (run.state, run.score, run.steps) == (RunState.FINISHED, 0.5, N)


def test_a_python_program_has_its_policy_checked(tmp_path):
    source = python(
        tmp_path,
        """
        import torch, lrsearch as lrs
        for job in lrs.jobs():
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
            scheduler = job.scheduler(optimizer)
            for step in range(1, 1 + job.horizon):
                if job.seed == 1 and step == 20:
                    optimizer.param_groups[0]["lr"] = 7.0
                optimizer.step()
                scheduler.step()
                job.log(step, train_loss=torch.tensor(1.0 / step), drawn=torch.rand(()))
            job.log(val_loss=torch.tensor(2.0))
    """,
    )
    with contextlib.closing(source.open()) as trainer:
        good, bad, again = (trainer.train(spec(source, seed=seed), folder=tmp_path / "runs") for seed in (0, 1, 0))
    assert (good.state, good.score, good.applied, len(good.train_losses)) == (RunState.FINISHED, 2.0, "yes", N)
    assert good.startup_seconds > 0
    assert (bad.state, bad.cause, bad.score) == (RunState.FAILED, "policy", None)
    assert "at update 20 a param group had LR 7 where the policy has 0.1" in bad.error
    assert good.curves["drawn"] == again.curves["drawn"] != bad.curves["drawn"]


@pytest.mark.parametrize(
    ("script", "cause", "match"),
    [
        ("echo hello; exit 3", "error", "^bash exited with 3; its last lines:\nhello$"),
        ("exit 3", "error", "^bash exited with 3, and printed nothing$"),
        ("printf '10%%\\r20%%\\n'; kill -9 $$", "error", "ended by SIGKILL, perhaps for want of memory; .*\n20%"),
        ("true", "missing", "'val_loss' was neither returned nor logged; logged: nothing"),
        ("""echo '{"step": 8, "val_loss": 1}' >> "$1" """, "stale", "logged last at step 8"),
        ("""echo '{"val_loss": "good"}' >> "$1"; sleep 60""", "error", "val_loss is a number"),
        ("""printf '{"val_loss": 1' >> "$1" """, "missing", "the last line of its report is not whole"),
        ("""echo '{"val_loss": 1, "job": "other"}' >> "$1" """, "missing", "1 line of its report named another job"),
        ("""yes '{"step": 1, "train_loss": 1}' >> "$1" """, "error", "its report grew beyond"),
        ("yes", "error", "it printed over"),
        ("echo 1 > /dev/full || exit 1", "error", "No space left on device"),
        ("""echo '{"step": 1e999, "train_loss": 1}' >> "$1" """, "error", "the step of a report is"),
        ("""echo '{"step": 1e300, "train_loss": 1}' >> "$1" """, "error", "the step of a report is"),
        ("""echo '{"state": {"from": 3}}' >> "$1" """, "error", "a state that no job of this lrsearch writes"),
        ("""python3 -c 'print("[" * 100000)' >> "$1" """, "error", "is no JSON"),
        ("""echo no >> "$1" """, "error", "a line of its report is no JSON: 'no'"),
    ],
)
def test_a_program_that_fails_says_why_and_takes_no_run_along(trained, monkeypatch, script, cause, match):
    monkeypatch.setattr(program_trainer, "MOST_OUTPUT", 2**20)
    monkeypatch.setattr("lrsearch.training.report.LARGEST", 2**20)
    source = bash(script)
    run = trained(source)
    assert (run.state, run.cause, run.score) == (RunState.FAILED, cause, None)
    assert re.search(match, run.error)


@pytest.mark.parametrize(
    "report",
    [
        '{"step": 8, "val_loss": "nan"}',
        '{"step": 1, "train_loss": 1}\\n{"step": 2, "train_loss": "inf"}',
        '{"step": 1, "train_loss": 1}\\n{"step": 2, "train_loss": 0.9}\\n{"step": 3, "train_loss": 2}',
    ],
)
def test_a_program_that_leaves_after_its_loss_blew_up_has_diverged(trained, report):
    run = trained(bash(f"""printf '{report}\\n' >> "$1"; exit 1"""))
    assert (run.state, run.score) == (RunState.DIVERGED, None)


def test_a_program_that_does_not_see_a_divergence_is_ended(trained):
    run = trained(bash("""trap '' TERM; echo '{"step": 8, "val_loss": "nan"}' >> "$1"; while true; do sleep 1; done"""))
    assert (run.state, run.steps) == (RunState.DIVERGED, 8)


def test_a_program_that_has_reached_the_target_reads_that_it_is_to_stop(trained):
    source = bash("""echo '{"step": 8, "val_loss": 0.5}' >> "$1"; until [ -e "$3" ]; do sleep 0.01; done""")
    run = trained(source, spec(source, stop=Stop(target=1.0)))
    assert (run.state, run.steps, run.score) == (RunState.STOPPED, 8, 0.5)


def test_an_interrupt_ends_a_program_that_never_ends_with_all_that_it_started(trained, tmp_path):
    """It ignores SIGTERM, and one of its children has left its group."""
    pids = tmp_path / "pids"
    source = bash(
        f"trap '' TERM; sleep 600 & a=$!; setsid sleep 600 & echo $$ $a $! > {pids}.part;"
        f" mv {pids}.part {pids}; while true; do sleep 1; done"
    )

    def watch(step):
        if pids.exists():
            raise KeyboardInterrupt

    run = trained(source, watch=watch)
    left = [int(pid) for pid in pids.read_text().split()]
    assert run.state is RunState.INTERRUPTED
    assert len(left) == 3
    assert not [pid for pid in left if is_there(pid)]


def test_children_that_a_program_leaves_behind_are_ended_with_it(trained, tmp_path):
    pids = tmp_path / "pids"
    run = trained(bash(f"""(setsid sleep 600 & echo $! > {pids}); echo '{{"val_loss": 1}}' >> "$1" """))
    assert (run.state, is_there(int(pids.read_text()))) == (RunState.FINISHED, False)


def test_nothing_is_left_where_the_process_that_started_a_program_is_killed(tmp_path):
    pid = tmp_path / "pid"
    script = tmp_path / "search.py"
    script.write_text(
        textwrap.dedent(f"""
        import lrsearch as lrs
        from lrsearch.runs import RunSpec
        source = lrs.program(["bash", "-c", "echo $$ > {pid}.part; mv {pid}.part {pid}; sleep 600"], "mine", **{GIVEN})
        source.open().train(RunSpec(source.task, lrs.parse("FIX(k0=0.1)"), {N}, 0))
    """)
    )
    process = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)})
    wait_for(pid.exists)
    process.kill()
    process.wait()
    wait_for(lambda: not is_there(int(pid.read_text())))


def wait_for(what, seconds=60):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_launcher_that_is_killed_fails_one_run_and_takes_its_program_along(tmp_path):
    pid = tmp_path / "pid"
    source = bash(f"""[ -e {pid} ] || {{ echo $$ > {pid}; kill -9 $PPID; sleep 600; }}
                      echo '{{"val_loss": 1}}' >> $1""")
    with contextlib.closing(source.open()) as trainer:
        first, again = (trainer.train(spec(source, seed=seed), folder=tmp_path / "runs") for seed in range(2))
    assert (first.state, again.state) == (RunState.FAILED, RunState.FINISHED)
    # Killed before it has reported the program's pid, it never says that it was started.
    assert "was ended by SIGKILL" in first.error or "what starts it has died" in first.error
    wait_for(lambda: not is_there(int(pid.read_text())))


def test_what_a_killed_program_trained_is_charged(tmp_path):
    """It is killed at update 30 of its first attempt, between two reports, and goes on from update 20."""
    source = python(
        tmp_path,
        """
        import os, signal, lrsearch as lrs
        job = lrs.job()
        checkpoint = job.folder / "checkpoint"
        begin = int(checkpoint.read_text()) if job.resumed else 0
        job.resumed_at(begin)
        for step in range(begin + 1, 1 + job.horizon):
            job.log(step, train_loss=1.0)
            if step == 20:
                checkpoint.write_text("20")
            if step == 30 and not begin:
                os.kill(os.getpid(), signal.SIGKILL)
        job.log(val_loss=1.0)
    """,
    )
    one = spec(source)
    with contextlib.closing(source.open()) as trainer, lrs.open_store("sqlite:///:memory:") as store:
        runs = []
        for _ in range(2):
            runs.append(trainer.train(one, folder=tmp_path / "runs"))
            store.record(one, runs[-1])
        stored = store.find(one.key)
    assert [run.state for run in runs] == [RunState.FAILED, RunState.FINISHED]
    assert runs[0].steps == 30
    assert stored.run.steps + stored.lost_steps == 30 + 20


def test_the_job_s_file_tells_any_language_what_there_is_to_know(trained, tmp_path):
    source = bash(f"cp $LRSEARCH_JOB {tmp_path}/kept; echo '{{\"val_loss\": 1}}' >> $1", settings={"width": 3})
    one = spec(source, "TRI(k0=0.001, k1=0.1, l=10)", seed=5)
    trained(source, one)
    told = json.loads((tmp_path / "kept").read_text())
    assert {
        name: told[name]
        for name in (
            "version",
            "job",
            "task",
            "policy",
            "horizon",
            "epoch",
            "seed",
            "resumed",
            "evaluate_every",
            "objectives",
            "settings",
            "lrs",
        )
    } == {
        "version": 1,
        "job": one.key,
        "task": "mine",
        "policy": "TRI(k0=0.001, k1=0.1, l=10)",
        "horizon": N,
        "epoch": 8,
        "seed": 5,
        "resumed": False,
        "evaluate_every": 8,
        "objectives": [["val_loss", "minimize"]],
        "settings": {"width": 3},
        "lrs": None,
    }


def test_a_controller_has_no_file_of_learning_rates(trained):
    source = program(["cat", "{lrs}"], "mine", **GIVEN)
    run = trained(source, spec(source, "PLATEAU(k0=0.1, gamma=0.5, patience=1)"))
    assert run.state is RunState.FAILED
    assert "cannot follow it" in run.error


def test_a_program_that_is_gone_when_a_run_begins_is_said(trained, tmp_path):
    script = tmp_path / "train"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    source = program([str(script)], "mine", **GIVEN)
    script.unlink()
    run = trained(source)
    assert (run.state, run.cause) == (RunState.FAILED, "error")
    assert f"{script} cannot be started: No such file or directory" in run.error


def test_programs_are_refused_where_there_are_no_process_groups(monkeypatch):
    source = bash("true")
    monkeypatch.setattr("lrsearch.training.program.os.name", "nt")
    with pytest.raises(TaskError, match="programs are run on Linux and macOS"):
        source.open()


def test_a_program_of_several_jobs_is_one_process_and_ends_in_good_order(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what it prints waits in its buffer
    source = python(
        tmp_path,
        """
        import os, lrsearch as lrs
        for job in lrs.jobs():
            if job.seed == 2:
                raise ValueError("no such column")
            for step in range(1, 1 + job.horizon):
                job.log(step, train_loss=1.0, pid=os.getpid())
            job.log(val_loss=job.policy(0) + job.seed)
            print("job", job.seed)
        open(job.folder.parent / "ended", "w").close()
    """,
    )
    with contextlib.closing(source.open()) as trainer:
        specs = [spec(source, seed=seed) for seed in range(5)]
        runs = [trainer.train(one, folder=tmp_path / "runs") for one in specs]
    assert [run.state for run in runs] == [RunState.FAILED if seed == 2 else RunState.FINISHED for seed in range(5)]
    assert [run.score for run in runs if run.score is not None] == [0.1, 1.1, 3.1, 4.1]
    pids = [run.curves["pid"][0][1] for run in runs if run.score is not None]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert "no such column" in runs[2].error
    assert "job 1" not in runs[2].error
    assert (tmp_path / "runs" / "ended").exists()
    assert (tmp_path / "runs" / specs[1].key / "output.txt").read_text() == "job 1\n"


def test_a_program_that_dies_between_two_jobs_is_started_again(tmp_path):
    source = python(
        tmp_path,
        """
        import os, signal, lrsearch as lrs
        for job in lrs.jobs():
            job.log(job.horizon, val_loss=1.0)
            end = job.end
            job.end = lambda: (end(), os.kill(os.getpid(), signal.SIGKILL))
    """,
    )
    with contextlib.closing(source.open()) as trainer:
        runs = [trainer.train(spec(source, seed=seed), folder=tmp_path / "runs") for seed in range(3)]
    assert {run.state for run in runs} == {RunState.FINISHED}


def test_a_program_that_leaves_its_loop_of_jobs_is_started_again(tmp_path):
    source = python(
        tmp_path,
        """
        import lrsearch as lrs
        for n, job in enumerate(lrs.jobs()):
            job.log(job.horizon, val_loss=1.0)
            if n == 1:
                break
    """,
    )
    with contextlib.closing(source.open()) as trainer:
        runs = [trainer.train(spec(source, seed=seed), folder=tmp_path / "runs") for seed in range(4)]
    assert {run.state for run in runs} == {RunState.FINISHED}


def test_an_interrupt_of_who_trains_ends_the_program(trained):
    run = trained(bash(f"kill -INT {os.getpid()}; sleep 600"))
    assert run.state is RunState.INTERRUPTED


@pytest.mark.parametrize("ends", ["kill -TERM $$", "kill -USR1 $$", "sh -c 'kill -TERM $$'; exit $?"])
def test_a_program_that_is_asked_to_end_from_outside_is_interrupted_and_goes_on_from_its_folder(
    trained, tmp_path, ends
):
    script = f"""
if [ -e "$2/ended" ]; then echo '{{"step": {N}, "val_loss": 1.0}}' >> "$1"; exit; fi
echo '{{"step": 8, "train_loss": 2.0}}' >> "$1"; touch "$2/ended"; {ends}; sleep 600
"""
    source = bash(script)
    first = trained(source)
    assert (first.state, first.error) == (RunState.INTERRUPTED, None)
    assert (tmp_path / "runs" / spec(source).key / "ended").exists()
    assert trained(source).state is RunState.FINISHED


@pytest.mark.parametrize("name", ["TERM", "USR1"])
def test_a_signal_to_every_process_of_a_job_leaves_the_program_to_react_itself(trained, name):
    """What started the program receives it too, and goes on."""
    source = bash(f'kill -{name} $PPID; echo \'{{"step": {N}, "val_loss": 1.0}}\' >> $1')
    assert trained(source).state is RunState.FINISHED


KILLED = """
from contextlib import closing
from pathlib import Path
import lrsearch as lrs
from lrsearch.runs import RunSpec
from lrsearch.training.program import program

source = program(["bash", "-c", "echo started >&2; sleep 600"], "mine", horizon=100, minimize="val_loss")
with closing(source.open()) as trainer:
    spec = RunSpec(source.task, lrs.parse("FIX(k0=0.1)"), 100, 0)
    trainer.train(spec, lambda step: print("training", flush=True), Path({folder!r}))
"""


def test_a_killed_search_leaves_no_folder_of_its_program(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script, pipe = KILLED.format(folder=str(tmp_path / "runs")), subprocess.PIPE
    environment = {**os.environ, "TMPDIR": str(temporary)}
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment) as parent:
        assert parent.stdout.readline() == "training\n"
        assert [path.name.startswith("lrsearch-program-") for path in temporary.iterdir()] == [True]
        parent.kill()
        parent.stderr.read()  # the launcher holds it open: it ends when the launcher does
    assert not list(temporary.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    launcher = tmp_path / "launcher.py"
    launcher.write_text("raise SystemExit(1)")
    monkeypatch.setattr("lrsearch.training.starter.LAUNCHER", launcher)
    with pytest.raises(WorkError, match="programs cannot be started: no folder can be made for their jobs"):
        Starter()
