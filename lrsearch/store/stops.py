"""How a run ended that an exception left: which exceptions of other libraries are a stop on purpose, and no error.

They are known by their names, so that no library is loaded for it. `StopIteration` is not among them: `next` raises it
where the data ran out as well. Keras, transformers and Ignite stop by flags, and raise nothing.
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
"""Exceptions by module and name, and why each is a stop. A class that is made from one of them is one as well."""
EXITS: Mapping[str, str] = MappingProxyType({"ray.train._internal.session": "a scheduler of Ray Tune ended the trial"})
"""Modules that end a run by `sys.exit(0)`, and why it is a stop; from anywhere else that is an interruption."""


def state_of(error: BaseException) -> RunState:
    """How a run ended that this exception left: stopped, failed or interrupted.

    >>> state_of(ValueError()), state_of(KeyboardInterrupt())
    (<RunState.FAILED: 'failed'>, <RunState.INTERRUPTED: 'interrupted'>)
    """
    names = {f"{one.__module__}.{one.__qualname__}" for one in type(error).__mro__}
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
