"""Trainings of the Trainer in two ranks under torchrun: a range test, a policy by itself, a search, and a job."""

import warnings

import torch
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

import lrsearch as lrs
from lrsearch.integrations.huggingface import TrainerRangeTest, attach

X = torch.randn(320, 4, generator=torch.Generator().manual_seed(0))
DATA = [{"x": x, "labels": x.sum()} for x in X]
USED: list[float] = []


class Line(PreTrainedModel):
    """A linear model, which returns its loss first."""

    config_class = PretrainedConfig

    def __init__(self) -> None:
        super().__init__(PretrainedConfig())
        torch.manual_seed(0)
        self.line = torch.nn.Linear(4, 1)
        self.post_init()

    def _init_weights(self, module) -> None:
        pass

    def forward(self, x, labels):
        predicted = self.line(x)[:, 0]
        return {"loss": (predicted - labels).square().mean(), "logits": predicted}


class Recording(TrainerCallback):
    """Records the LR of each update."""

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        USED.clear()
        self.hook = optimizer.optimizer.register_step_pre_hook(
            lambda inner, *_: USED.append(float(inner.param_groups[0]["lr"]))
        )

    def on_train_end(self, args, state, control, **kwargs):
        self.hook.remove()


def close(prediction):
    return {"distance": float(abs(prediction.predictions - prediction.label_ids).mean())}


def trainer_of(max_steps: int = 30, accumulate: int = 1, **model) -> Trainer:
    arguments = TrainingArguments(
        str(job.folder / "trainings"),
        max_steps=max_steps,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulate,
        use_cpu=True,
        ddp_backend="gloo",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
    )
    return Trainer(
        args=arguments,
        train_dataset=DATA[:256],
        eval_dataset=DATA[256:],
        compute_metrics=close,
        callbacks=[Recording()],
        **(model or {"model": Line()}),
    )


def say(what: str, policy: lrs.Policy, *more: object) -> None:
    """Print the ranks, the updates, and how far the largest LR was from the policy's."""
    ranks = torch.distributed.get_world_size()
    line = f"{what}: {ranks} {len(USED)} {max(abs(lr - policy(t)) for t, lr in enumerate(USED))}"
    print(" ".join([line, *map(str, more)]) + "\n", end="", flush=True)  # in one piece, beside the other rank


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    job = lrs.job()

    trainer = trainer_of()
    test = TrainerRangeTest(trainer, low=1e-4, high=10.0, steps=40)
    trainer.train()
    is_restored = torch.equal(trainer.model.line.weight, Line().line.weight)
    say("range test", test._test.policy, sum(test.ramp.losses), f"restored: {is_restored}")

    for accumulate in (1, 3):
        attach(trainer := trainer_of(accumulate=accumulate), job.policy)
        trainer.train()
        say(f"policy of {accumulate}", job.policy)

    space = lrs.Space.standard("TRI", "HALFCOS", horizon=8, epoch=4, peak=(1e-4, 1.0))
    attach(trainer := trainer_of(8, model_init=lambda: Line()), space)
    best = trainer.hyperparameter_search(n_trials=2, backend="optuna")
    policy = trainer.lr_scheduler.policy
    say("search", policy, policy)
    if best is not None:
        print(f"best: {best.hyperparameters['policy']}", flush=True)

    attach(trainer := trainer_of(accumulate=2), job)
    trainer.train()
    say("job", job.policy, [point.score for point in job.points])
