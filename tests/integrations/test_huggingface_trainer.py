"""The Hugging Face Trainer's optimizer has exactly the policy's LR at each update, whatever is trained how."""

import gc
import shutil
import warnings

import numpy as np
import pytest
import torch

import lrsearch as lrs
from lrsearch.errors import PolicyError, SchedulerWarning, UsageError
from lrsearch.runs.job import Job
from lrsearch.runs.run import RunSpec
from lrsearch.runs.stop import Stop
from lrsearch.training.range_test import RangeTest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the library imports
    from transformers import (
        EarlyStoppingCallback,
        PretrainedConfig,
        PreTrainedModel,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from lrsearch.integrations.huggingface import TrainerRangeTest, attach
    from lrsearch.integrations.huggingface.job import last_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _quick_collection():
    """Each training collects garbage once: what the imports made is left out of it."""
    gc.freeze()
    yield
    gc.unfreeze()


X = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
DATA = [{"x": x, "labels": x.sum()} for x in X]
COSINE = lrs.parse("WARMUP(policy=HALFCOS(k0=0.05, l=14), l=4)")
LONGER = COSINE.stretch(2)


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
        predicted = self.line(x)[:, 0]
        return {"loss": (predicted - labels).square().mean(), "logits": predicted}


class Listening(TrainerCallback):
    """Records the LR of each update, and where the Trainer evaluates."""

    def __init__(self):
        self.lrs, self.evaluated, self.hook = [], [], None

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        inner = optimizer.optimizer
        self.hook = inner.register_step_pre_hook(
            lambda *_: self.lrs.append([float(group["lr"]) for group in inner.param_groups])
        )

    def on_train_end(self, args, state, control, **kwargs):
        self.hook.remove()

    def on_evaluate(self, args, state, control, **kwargs):
        self.evaluated.append(state.global_step)


def close(prediction):
    return {"distance": float(np.abs(prediction.predictions - prediction.label_ids).mean())}


def trainer_in(folder, kind=Trainer, callbacks=(), model=None, optimizers=(None, None), **options):
    arguments = Seq2SeqTrainingArguments if kind is Seq2SeqTrainer else TrainingArguments
    options = {"max_steps": 18, "per_device_train_batch_size": 8, "save_strategy": "no", **options}
    init = {"model_init": Line} if model == "init" else {"model": model or Line()}
    return kind(
        args=arguments(
            output_dir=str(folder),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
            **options,
        ),
        train_dataset=DATA[:32],
        eval_dataset=DATA[32:],
        compute_metrics=close,
        callbacks=list(callbacks),
        optimizers=optimizers,
        **init,
    )


def job_of(policy=COSINE, horizon=18, metric="distance", folder=None, seed=3, stop=None):
    task = lrs.Task(name="line", horizon=horizon, epoch=4, objectives=(lrs.minimize(metric),))
    return Job(RunSpec(task, policy, horizon, seed, stop), folder=folder)


def expected(policy, updates):
    return [policy(t) for t in updates]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": Seq2SeqTrainer},
        {"model": "init"},
        {"gradient_accumulation_steps": 3},
        {"max_steps": -1, "num_train_epochs": 4.5},
        {"bf16": True, "max_grad_norm": 0.5},
        {"eval_strategy": "epoch"},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_each_update_has_the_lr_of_the_policy(tmp_path, options) -> None:
    heard = Listening()
    trainer = trainer_in(tmp_path, callbacks=[heard], **options)
    attach(trainer, str(COSINE))
    trainer.train()
    assert [group[0] for group in heard.lrs] == expected(COSINE, range(18))
    assert trainer.lr_scheduler.last_epoch == 18


def test_param_groups_keep_their_ratios(tmp_path) -> None:
    model, heard = Line(), Listening()
    groups = [{"params": [model.line.weight], "lr": 1e-3}, {"params": [model.line.bias], "lr": 2.5e-4}]
    trainer = trainer_in(tmp_path, model=model, callbacks=[heard], optimizers=(torch.optim.AdamW(groups), None))
    attach(trainer, COSINE)
    trainer.train()
    assert heard.lrs == [[COSINE(t), 0.25 * COSINE(t)] for t in range(18)]


def test_a_second_policy_takes_the_place_of_the_first(tmp_path) -> None:
    heard = Listening()
    trainer = trainer_in(tmp_path, callbacks=[heard])
    attach(trainer, "FIX(k0=0.01)")
    trainer.train()
    attach(trainer, COSINE)
    trainer.train()
    assert [group[0] for group in heard.lrs] == [0.01] * 18 + expected(COSINE, range(18))
    assert Trainer.create_scheduler.__qualname__ == "Trainer.create_scheduler"


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("source", ["policy", "longer", "job", "init"])
def test_a_resumed_training_goes_on_to_the_bit(tmp_path, source, accumulate) -> None:
    """Stopped in the middle of an epoch, and resumed under the same or a longer policy."""
    common = {"gradient_accumulation_steps": accumulate, "save_strategy": "steps", "save_steps": 7}
    whole, heard = trainer_in(tmp_path / "whole", **common), Listening()
    attach(whole, COSINE)
    whole.train()
    again = trainer_in(
        tmp_path / "again",
        callbacks=[heard],
        **common,
        model="init" if source == "init" else None,
        **({"max_steps": 28} if source == "longer" else {}),
    )
    checkpoint = str(tmp_path / "whole" / "checkpoint-7")
    if source == "longer":
        attach(again, LONGER, adopt=True)
        with pytest.warns(SchedulerWarning, match="adopted at step 7"):
            again.train(resume_from_checkpoint=checkpoint)
        assert [group[0] for group in heard.lrs] == expected(LONGER, range(7, 28))
        return
    attach(again, job_of() if source == "job" else COSINE)
    again.train(resume_from_checkpoint=checkpoint)
    assert [group[0] for group in heard.lrs] == expected(COSINE, range(7, 18))
    if source != "job":  # a job has a seed of its own
        for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
            assert torch.equal(one, other)


def test_another_policy_is_not_resumed_unasked(tmp_path) -> None:
    first = trainer_in(tmp_path, save_strategy="steps", save_steps=7)
    attach(first, COSINE)
    first.train()
    second = trainer_in(tmp_path, max_steps=28)
    attach(second, LONGER)
    with pytest.raises(PolicyError, match="adopt=True"):
        second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))


