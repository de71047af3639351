"""A space as what `trainer.hyperparameter_search` searches, with Optuna or Ray Tune."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import uuid4

import torch
from torch.optim import Optimizer
from transformers import Trainer

from lrsearch.errors import UsageError
from lrsearch.integrations.huggingface.policy import TrainerPolicy
from lrsearch.integrations.source import read_source
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.words import counted

POLICY = "policy"
HPSpace = Callable[[Any], dict[str, Any]]


class TrainerSearch(TrainerPolicy):
    """Trains each trial of `trainer.hyperparameter_search` under its own policy.

    Args:
        trainer: a Trainer with a `model_init`.
        space: the policies to search; its horizon is what the Trainer trains.

    Raises:
        UsageError: if the Trainer was given a scheduler, or trains with DeepSpeed.
    """

    replaced: ClassVar[tuple[str, ...]] = (*TrainerPolicy.replaced, "train", "hyperparameter_search")

    def __init__(self, trainer: Trainer, space: Space) -> None:
        self.space = space
        super().__init__(trainer, space.sample(_generator(0)))  # until there is a trial

    def require_evaluations(self) -> None:
        """A trial is evaluated at its end at least."""

    def hyperparameter_search(
        self,
        hp_space: HPSpace | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] = "minimize",
        backend: str | None = "optuna",
        **options: Any,
    ) -> Any:
        """Search, in the place of `Trainer.hyperparameter_search`; `hyperparameters["policy"]` is a trial's policy.

        Args:
            hp_space: other TrainingArguments to search beside the policy.
            compute_objective, n_trials, direction: as of the Trainer.
            backend: "optuna" or "ray".
            options: of the backend; `storage` and `study_name` of a warm-started Optuna study, for example.

        Raises:
            UsageError: for another backend, and what it would not search right.
        """
        search = {"optuna": self._by_optuna, "ray": self._by_ray}.get(str(getattr(backend, "value", backend)))
        if search is None:
            raise UsageError(f"a space is searched with backend='optuna' or 'ray', got {backend!r}")
        common = {"compute_objective": compute_objective, "n_trials": n_trials, "direction": direction}
        return search(hp_space or (lambda trial: {}), common | options)

    def train(self, resume_from_checkpoint: Any = None, trial: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train a trial under its policy."""
        if trial is None:
            raise UsageError(
                "this Trainer has a space, which hyperparameter_search searches; attach a policy to train:"
                " attach(trainer, best.hyperparameters['policy'])"
            )
        self.source = self._policy_of(trial)
        if isinstance(trial, dict):  # the Trainer takes what is in it for TrainingArguments
            trial = {name: value for name, value in trial.items() if name != POLICY}
        return self.call_original("train", resume_from_checkpoint, trial, *args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """The scheduler of the trial's policy."""
        if num_training_steps != self.space.horizon:
            raise UsageError(
                f"the space's horizon is {counted(self.space.horizon, 'update')}, and the Trainer trains"
                f" {num_training_steps}: make it Space.standard(..., horizon={num_training_steps})"
            )
        return super().create_scheduler(num_training_steps, optimizer)

    def _by_optuna(self, others: HPSpace, options: dict[str, Any]) -> Any:
        import optuna

        if options.get("n_jobs", 1) != 1:
            raise UsageError("the trials of one Trainer share its model: leave out n_jobs, and start more processes")
        if self._is_distributed:  # the Trainer tells rank 0 alone that a trial is pruned: the others would wait
            _require_no_pruner(options.setdefault("pruner", optuna.pruners.NopPruner()))
        options["storage"] = options.get("storage") or optuna.storages.InMemoryStorage()
        options["study_name"] = options.get("study_name") or f"no-name-{uuid4()}"

        def hp_space(trial: Any) -> dict[str, Any]:
            self.space.suggest(trial)
            return others(trial)

        best = self.call_original("hyperparameter_search", hp_space, backend="optuna", **options)
        if best is None:  # of a rank that is not the first
            return None
        study = optuna.load_study(study_name=options["study_name"], storage=options["storage"])
        return [_with_policy(one, study) for one in best] if isinstance(best, list) else _with_policy(best, study)

    def _by_ray(self, others: HPSpace, options: dict[str, Any]) -> Any:
        from ray import tune

        if "search_alg" in options:
            raise UsageError(
                "with Ray policies are drawn from the space: leave out search_alg, or use backend='optuna'"
            )
        generator, space = _generator(self.trainer.args.seed), self.space
        drawn = {POLICY: tune.sample_from(lambda _: str(space.sample(generator)))}
        return self.call_original("hyperparameter_search", lambda _: others(None) | drawn, backend="ray", **options)

    def _policy_of(self, trial: Any) -> Policy:
        """The policy of a trial; all ranks have that of the first."""
        if isinstance(trial, Mapping):
            if POLICY not in trial:
                raise UsageError(f"a trial has its policy's text under {POLICY!r}; this one has: {', '.join(trial)}")
            policy = read_source(trial[POLICY])
            assert isinstance(policy, Policy)
            return policy
        policy = self.space.suggest(trial)
        if hasattr(trial, "study"):
            from lrsearch.spaces.optuna import POLICY as MARK

            trial.set_user_attr(MARK, str(policy))
        return self._of_first_rank(policy)

    def _of_first_rank(self, policy: Policy) -> Policy:
        if not self._is_distributed:
            return policy
        texts = [str(policy)]
        torch.distributed.broadcast_object_list(texts, src=0)
        return read_source(texts[0])  # type: ignore[return-value]

    @property
    def _is_distributed(self) -> bool:
        return bool(self.trainer.args.world_size > 1)


def _with_policy(best: Any, study: Any) -> Any:
    """A best run with its policy's text among the hyperparameters."""
    from lrsearch.spaces.optuna import POLICY as MARK

    text = study.get_trials(deepcopy=False)[int(best.run_id)].user_attrs[MARK]
    return best._replace(hyperparameters=best.hyperparameters | {POLICY: text})


def _require_no_pruner(pruner: Any) -> None:
    import optuna

    if not isinstance(pruner, optuna.pruners.NopPruner):
        raise UsageError("the Trainer cannot prune trials of several processes: leave out the pruner")


def _generator(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed)
