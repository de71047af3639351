"""What Optuna calls a study's best trial, and what the search's answer is: they may differ, and this says so.

Optuna's rule is the best value of a complete trial, in the objective's direction. Here that is the score of the
search's own seed, which chose the policy; the answer is decided on fresh seeds. No value is changed for that: a
sentence names the answer's trial, in the study's note, its user attributes, and the notes of both trials. (Optuna takes
no attribute of an ended trial.)
"""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from lrsearch.report.markdown import escape
from lrsearch.report.metric import name_of
from lrsearch.report.summary import answer_trial
from lrsearch.runs import Objective
from lrsearch.samplers.mirror import NUMBER
from lrsearch.study.result import SearchResult

VERDICT, ANSWER, ANSWER_TRIAL, BEST_FOUND, OPTUNA_BEST = (
    f"lrsearch:{name}" for name in ("verdict", "answer", "answer trial", "best found", "Optuna's best trial")
)


def metric_name(objective: Objective) -> str:
    """What Optuna calls the value of a trial."""
    return f"{name_of(objective)}, the search's own seed"


def optuna_best(result: SearchResult, optuna_study: optuna.Study) -> str:
    """A sentence: which trial Optuna calls the best, and which is the answer."""
    answer, best = _answer(result, optuna_study), _best(optuna_study)
    value = "a trial's value is the score of the search's own seed"
    if best is None:
        return f"Optuna has no best trial here: none is complete, and {value}."
    if answer is None:
        return f"Optuna's best trial, number {best.number}, is not the answer, which is no trial here; {value}."
    if answer.number == best.number:
        return f"Optuna's best trial, number {best.number}, is the answer; {value}."
    return (
        f"Optuna's best trial, number {best.number}, is not the answer: that is trial number {answer.number};"
        f" {value}, and the verdict says what decides."
    )


def mark_answer(result: SearchResult, optuna_study: optuna.Study) -> None:
    """Write the answer into the study's user attributes, and into the notes of its trial and of Optuna's best."""
    from optuna_dashboard import save_note

    answer, best, sentence = _answer(result, optuna_study), _best(optuna_study), optuna_best(result, optuna_study)
    attributes = {
        VERDICT: result.verdict,
        ANSWER: str(result.best.policy),
        ANSWER_TRIAL: answer.number if answer else None,
        BEST_FOUND: str(result.best_found.policy) if result.best_found else None,
        OPTUNA_BEST: sentence,
    }
    for name, value in attributes.items():
        optuna_study.set_user_attr(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna_study.set_metric_names([metric_name(result.decision.objective)])
    for trial in {one.number: one for one in (answer, best) if one}.values():
        save_note(optuna.Trial(optuna_study, trial._trial_id), f"{escape(result.verdict)}\n\n{escape(sentence)}\n")


def is_noted(result: SearchResult, optuna_study: optuna.Study) -> bool:
    """Whether the study already states this answer."""
    return optuna_study.user_attrs.get(VERDICT) == result.verdict


def _best(optuna_study: optuna.Study) -> FrozenTrial | None:
    complete = optuna_study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return optuna_study.best_trial if complete else None


def _answer(result: SearchResult, optuna_study: optuna.Study) -> FrozenTrial | None:
    """Find the answer's full run among the trials; Optuna's space cannot hold every policy, and drops what diverged."""
    trial = answer_trial(result)
    complete = optuna_study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    wanted = trial.number if trial else None
    return next((one for one in complete if one.user_attrs.get(NUMBER) == wanted), None)
