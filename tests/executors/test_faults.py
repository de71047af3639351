"""The figures of `studies/faults` in a short form: the command itself, with real processes and real kills.

Times and shares are not asserted. The full form is `python studies/faults/measure.py`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[2] / "studies" / "faults"
sys.path.insert(0, str(STUDY))
from bars import missed  # noqa: E402
from charged import overtaken, paid_twice, runs_of_killed, unreported  # noqa: E402
from oracle import Line, Oracle, gaps, open_runs, training_share  # noqa: E402
from outages import acknowledged_in, can_fill_disks  # noqa: E402
from password import PASSWORD, has_password  # noqa: E402

HERE = ("share pool", "workers", "search", "drivers pool", "overhead pool")
SHARED = (
    *("sharing postgresql", "sharing sqlite", "all-killed postgresql", "all-killed sqlite"),
    *("together postgresql", "together sqlite", "cut", "restart", "password", "two"),
)
ON_RAY = ("nodes", "idle-node", "probe", "drivers ray")


def measured(name):
    """The figure that the command prints, and its exit code."""
    command = [sys.executable, str(STUDY / "measure.py"), "--short", "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [figure["figure"] for figure in figures] == [name], done.stderr
    return figures[0], done.returncode


@pytest.mark.faults
@pytest.mark.parametrize("name", [*HERE, *SHARED, *(pytest.param(name, marks=pytest.mark.ray) for name in ON_RAY)])
def test_nothing_is_lost_or_left_and_all_faults_land(name):
    figure, code = measured(name)
    assert figure["misses"] == []
    assert code == 0


@pytest.mark.faults
def test_a_search_goes_on_once_its_full_disk_has_room_again():
    if not can_fill_disks():
        pytest.skip("only root may mount a small disk")
    figure, code = measured("full-disk waits")
    assert figure["misses"] == []
    assert code == 0


def line(what, key, pid, at):
    return Line(what, key, 100, pid, "-", at)


def test_the_share_counts_distinct_processes_from_when_all_have_begun():
    lines = [
        *(line("begin", "a", 1, 0.0), line("end", "a", 1, 4.0), line("begin", "b", 2, 2.0), line("end", "b", 2, 6.0)),
        *(line("begin", "c", 1, 5.0), line("end", "c", 1, 9.0), line("begin", "d", 2, 6.0), line("end", "d", 2, 10.0)),
    ]
    assert training_share(lines, 2) == pytest.approx(6 / 7)  # from 2 to 9; one process trained from 4 to 5


def test_runs_of_one_process_have_no_share():
    lines = [line(what, key, 1, at) for key, at in (("a", 0.0), ("b", 1.0), ("c", 2.0)) for what in ("begin", "end")]
    lines = [*lines[:1], *(line("end", "a", 1, 0.9), *lines[2:])]
    assert training_share(lines, 2) == 0.0


def test_a_gap_is_between_two_runs_of_one_process():
    lines = [
        line("begin", "a", 1, 0.0),
        line("end", "a", 1, 1.0),
        line("begin", "b", 2, 1.5),
        line("begin", "c", 1, 3.0),
    ]
    assert gaps(lines) == [2.0]


def test_a_run_is_open_until_it_ends():
    lines = [line("begin", "a", 1, 0.0), line("begin", "b", 2, 0.0), line("end", "a", 1, 1.0)]
    assert open_runs(lines) == {"b": lines[1]}


def test_a_line_that_is_being_written_is_read_later(tmp_path):
    path = tmp_path / "oracle"
    path.write_text("begin a 100 1 - 0.5\nstep a 1")
    oracle = Oracle(path)
    assert oracle.lines() == [line("begin", "a", 1, 0.5)]
    with path.open("a") as file:
        file.write("00 1 - 0.75\n")
    assert oracle.lines() == [line("begin", "a", 1, 0.5), line("step", "a", 1, 0.75)]


def test_a_run_is_recorded_once_its_process_begins_another_one():
    lines = [line(what, key, 1, 0.0) for key in ("a", "b") for what in ("begin", "end")]
    assert acknowledged_in(lines) == ({"a"}, 0)
    assert acknowledged_in([*lines, line("begin", "b", 2, 1.0)]) == ({"a"}, 0)
    assert acknowledged_in([*lines, line("begin", "a", 2, 1.0)]) == ({"a"}, 1)


def test_the_password_is_found_where_it_is(tmp_path):
    file = tmp_path / "printed"
    file.write_bytes(b"\xff" + PASSWORD.encode())
    assert has_password(file)
    file.write_text("postgresql://user:***@host/study")
    assert not has_password(file)
    assert not has_password(tmp_path / "missing")


def test_an_attempt_that_another_process_overtook_is_known_and_may_be_charged_twice():
    lines = [line(*each) for each in (("begin", "a", 1, 0.0), ("step", "a", 1, 1.0), ("step", "a", 1, 2.0))]
    lines += [line("begin", "a", 2, 9.0), line("step", "a", 2, 9.5), line("end", "a", 2, 10.0)]
    assert runs_of_killed(lines, [1]) == {("a", 1): [1.0, 2.0]}
    assert (
        unreported("sqlite", {("a", 1): [1.0, 2.0]}, lines),
        unreported("postgresql", {("a", 1): [1.0, 2.0]}, lines),
    ) == (1, 2)
    assert unreported("sqlite", {("a", 1): [1.0, 2.0, 9.2]}, lines) == 3  # another process had begun the run by then
    assert (overtaken(lines, [1]), overtaken(lines, [])) == (0, 2)
    assert paid_twice(lines) == 0
    assert paid_twice([*lines, line("end", "a", 1, 11.0)]) == 100 + 2


@pytest.mark.parametrize(
    ("figure", "misses"),
    [
        ({"asked": 10, "landed": 9}, ["landed: 9 of 10"]),
        ({"runs": 6, "finished": 5}, ["finished: 5 of 6"]),
        ({"processes_left": 1}, ["processes_left: 1"]),
        ({"late": 1, "late_ended": 1, "late_kept": 0}, ["late_kept: 0 of 1"]),
        ({"hits": ["printed"], "unexplained": 3}, ["unexplained: 3", "hits: ['printed']"]),
        ({"named_otherwise": ["hung: killed"]}, ["named_otherwise: ['hung: killed']"]),
        ({"landed": 3, "difference": -6, "charged": 94, "updates": 100}, []),
        ({"landed": 3, "difference": -7, "charged": 93, "updates": 100}, ["the cost has 93 updates of 100"]),
    ],
)
def test_a_figure_that_falls_short_says_by_what(figure, misses):
    assert missed("workers", figure, is_short=False) == misses


def test_times_count_in_the_full_form_alone():
    figure = {"mean_ms": 151.0}
    assert missed("overhead ray", figure, is_short=False) == ["mean_ms: 151.0 is above 150"]
    assert missed("overhead ray", figure, is_short=True) == []


def test_an_unknown_figure_is_refused_with_those_that_there_are():
    command = [sys.executable, str(STUDY / "measure.py"), "--only", "drvers"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such figure: drvers; there are share pool, share ray" in done.stderr
