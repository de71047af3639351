"""Jobs in Lightning's own training: its length, validation, logging and stop are the job's."""

import inspect

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

import lrsearch as lrs
from lrsearch.errors import PolicyError, UsageError
from lrsearch.integrations.lightning import PolicyCallback
from lrsearch.runs.job import Job
from lrsearch.runs.run import RunSpec
from lrsearch.runs.stop import Stop

POLICY = lrs.parse("WARMUP(policy=HALFCOS(k0=0.1, l=28), l=4)")
HORIZON, EPOCH, BATCHES = 32, 5, 5
EVALUATIONS = [5, 10, 15, 20, 25, 30, 32]
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


def job_of(policy=POLICY, horizon=HORIZON, *, folder=None, stop=None, metric="val_loss", **options) -> Job:
    task = lrs.Task(name="toy", horizon=HORIZON, epoch=EPOCH, objectives=(lrs.minimize(metric),))
    return Job(RunSpec(task, policy, horizon, 0, stop), folder=folder, **options)


def batches(size: int = 1) -> DataLoader:
    x = torch.randn(BATCHES * size, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=size)


class Module(L.LightningModule):
    """Counts its losses and validations."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.losses, self.validated = torch.nn.Linear(4, 1), [], []

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def on_validation_epoch_end(self):
        self.validated.append(self.trainer.global_step)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Adversaries(Module):
    """Two optimizers, in manual optimization; nothing is returned, `train_loss` is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization, self.other = False, torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        for layer, optimizer in zip((self.layer, self.other), self.optimizers(), strict=True):
            loss = torch.nn.functional.mse_loss(layer(batch[0]), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.losses.append(loss.item())
        self.log("train_loss", loss)

    def configure_optimizers(self):
        return [torch.optim.SGD(self.layer.parameters(), lr=1.0), torch.optim.SGD(self.other.parameters(), lr=0.25)]


def fit(module, job, *, ckpt_path=None, callbacks=(), **options):
    options = {**QUIET, "max_epochs": 3, "num_sanity_val_steps": 0, **options}
    trainer = L.Trainer(**options, callbacks=[*callbacks, PolicyCallback(job)])
    trainer.fit(module, batches(), batches(), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize(("module", "accumulate"), [(Module, 1), (Module, 2), (Adversaries, 1)])
def test_the_trainer_trains_and_validates_as_the_job_says(module, accumulate) -> None:
    job, trained = job_of(), module()
    fit(trained, job, accumulate_grad_batches=accumulate)
    assert job.step == HORIZON
    assert [point.step for point in job.points] == EVALUATIONS
    assert trained.validated == [step * (2 if module is Adversaries else 1) for step in EVALUATIONS]
    assert job.changed is None
    assert len(job.values.series["train_loss"]) == HORIZON


@pytest.mark.parametrize("module", [Module, Adversaries])
def test_each_update_logs_its_training_loss(module) -> None:
    job, trained = job_of(), module()
    fit(trained, job)
    assert job.values.series["train_loss"] == [(step, pytest.approx(x)) for step, x in enumerate(trained.losses, 1)]


def test_the_training_loss_of_accumulated_batches_is_their_mean() -> None:
    job, module = job_of(), Module()
    fit(module, job, accumulate_grad_batches=3)  # an epoch is 3 + 2 batches
    (_, first), (_, second), *_ = job.values.series["train_loss"]
    assert first == pytest.approx(sum(module.losses[:3]) / 3)
    assert second == pytest.approx(sum(module.losses[3:5]) / 2)


def test_a_shorter_run_ends_at_its_own_horizon() -> None:
    job = job_of(POLICY.stretch(0.5), 16)
    trainer = fit(Module(), job, max_epochs=100)
    assert trainer.global_step == 16 == job.step
    assert job.points[-1].step == 16


def test_the_metric_is_the_modules() -> None:
    job, module = job_of(), Module()
    trainer = fit(module, job)
    assert job.points[-1].score == trainer.callback_metrics["val_loss"].item()


def test_a_run_that_reached_its_target_stops() -> None:
    job = job_of(stop=Stop(target=1e9))
    trainer = fit(Module(), job)
    assert trainer.global_step == 5 == job.stopped_at


def test_a_run_that_diverged_stops() -> None:
    class Broken(Module):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * torch.nan

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", 1.0)

    long = lrs.Task(name="long", horizon=500, epoch=100, objectives=(lrs.minimize("val_loss"),))
    job = Job(RunSpec(long, lrs.parse("FIX(k0=0.1)"), 500, 0))
    trainer = fit(Broken(), job)
    assert job.has_diverged
    assert trainer.global_step == 50


def test_a_range_test_is_not_validated() -> None:
    job, module = job_of(lrs.parse("FIX(k0=0.1)"), is_range_test=True), Module()
    fit(module, job)
    assert job.step == HORIZON
    assert not module.validated
    assert len(job.values.series["train_loss"]) == HORIZON


def test_a_controller_learns_from_the_evaluations() -> None:
    job = job_of(lrs.parse("PLATEAU(k0=1e-9, gamma=0.5, patience=0)"))
    fit(Module(), job)
    assert job.lrs[0] == 1e-9
    assert job.lrs[-1] < 1e-9


@pytest.mark.parametrize("module", [Module, Adversaries])
@pytest.mark.parametrize("evaluation", [5, 15, 32])
def test_an_interrupted_run_goes_on_from_its_folder(tmp_path, evaluation, module) -> None:
    def saving():
        return ModelCheckpoint(tmp_path / "ckpt", save_last=True)

    first, options = job_of(folder=tmp_path), {"enable_checkpointing": True}
    saver = saving()
    saver.on_validation_end = cut_after(saver.on_validation_end, evaluation * (2 if module is Adversaries else 1))
    with pytest.raises(RuntimeError, match="cut"):
        fit(module(), first, callbacks=[saver], **options)
    job, trained = job_of(folder=tmp_path), module()
    assert job.resumed
    fit(trained, job, callbacks=[saving()], ckpt_path="last", **options)
    assert job.step == HORIZON
    assert job.trained == HORIZON - evaluation
    assert [point.step for point in job.points] == [
        step for step in EVALUATIONS if step > evaluation or step == HORIZON
    ]
    assert job.changed is None
    assert job.lost == 0


def cut_after(save, global_step):
    def saved(trainer, pl_module):
        save(trainer, pl_module)
        if trainer.global_step == global_step:
            raise RuntimeError("cut")

    return saved


def test_a_job_that_is_interrupted_leaves_ctrl_c_as_it_was() -> None:
    import signal

    def interrupt(step):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Module(), job_of(on_progress=interrupt))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(
    "save_on_exception" not in inspect.signature(ModelCheckpoint).parameters, reason="Lightning 2.5 cannot save then"
)
def test_an_interrupted_job_saves_on_exception_and_goes_on(tmp_path) -> None:
    class Interrupted(Module):
        def training_step(self, batch, batch_idx):
            if len(self.losses) == 7:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    def options():
        saving, logger = ModelCheckpoint(tmp_path / "ckpt", save_last=True, save_on_exception=True), CSVLogger(tmp_path)
        logger.finalize = ends.append
        return {"callbacks": [saving], "enable_checkpointing": True, "logger": logger, "log_every_n_steps": 1}

    ends = []

    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(), job_of(folder=tmp_path), **options())
    assert ends == ["failed"]
    assert torch.load(tmp_path / "ckpt" / "last.ckpt", weights_only=True)["global_step"] == 7
    job, module = job_of(folder=tmp_path), Module()
    fit(module, job, ckpt_path="last", **options())
    assert (job.step, job.trained, job.changed) == (HORIZON, HORIZON - 7, None)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"fast_dev_run": True}, "leave it out. lrs.check"),
        ({"callbacks": [EarlyStopping("val_loss")]}, "EarlyStopping ends a run before its policy does"),
        pytest.param(
            {"val_check_interval": {"seconds": 10}},
            "a job is evaluated at updates",
            marks=pytest.mark.skipif(L.__version__ < "2.6", reason="Lightning 2.5 takes no seconds there"),
        ),
    ],
)
def test_a_trainer_that_trains_something_else_is_refused(options, why) -> None:
    with pytest.raises(UsageError, match=why):
        fit(Module(), job_of(), **options)


def test_a_job_is_trained_once_under_one_policy(tmp_path) -> None:
    with pytest.raises(UsageError, match="leave out adopt"):
        PolicyCallback(job_of(), adopt=True)
    job = job_of()
    fit(Module(), job).save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(UsageError, match="each call of the function takes a job of its own"):
        fit(Module(), job)
    with pytest.raises(PolicyError, match=r"a job resumes its own, of job\.folder"):
        fit(Module(), job_of(lrs.parse("FIX(k0=0.1)")), ckpt_path=tmp_path / "last.ckpt")


@pytest.mark.filterwarnings("ignore::lrsearch.SchedulerWarning")
def test_a_module_is_checked_and_trained_as_a_task() -> None:
    @lrs.task("lightning toy", horizon=HORIZON, epoch=EPOCH, minimize="val_loss")
    def train(job):
        fit(Module(), job)

    shown = lrs.check(train)
    run = lrs.train(train, POLICY)
    assert "val_loss" in str(shown)
    assert (str(run.state), run.steps, run.applied) == ("finished", HORIZON, "yes")
