"""Warnings of a search: policies that were not tried, an answer that was not confirmed, and the reasons."""

from collections.abc import Sequence

from lrsearch.runs.conclusion import NOT_CHECKED
from lrsearch.runs.roles import Role
from lrsearch.store import Trial
from lrsearch.study.decision import Decision
from lrsearch.study.funnel import best_candidate
from lrsearch.study.rules import FUNNEL
from lrsearch.study.strategy import Setup, committed, with_role
from lrsearch.words import counted


def out_of_time(hours: float | None, training: str = "search") -> str:
    """A clause: the time limit ended the search.

    >>> out_of_time(2)
    'the time limit of 2 h ended the search'
    """
    return f"the time limit{'' if hours is None else f' of {hours:g} h'} ended the {training}"


def untried(setup: Setup, history: Sequence[Trial], ended_by: str | None) -> list[str]:
    """Warnings that name the user's policies which were not tried.

    Args:
        setup: the setup of the study.
        history: its trials.
        ended_by: what ended the search before it was done, as a sentence; None where nothing did.
    """
    candidates = {trial.policy for trial in with_role(history, Role.CANDIDATE) if trial.run}
    tried = candidates | {trial.policy for trial in with_role(history, Role.DEFAULT)}
    missing = [policy for policy in setup.known if policy not in tried]
    paid = (
        f"tries {counted(len(candidates), 'policy', 'policies')} beside the default"
        if candidates
        else "pays for nothing beside the default"
    )
    why = ended_by or f"a budget of {setup.budget:g} FRE {paid}{_beside_lost(setup, history)}"
    return [f"{policy} was not tried: {why}" for policy in missing]


def unconfirmed(setup: Setup, history: Sequence[Trial], decision: Decision, ended_by: str | None) -> list[str]:
    """A warning where lost attempts, or the end of the time, left fewer confirming pairs than the budget paid for.

    Args:
        setup, history, ended_by: as for `untried`.
        decision: the decision.
    """
    best, lost = best_candidate(setup, history), _lost(history)
    if best is None or best.policy == decision.default.policy or not (lost or ended_by):
        return []
    confirming = with_role(history, Role.CONFIRM)
    others = [trial for trial in history if trial.role != Role.CONFIRM]
    paid = (setup.cap - committed(others) + _lost(others)) // (2 * setup.task.horizon)
    planned, done = min(paid, FUNNEL.most_pairs), sum(trial.run is not None for trial in confirming) // 2
    if done >= planned:
        return []
    why = ended_by or f"lost attempts cost {lost / setup.task.horizon:.2f} FRE"
    few = "no pair of runs" if not done else f"only {counted(done, 'pair')} of runs, not {planned},"
    return [f"{few} on fresh seeds compared the best policy with the default: {why}"]


def unchecked(decision: Decision, history: Sequence[Trial]) -> list[str]:
    """A warning where it was not checked that the answer's policy was applied."""
    answers = [trial.run for trial in history if trial.run and trial.policy == decision.best.policy]
    if not any(run.applied == NOT_CHECKED for run in answers):
        return []
    return ["the training never asked for job.scheduler(optimizer): whether its policies were applied was not checked"]


def handed_out(numbers: Sequence[int]) -> list[str]:
    """A warning that names the jobs which were handed out and have not ended.

    >>> handed_out([3, 5])
    ['2 jobs are out by `lrsearch study ask`: 3, 5; tell or release them, and the same call goes on']
    """
    if not numbers:
        return []
    jobs = "job is" if len(numbers) == 1 else "jobs are"
    named = ", ".join(map(str, numbers))
    return [
        f"{len(numbers)} {jobs} out by `lrsearch study ask`: {named}; tell or release them, and the same call goes on"
    ]


def _beside_lost(setup: Setup, history: Sequence[Trial]) -> str:
    """The part of the budget that was lost, in words; nothing where none was."""
    lost = _lost(history)
    return f", and lost attempts cost {lost / setup.task.horizon:.2f}" if lost else ""


def _lost(history: Sequence[Trial]) -> int:
    """The steps of attempts that did not end."""
    return sum(trial.stored.lost_steps for trial in history if trial.stored)
