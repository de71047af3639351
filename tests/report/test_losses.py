"""Lines about lost attempts and idle workers."""

from lrsearch.report.losses import lost_lines, usage_line
from lrsearch.runs import Run, RunSpec, RunState, Task, minimize
from lrsearch.runs.executor import Usage
from lrsearch.runs.lost import Cause, Death, LostAttempt
from lrsearch.schedules import FIX
from lrsearch.study.driven import Driven

TASK = Task(name="mine", horizon=100, epoch=10, objectives=(minimize("loss"),))


def lost(seed, cause=Cause.KILLED):
    run = Run(state=RunState.INTERRUPTED, steps=1, seconds=2.0)
    return LostAttempt(RunSpec(TASK, FIX(k0=0.1), 100, seed), 1, Death(cause, "by SIGKILL"), run, is_last=False)


def test_what_was_lost_is_counted_and_the_first_few_are_named():
    assert lost_lines(Driven()) == []
    counted, first, *_, more = lost_lines(Driven((*map(lost, range(6)), lost(6, Cause.MEMORY))))
    assert counted == "7 attempts with a process that ended: 6 killed, 1 out of memory"
    assert first == (
        "attempt 1 of FIX(k0=0.1) (seed 0) was lost after 1 update, killed: by SIGKILL; it was trained again"
    )
    assert more == "and 2 more"
    assert len(lost_lines(Driven(tuple(map(lost, range(5)))))) == 6


def test_idle_time_is_of_several_workers():
    assert usage_line(Driven()) is None
    assert usage_line(Driven(usage=Usage(1, 100.0, 90.0))) is None
    assert usage_line(Driven(usage=Usage(2, 240.0, 223.2))) == (
        "2 workers trained 93 % of 120 s; 17 s waited for runs in progress"
    )
