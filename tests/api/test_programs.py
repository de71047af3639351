"""Programs are searched as functions are: the same trials, the same answer, on any number of processes."""

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.api import range_tests, run_table
from lrsearch.errors import UsageError, WorkError
from lrsearch.runs import RunState
from lrsearch.study.file import read_study

FILE = Path(__file__).with_name("surface_program.py")
SURFACE = importlib.util.spec_from_file_location("surface_of_programs", FILE.with_name("surface.py"))
surface = importlib.util.module_from_spec(SURFACE)
SURFACE.loader.exec_module(surface)
GIVEN = {"horizon": surface.N, "epoch": 8, "minimize": "val_loss", "lr_range": (1e-4, 10.0)}


def surface_program(*more, **changes):
    return lrs.program([sys.executable, str(FILE), *more], "surface", **(GIVEN | changes))


def trial_rows(result):
    """What a search did, trial by trial."""
    return [
        (one.role, one.origin, str(one.policy), one.horizon, one.seed, str(trial.run.state), trial.run.score)
        for trial in result.history
        for one in [trial]
    ]


def test_a_search_of_a_program_is_that_of_a_function(tmp_path):
    function = lrs.search(surface.minimized, 5, out=tmp_path / "function")
    program = lrs.search(surface_program("--jobs"), 5, out=tmp_path / "program")
    assert trial_rows(program) == trial_rows(function)
    assert (program.best.policy, program.best.score) == (function.best.policy, function.best.score)
    assert surface_program().task.key == surface.minimized.task.key
    again = lrs.search(surface_program("--jobs"), 5, out=tmp_path / "program")
    assert (again.spent.trained_runs, trial_rows(again)) == (0, trial_rows(program))


def test_a_program_of_one_job_and_several_processes_do_the_same(tmp_path):
    one, two = (
        lrs.search(surface_program(*more), 3, out=tmp_path / str(n), workers=n, functions=["FIX", "TRI"])
        for n, more in ((1, ()), (2, ("--jobs",)))
    )
    assert trial_rows(one) == trial_rows(two)
    assert {trial.run.state for trial in one.history} <= {RunState.FINISHED, RunState.DIVERGED}


def test_what_a_program_needs_is_known_before_a_search():
    checked = lrs.check(surface_program())
    assert "other processes get it as the command" in str(checked)
    assert "policy applied: not checked" in str(checked)
    with pytest.raises(WorkError, match=r"mine failed within 2 updates:\nbash exited with 3; its last lines:\nno data"):
        lrs.check(lrs.program(["bash", "-c", "echo no data; exit 3"], "mine", horizon=100, minimize="val_loss"))


def test_a_program_takes_settings_in_its_command_each_set_a_task_of_its_own(tmp_path):
    report = """echo '{"loss": '$2'}' >> $1"""
    source = lrs.program(
        ["bash", "-c", report, "it", "{report}", "{settings.width}"], "wide", horizon=100, minimize="loss"
    )
    checked = [lrs.check(source, settings={"width": width}) for width in (3, 4)]
    assert [one.run.score for one in checked] == [3, 4]
    assert checked[0].task.key != checked[1].task.key
    with pytest.raises(UsageError, match=r"\{settings.width\}, and the settings of task 'wide' are: none"):
        lrs.search(source, 2, out=tmp_path)


def test_a_program_has_range_tests_and_its_space_is_pruned(tmp_path):
    (tested,) = range_tests(surface_program("--jobs"), out=tmp_path)
    (function,) = range_tests(surface.minimized, out=tmp_path / "function")
    assert tested.advice == function.advice
    pruned = lrs.prune(surface_program("--jobs"), 8, out=tmp_path)
    assert pruned.space == lrs.prune(surface.minimized, 8, out=tmp_path / "function").space


def test_a_program_that_changed_under_its_version_is_said(tmp_path):
    script = tmp_path / "train.sh"
    script.write_text("""echo '{"val_loss": 1}' >> $1""")
    source = lrs.program(["bash", str(script), "{report}"], "mine", horizon=100, minimize="val_loss")
    lrs.search(source, 2, out=tmp_path)
    script.write_text("""echo '{"val_loss": 2}' >> $1""")
    again = lrs.search(source, 2, out=tmp_path)
    assert "changed and its version stayed '1'" in again.warnings[0]


def test_a_study_file_names_a_program(tmp_path):
    file = tmp_path / "table.toml"
    file.write_text(f"""
        command = ["{sys.executable}", "{FILE}", "--jobs"]
        name = "surface"
        horizon = 160
        epoch = 8
        minimize = "val_loss"
        seeds = 2
        [[policies]]
        policy = "FIX(k0=0.1)"
        [[policies]]
        policy = "TRI(k0=0.01, k1=0.2, l=40)"
    """)
    results = run_table(read_study(file), out=tmp_path)
    assert [len(outcome.scores) for outcome in results.outcomes] == [2, 2]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('command = "pythn x"\nname = "a"', "no program"),
        ('command = "echo"', "no 'name'"),
        ('command = "echo"\nname = "a"\ntask = "digits-mlp"', "leave one of them out"),
        ('task = "digits-mlp"\nminimize = "a"', "describes a program: give its command"),
        ('command = "echo"\nname = "a"\nminimize = "a"', "give its length"),
    ],
)
def test_a_study_file_that_describes_no_program_is_refused(tmp_path, text, match):
    file = tmp_path / "table.toml"
    file.write_text(text + '\nseeds = 1\n[[policies]]\npolicy = "FIX(k0=0.1)"\n')
    with pytest.raises(UsageError, match=match):
        read_study(file)