class Skipping(TrainerCallback):
    """Gives the Trainer a gradient scaler, as fp16 on a GPU does, and spoils the gradients of some updates."""

    def __init__(self, spoiled):
        self.spoiled = spoiled

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        self.trainer.accelerator.scaler = optimizer.scaler = scaler
        optimizer.__setstate__({})

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step in self.spoiled:
            model.line.weight.grad.fill_(torch.inf)


@pytest.mark.parametrize("as_job", [False, True])
@pytest.mark.parametrize("spoiled", [(0,), (5, 6, 11)])
def test_updates_that_a_gradient_scaler_skips(tmp_path, as_job, spoiled) -> None:
    """A policy waits, as Trainer's own schedulers do; a job counts the Trainer's steps, and is told of the skipped."""
    heard, skipping = Listening(), Skipping(spoiled)
    skipping.trainer = trainer = trainer_in(tmp_path, callbacks=[heard, skipping], optim="adamw_torch")
    job = job_of()
    attach(trainer, job if as_job else COSINE)
    trainer.train()
    made = [t for t in range(18) if t not in spoiled]
    assert [group[0] for group in heard.lrs] == expected(COSINE, made if as_job else range(len(made)))
    if as_job:
        assert (job.step, job.skipped, job.changed) == (18, len(spoiled), None)


