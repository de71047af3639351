"""`Trainer.hyperparameter_search` searches policies: each trial trains under its own, the best one is returned."""

import gc
import warnings

import optuna
import pytest
import torch

import lrsearch as lrs
from lrsearch.errors import UsageError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the library imports
    from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

    from lrsearch.integrations.huggingface import attach

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module", autouse=True)
def _quick_collection():
    """Each training collects garbage once: what the imports made is left out of it."""
    gc.freeze()
    yield
    gc.unfreeze()


X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
DATA = [{"x": x, "labels": x.sum()} for x in X]
SPACE = lrs.Space.standard("TRI", "HALFCOS", "FIX", horizon=8, epoch=4, peak=(1e-4, 1.0))
KNOWN = lrs.parse("HALFCOS(k0=0.123456, l=8)")


class Line(PreTrainedModel):
    """A linear model, which returns its loss first."""

    config_class = PretrainedConfig

    def __init__(self, config=None):
        super().__init__(config or PretrainedConfig())
        self.line = torch.nn.Linear(4, 1)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, x, labels):
        return {"loss": (self.line(x)[:, 0] - labels).square().mean()}


class Listening(TrainerCallback):
    """Records the LRs of each training in a list of its own."""

    def __init__(self):
        self.trainings = []

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        self.trainings.append(lrs_used := [])
        inner = optimizer.optimizer
        inner.register_step_pre_hook(lambda *_: lrs_used.append(float(inner.param_groups[0]["lr"])))


def searching(folder, heard=None, **options):
    trainer = Trainer(
        args=TrainingArguments(
            output_dir=str(folder),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="epoch",
            dataloader_pin_memory=False,
            num_train_epochs=2,
            **options,
        ),
        model_init=lambda: Line(),
        train_dataset=DATA,
        eval_dataset=DATA,
        callbacks=[heard] if heard else [],
    )
    attach(trainer, SPACE)
    return trainer


def test_each_optuna_trial_trains_under_its_policy(tmp_path) -> None:
    heard, storage = Listening(), optuna.storages.InMemoryStorage()
    trainer = searching(tmp_path, heard)
    best = trainer.hyperparameter_search(
        n_trials=6, storage=storage, study_name="policies", sampler=optuna.samplers.RandomSampler(seed=1)
    )
    trials = optuna.load_study(study_name="policies", storage=storage).trials
    policies = [lrs.parse(trial.user_attrs["lrsearch:policy"]) for trial in trials]
    assert heard.trainings == [[policy(t) for t in range(8)] for policy in policies]
    assert len({trial.value for trial in trials}) == len(set(policies)) == 6
    lowest = min(trials, key=lambda trial: trial.value)
    assert best.objective == lowest.value
    assert best.hyperparameters == {**lowest.params, "policy": str(policies[lowest.number])}
    attach(trainer, best.hyperparameters["policy"])
    trainer.train()
    assert trainer.evaluate()["eval_loss"] == best.objective


def test_other_arguments_are_searched_beside_the_policy(tmp_path) -> None:
    seen, trainer = [], searching(tmp_path)

    def decay(trial):
        seen.append(trial.suggest_float("weight_decay", 0.0, 0.1))
        return {"weight_decay": seen[-1]}

    best = trainer.hyperparameter_search(hp_space=decay, n_trials=2, backend="optuna")
    assert best.hyperparameters["weight_decay"] in seen and "policy" in best.hyperparameters
    assert trainer.args.weight_decay == seen[-1]


def test_a_warm_started_study_is_taken_up(tmp_path) -> None:
    heard, where = Listening(), {"storage": f"sqlite:///{tmp_path / 'trials.db'}", "study_name": "policies"}
    lrs.warm_start(optuna.create_study(**where), SPACE, [KNOWN])
    best = searching(tmp_path, heard).hyperparameter_search(n_trials=1, load_if_exists=True, **where)
    assert heard.trainings == [[KNOWN(t) for t in range(8)]]
    assert best.hyperparameters["policy"] == str(KNOWN)


def test_several_objectives_give_several_best_runs(tmp_path) -> None:
    front = searching(tmp_path).hyperparameter_search(
        n_trials=3, direction=["minimize", "minimize"], compute_objective=lambda m: [m["eval_loss"], -m["eval_loss"]]
    )
    assert len(front) == 3 and all(lrs.parse(one.hyperparameters["policy"]) for one in front)


def test_what_would_search_wrong_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="horizon is 8 updates, and the Trainer trains 5"):
        searching(tmp_path, max_steps=5).hyperparameter_search(n_trials=1)
    trainer = searching(tmp_path)
    with pytest.raises(UsageError, match="attach a policy to train"):
        trainer.train()
    with pytest.raises(UsageError, match="leave out n_jobs"):
        trainer.hyperparameter_search(n_trials=2, n_jobs=2)
    with pytest.raises(UsageError, match="with backend='optuna' or 'ray', got 'wandb'"):
        trainer.hyperparameter_search(n_trials=2, backend="wandb")
    with pytest.raises(UsageError, match="leave out search_alg"):
        trainer.hyperparameter_search(n_trials=2, backend="ray", search_alg=None)
    with pytest.raises(UsageError, match="its policy's text under 'policy'; this one has: weight_decay"):
        trainer.train(trial={"weight_decay": 0.1})


@pytest.mark.adapters
@pytest.mark.ray
def test_each_ray_trial_trains_under_its_policy(tmp_path) -> None:
    """Policies are drawn from the space."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    try:
        best = searching(tmp_path).hyperparameter_search(
            backend="ray", n_trials=3, storage_path=str(tmp_path / "ray"), verbose=0
        )
        trials = best.run_summary.trials
        policies = [lrs.parse(trial.config["policy"]) for trial in trials]
        assert len({trial.last_result["objective"] for trial in trials}) == len(set(policies)) == 3
        trainer = searching(tmp_path)
        attach(trainer, best.hyperparameters["policy"])
        trainer.train()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(best.objective, rel=1e-5)
    finally:
        ray.shutdown()