def test_a_program_of_an_ask_and_tell_study_is_told_by_its_report(tmp_path):
    """Whoever asked starts the program with the job's file; the same trials as a search has."""
    function = lrs.search(surface.minimized, 4, out=tmp_path / "function")
    task = lrs.Task("surface", horizon=surface.N, epoch=8, minimize="val_loss", lr_range=(1e-4, 10.0))
    with lrs.open_study(task, 4, out=tmp_path) as study:
        while jobs := study.ask(most=2):
            for job in jobs:
                with pytest.raises(UsageError, match="there is no report"):
                    study.tell(job.number, report=True)
                run([sys.executable, str(FILE), "--jobs"], LRSEARCH_JOB=str(job.folder / "job.json"))
                study.tell(job.number, report=True)
        assert trial_rows(study.result()) == trial_rows(function)[1:]


def run(command, **environment):
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)


def test_a_report_that_does_not_say_enough_is_refused_and_the_job_stays_out(tmp_path):
    task = lrs.Task("mine", horizon=100, epoch=5, minimize="val_loss")
    with lrs.open_study(task, 4, out=tmp_path, range_test=False, known=["FIX(k0=0.1)"]) as study:
        (job,) = study.ask()
        (job.folder / "report.jsonl").write_text('{"step": 3, "train_loss": 1}\n')
        with pytest.raises(UsageError, match="says no more than this: the metric 'val_loss' was neither"):
            study.tell(job.number, report=True)
        assert study.open_jobs() == [job]


def test_a_run_of_a_program_is_reproduced_by_its_command(tmp_path):
    result = lrs.search(surface_program("--jobs"), 2, out=tmp_path)
    key = result.history[-1].stored.key
    command = [sys.executable, str(FILE), "--jobs"]
    again = lrs.reproduce(key, command=command, out=tmp_path)
    assert again.same
    assert not again.changed
    other = lrs.reproduce(key, command=[*command, "--more"], out=tmp_path)
    assert [one.what for one in other.changed] == ["source"]
    with pytest.raises(UsageError, match="name what trains it once"):
        lrs.reproduce(key, command=command, task=surface.minimized, out=tmp_path)


BY_HAND = """
import lrsearch as lrs
job = lrs.job("by hand", horizon=40, epoch=8, policy="TRI(k0=0.1dur, k1=1, l=8)", minimize="val_loss", store="own.db")
for step in range(1, 1 + job.horizon):
    job.log(step, train_loss=1 / step)
    {what}
job.log(job.horizon, val_loss=0.5)
"""


@pytest.mark.parametrize(("what", "state"), [("", RunState.FINISHED), ("1 / 0", RunState.FAILED)])
def test_a_program_that_is_started_by_hand_is_remembered(tmp_path, what, state):
    text = BY_HAND.format(what=what).replace("0.1dur", "0.1")
    ran = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert bool(ran.returncode) is (state is RunState.FAILED)
    with lrs.open_store(tmp_path / "own.db") as store:
        (stored,) = store.runs()
    assert (stored.run.state, stored.task) == (state, "by hand")
    assert ("ZeroDivisionError" in (stored.run.error or "")) is (state is RunState.FAILED)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": "a"},
        {"name": "a", "horizon": 100, "policy": 3},
        {"name": "a", "horizon": 100, "policy": "FIX(k0=0.1)"},
    ],
)
def test_by_hand_a_job_needs_to_be_described(given):
    with pytest.raises(UsageError, match=r"no search has started this program|a policy is|minimize='val_loss'"):
        lrs.job(**given)


def lines_of(notes, word):
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.split()[1:] for line in lines if line.startswith(word)]


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.faults
@pytest.mark.parametrize("how", ["function", "program", "asked"])
def test_a_search_that_is_killed_again_and_again_goes_on(tmp_path, how):
    """The driver is killed at 20 moments, drawn at random: as soon as so many updates more were made."""
    notes, out, moments = tmp_path / "notes", tmp_path / "out", random.Random(0)
    command = [sys.executable, str(FILE.with_name("slow_program.py")), how, str(out)]
    environment = os.environ | {"NOTES": str(notes)}
    finished = set[str]()
    for _ in range(20):
        goal, begun = len(lines_of(notes, "update")) + moments.randrange(1, 24), len(lines_of(notes, "begun"))
        process = subprocess.Popen(command, env=environment)
        while len(lines_of(notes, "update")) < goal:
            assert process.poll() is None, "it ended before it was killed"
        process.kill()
        process.wait()
        while any(is_there(pid) for _, pid in lines_of(notes, "begun")):
            pass
        assert not finished & {key for key, _ in lines_of(notes, "begun")[begun:]}, "a finished run was trained again"
        with lrs.open_store(out / "store.db") as store:
            finished = {stored.key for stored in store.runs() if stored.run.state.is_final}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result, made = json.loads(ended.stdout), len(lines_of(notes, "update"))
    print(f"{how}: 20 of 20 kills landed; {made} updates made, {result['steps']} charged, {result['cost']:.2f} of 12")
    assert 0 <= result["steps"] - made <= 20  # an update that was counted as the kill came, and not yet written down
    assert result["cost"] <= 12 + 20 * 8 / 64