@pytest.mark.parametrize("metric", ["distance", "eval_distance", "val_loss", "eval_loss", "loss"])
def test_a_job_logs_its_losses_and_its_metric_where_it_evaluates(tmp_path, metric) -> None:
    heard, job = Listening(), job_of(metric=metric, folder=tmp_path / "job")
    trainer = trainer_in(tmp_path, callbacks=[heard], max_steps=-1, eval_strategy="epoch", num_train_epochs=100)
    attach(trainer, job)
    trainer.train()
    due = [step for step in range(1, 19) if job.is_evaluation_due(step)]
    assert heard.evaluated == due == [4, 8, 12, 16, 18]
    assert [point.step for point in job.points] == due
    key = "eval_loss" if "loss" in metric else "eval_distance"
    logged = [entry[key] for entry in trainer.state.log_history if key in entry]
    assert [point.score for point in job.points] == logged
    losses = job.values.series["train_loss"]
    assert [step for step, _ in losses] == list(range(1, 19))
    assert job.step == 18 and job.changed is None and trainer.args.output_dir == str(tmp_path / "job")


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_logged_loss_is_that_of_the_whole_update(tmp_path, accumulate) -> None:
    job = job_of(lrs.FIX(k0=0.01))
    trainer = trainer_in(tmp_path, gradient_accumulation_steps=accumulate, per_device_train_batch_size=32 // accumulate)
    attach(trainer, job)
    with torch.no_grad():
        first = float(trainer.model(X[:32], X[:32].sum(1))["loss"])
    trainer.train()
    assert job.values.series["train_loss"][0][1] == pytest.approx(first, rel=1e-6)


def test_a_job_stops_where_it_is_to(tmp_path) -> None:
    job, heard = job_of(stop=Stop(target=1e9)), Listening()
    trainer = trainer_in(tmp_path, callbacks=[heard])
    attach(trainer, job)
    trainer.train()
    assert job.stopped_at == 4 == len(heard.lrs)


def test_a_job_has_its_seed_for_the_data_too(tmp_path) -> None:
    def losses(seed):
        job = job_of(lrs.FIX(k0=1e-9), seed=seed)
        torch.manual_seed(0)
        trainer = trainer_in(tmp_path, model=Line())
        attach(trainer, job)
        trainer.train()
        return job.values.series["train_loss"]

    assert losses(1) == losses(1) != losses(2)


def test_a_killed_job_goes_on_from_its_folder(tmp_path) -> None:
    class Killing(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 13:
                raise KeyboardInterrupt

    options = {"save_strategy": "steps", "save_steps": 5}
    first = job_of(folder=tmp_path)
    trainer = trainer_in(tmp_path / "elsewhere", callbacks=[Killing()], **options)
    attach(trainer, first)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    (tmp_path / "checkpoint-12").mkdir()  # killed while it was saved
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    second, heard = job_of(folder=tmp_path), Listening()
    assert second.resumed
    trainer = trainer_in(tmp_path / "elsewhere", callbacks=[heard], **options)
    attach(trainer, second)
    trainer.train()
    assert [group[0] for group in heard.lrs] == expected(COSINE, range(10, 18))
    assert second.step == 18 and not list((tmp_path / "elsewhere").iterdir())


def test_a_run_whose_lr_somebody_else_sets_says_so(tmp_path) -> None:
    class Meddling(TrainerCallback):
        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            if state.global_step == 5:
                optimizer.param_groups[0]["lr"] = 0.5

    job = job_of()
    trainer = trainer_in(tmp_path, callbacks=[Meddling()])
    attach(trainer, job)
    with pytest.warns(SchedulerWarning, match="something else sets it too"):
        trainer.train()
    assert "at update 6 a param group had LR 0.5" in job.changed


def test_a_controller_learns_from_the_validation_loss(tmp_path) -> None:
    plateau = lrs.parse("PLATEAU(k0=0.1, gamma=0.5, patience=0)")
    with pytest.raises(UsageError, match="set eval_strategy"):
        attach(trainer_in(tmp_path), plateau)
    for source in (plateau, job_of(plateau, metric="val_loss")):
        heard = Listening()
        trainer = trainer_in(tmp_path, callbacks=[heard], eval_strategy="steps", eval_steps=3, learning_rate=1.0)
        attach(trainer, source)
        trainer.train()
        state, expected_lrs, losses = plateau.begin(), [], dict(_losses_of(trainer))
        for t in range(18):
            if t in losses:
                state = state.after(losses[t], t)
            expected_lrs.append(state.lr(t, 0.0))
        assert [group[0] for group in heard.lrs] == expected_lrs


def test_a_controller_without_a_validation_loss_says_what_there_is(tmp_path) -> None:
    plateau = lrs.parse("PLATEAU(k0=0.1, gamma=0.5, patience=0)")
    trainer = trainer_in(tmp_path, eval_strategy="epoch")
    trainer.eval_dataset = {"near": DATA[32:40], "far": DATA[40:]}
    with pytest.raises(UsageError, match=r"learns from eval_loss, .* has eval_near_loss, eval_far_loss"):
        attach(trainer, plateau)
    trainer.eval_dataset = DATA[32:]
    attach(trainer, plateau)
    trainer.eval_dataset = {"near": DATA[32:40], "far": DATA[40:]}
    with pytest.raises(UsageError, match=r"learns from eval_loss, which .* It has: .*eval_near_distance"):
        trainer.train()


def _losses_of(trainer):
    return [(entry["step"], entry["eval_loss"]) for entry in trainer.state.log_history if "eval_loss" in entry]


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"model": "init"}])
def test_a_range_test_changes_nothing(tmp_path, options) -> None:
    def weights(with_test):
        torch.manual_seed(1)
        trainer = trainer_in(
            tmp_path,
            model=options.get("model") or Line(),
            **{k: v for k, v in options.items() if k != "model"},
            save_strategy="steps",
        )
        test = None
        before = [p.detach().clone() for p in trainer.model.parameters()]
        if with_test:
            test = TrainerRangeTest(trainer, low=1e-4, high=10, steps=40)
            trainer.train()
            for one, other in zip(before, trainer.model.parameters(), strict=True):
                assert "model" in options or torch.equal(one, other)
            assert not list(tmp_path.iterdir()) and trainer.args.max_steps == 18
        attach(trainer, COSINE)
        trainer.train()
        return [p.detach() for p in trainer.model.parameters()], test

    tested, test = weights(True)
    for path in tmp_path.iterdir():
        assert path.name.startswith("checkpoint")
    assert test.advice.verdict in ("found", "edge", "flat")
    assert list(test.ramp.lrs[:2]) == [test._test.policy(0), test._test.policy(1)]
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    for one, other in zip(tested, weights(False)[0], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("source", [None, COSINE])
def test_a_trainer_that_has_trained_makes_a_new_scheduler_after_a_range_test(tmp_path, source) -> None:
    def lrs_of(with_test):
        heard = Listening()
        trainer = trainer_in(tmp_path, callbacks=[heard])
        trainer.train()
        if with_test:
            TrainerRangeTest(trainer, low=1e-4, high=1.0, steps=20)
            trainer.train()
        heard.lrs.clear()
        if source is not None:
            attach(trainer, source)
        trainer.train()
        return heard.lrs

    assert len(lrs_of(with_test=False)) == 18
    assert lrs_of(with_test=True) == lrs_of(with_test=False)


def test_a_range_test_refuses_what_it_cannot_make(tmp_path) -> None:
    trainer = trainer_in(tmp_path)
    for bad in ({"steps": 0}, {"low": 1.0, "high": 0.1}, {"shape": "round"}):
        with pytest.raises(UsageError):
            TrainerRangeTest(trainer, **bad)
    test = TrainerRangeTest(trainer, shape="linear")  # none of the refused ones is attached
    assert test._steps == RangeTest(trainer.model, torch.optim.SGD(trainer.model.parameters(), lr=1.0)).steps


def test_a_range_test_that_fails_puts_everything_back(tmp_path) -> None:
    class Failing(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 9:
                raise RuntimeError("the disk is full")

    failing = Failing()
    trainer = trainer_in(tmp_path, callbacks=[failing])
    before = [p.detach().clone() for p in trainer.model.parameters()]
    test = TrainerRangeTest(trainer, steps=30)
    with pytest.raises(UsageError, match="not made yet"):
        _ = test.advice
    with pytest.raises(UsageError, match="waits to be run"):
        attach(trainer, COSINE)
    with pytest.raises(RuntimeError, match="disk is full"):
        trainer.train()
    for one, other in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(one, other)
    trainer.remove_callback(failing)
    attach(trainer, COSINE)
    assert trainer.train().global_step == 18


def test_what_would_be_ignored_is_said(tmp_path) -> None:
    for options in ({"warmup_steps": 5}, {"lr_scheduler_type": "cosine"}, {"lr_scheduler_kwargs": {"num_cycles": 2}}):
        (name,) = options
        with pytest.warns(SchedulerWarning, match=f"{name} of the TrainingArguments not used"):
            attach(trainer_in(tmp_path, **options), COSINE)


def test_what_cannot_be_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"takes a transformers\.Trainer first, got an object of type Line"):
        attach(Line(), COSINE)
    with pytest.raises(UsageError, match=r"takes a transformers\.Trainer first"):
        TrainerRangeTest(Line())
    with pytest.raises(PolicyError, match="policy, its text or a job"):
        attach(trainer_in(tmp_path), 0.1)
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    given = trainer_in(tmp_path, model=model, optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)))
    with pytest.raises(UsageError, match=r"optimizers=\(optimizer, None\)"):
        attach(given, COSINE)
    attached = trainer_in(tmp_path)
    attach(attached, COSINE)
    with pytest.raises(UsageError, match="make the range test first"):
        TrainerRangeTest(attached)


