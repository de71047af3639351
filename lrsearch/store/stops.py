"""The state of a run that an exception ended: some exceptions of other libraries are intended stops, not errors.

They are recognized by name, so that no library is imported. `StopIteration` is not one of them: `next` raises it when
the data run out too. Keras, transformers and Ignite stop by flags, without an exception.
"""

from collections.abc import Mapping
from types import MappingProxyType, TracebackType

from lrsearch.runs import RunState

STOPS: Mapping[str, str] = MappingProxyType(
    {
        "optuna.exceptions.TrialPruned": "a pruner of Optuna ended the trial",
        "fastai.callback.core.CancelFitException": "a callback of fastai ended the training",
        "lightning.pytorch.utilities.exceptions._TunerExitException": "Lightning's tuner has what it wanted to know",
        "pytorch_lightning.utilities.exceptions._TunerExitException": "the same under Lightning's older name",
    }
)
"""Exceptions by module and name, and why each is a stop. Their subclasses are stops too."""
EXITS: Mapping[str, str] = MappingProxyType({"ray.train._internal.session": "a scheduler of Ray Tune ended the trial"})
"""Modules whose `sys.exit(0)` is a stop, and why; from any other module it is an interruption."""


def state_of(error: BaseException) -> RunState:
    """The state of a run that this exception ended: stopped, failed or interrupted.

    >>> state_of(ValueError()), state_of(KeyboardInterrupt())
    (<RunState.FAILED: 'failed'>, <RunState.INTERRUPTED: 'interrupted'>)
    """
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    is_exit = isinstance(error, SystemExit) and not error.code and _raised_in(error.__traceback__) in EXITS
    if is_exit or names & STOPS.keys():
        return RunState.STOPPED
    return RunState.FAILED if isinstance(error, Exception) else RunState.INTERRUPTED


def _raised_in(trace: TracebackType | None) -> str:
    """The module whose code raised an exception."""
    module = ""
    while trace is not None:
        module, trace = str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_next
    return module
