"""What the Hugging Face adapter costs: an update of a Trainer with its own scheduler, a policy and a job.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_huggingface.py

A BERT of two layers of width 64 on batches of 16 sentences, the Trainer's defaults. The Trainers are under way in one
process, and take turns of 10 updates. Printed are the medians of an update's processor time, and the medians of the
ratios of paired turns to the Trainer's own with their quartiles. It asserts nothing.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
from turns import Training, show, time_turns

import lrsearch as lrs
from lrsearch.integrations.huggingface import attach
from lrsearch.runs import RunSpec
from lrsearch.runs.job import Job

TURNS, TURN = 60, 10
N = (TURNS + 1) * TURN  # the last turn is not made: a training's end is not in it
POLICY = lrs.parse(f"WARMUP(policy=HALFCOS(k0=0.001, l={N - 100}), l=100)")
TASK = lrs.Task(name="bert", horizon=N, epoch=N, objectives=(lrs.minimize("val_loss"),), evaluations=1)
DATA = [{"input_ids": torch.randint(500, (16,)), "labels": n % 2} for n in range(512)]


class Turns(TrainerCallback):
    """Pauses after each turn."""

    def __init__(self, pause) -> None:
        self.pause = pause

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step and state.global_step % TURN == 0:
            self.pause()


def training(source) -> Training:
    torch.manual_seed(0)
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    arguments = TrainingArguments(
        "out",
        max_steps=N,
        per_device_train_batch_size=16,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
    )
    model = BertForSequenceClassification(BertConfig(vocab_size=500, **size))
    trainer = Trainer(model, arguments, train_dataset=DATA, eval_dataset=DATA[:16])
    if source is not None:
        attach(trainer, source)

    def train(pause) -> None:
        trainer.add_callback(Turns(pause))
        trainer.train()

    return Training(train)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sources = {"own": None, "policy": POLICY, "job": Job(RunSpec(TASK, POLICY, N, 0))}
    loops = {name: training(source) for name, source in sources.items()}  # all before the first trains
    show(time_turns(loops, TURNS), TURN)