@pytest.mark.parametrize(
    "source", [job_of(), "PLATEAU(k0=0.1, gamma=0.5, patience=0)", lrs.Space.standard("TRI", horizon=18, epoch=4)]
)
def test_a_policy_alone_adopts(tmp_path, source) -> None:
    with pytest.raises(UsageError, match="leave out adopt"):
        attach(trainer_in(tmp_path, eval_strategy="epoch"), source, adopt=True)


def test_deepspeed_is_refused(tmp_path) -> None:
    """It is not installed here: the Trainer says by this attribute that it is to be used."""
    trainer = trainer_in(tmp_path)
    trainer.is_deepspeed_enabled = True
    for refused in (
        lambda: attach(trainer, COSINE),
        lambda: attach(trainer, job_of()),
        lambda: TrainerRangeTest(trainer),
    ):
        with pytest.raises(UsageError, match="DeepSpeed steps a scheduler of its own"):
            refused()


def test_what_a_job_excludes_is_refused(tmp_path) -> None:
    early = EarlyStoppingCallback()
    stopping = trainer_in(tmp_path, callbacks=[early], eval_strategy="epoch", metric_for_best_model="distance")
    with pytest.raises(UsageError, match="leave the EarlyStoppingCallback out"):
        attach(stopping, job_of())
    without = trainer_in(tmp_path)
    without.eval_dataset = None
    with pytest.raises(UsageError, match="give the Trainer an eval_dataset"):
        attach(without, job_of())
    with pytest.raises(UsageError, match="batch size that fits"):
        attach(trainer_in(tmp_path, auto_find_batch_size=True), job_of())
    unknown = trainer_in(tmp_path)
    attach(unknown, job_of(metric="bleu"))
    with pytest.raises(UsageError, match=r"no metric 'bleu'.*eval_distance, eval_loss"):
        unknown.train()
    with pytest.raises(UsageError, match=r"job\.scheduler was called before"):
        unknown.train()
