"""What the Hugging Face adapter costs: an update of a Trainer with its own scheduler, a policy and a job.

    OMP_NUM_THREADS=1 python studies/benchmarks/adapters_huggingface.py

A BERT of two layers of width 64 on batches of 16 sentences, the Trainer's defaults. All trainings are under way in one
process, each in a thread that waits for its turn of 10 updates. Printed are the medians of processor time an update,
the ratio of their sums to the Trainer's own, and its quartiles over tenths of the turns. It asserts nothing.
"""

import threading
import time

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

import lrsearch as lrs
from lrsearch.integrations.huggingface import attach
from lrsearch.runs import RunSpec
from lrsearch.runs.job import Job

TURNS, TURN = 60, 10
N = TURNS * TURN
POLICY = lrs.parse(f"WARMUP(policy=HALFCOS(k0=0.001, l={N - 100}), l=100)")
DATA = [{"input_ids": torch.randint(500, (16,)), "labels": n % 2} for n in range(512)]


class Turns(TrainerCallback):
    """Lets a training make its updates in turns, and keeps the processor time of each."""

    def __init__(self) -> None:
        self.go, self.done, self.seconds = threading.Semaphore(0), threading.Semaphore(0), []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step % TURN == 0:
            if state.global_step:
                self.seconds.append(time.process_time() - self.began)
                self.done.release()
            self.go.acquire()
            self.began = time.process_time()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.seconds.append(time.process_time() - self.began)
        self.done.release()


def built(source) -> tuple[Trainer, Turns]:
    torch.manual_seed(0)
    turns = Turns()
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
    trainer = Trainer(model, arguments, train_dataset=DATA, eval_dataset=DATA[:16], callbacks=[turns])
    if source is not None:
        attach(trainer, source)
    return trainer, turns


if __name__ == "__main__":
    torch.set_num_threads(1)
    task = lrs.Task(name="bert", horizon=N, epoch=N, objectives=(lrs.minimize("val_loss"),), evaluations=1)
    sources = {"own": None, "policy": POLICY, "job": Job(RunSpec(task, POLICY, N, 0))}
    trainers = {name: built(source) for name, source in sources.items()}  # all before the first trains
    loops = {name: turns for name, (_, turns) in trainers.items()}
    for trainer, _ in trainers.values():
        threading.Thread(target=trainer.train, daemon=True).start()
    for turn in range(TURNS):
        for name in list(loops) if turn % 2 else reversed(loops):
            loops[name].go.release()
            loops[name].done.acquire()
    size = TURNS // 10
    own = loops["own"].seconds[:-1]  # the last turn of a job has its evaluation
    for name, loop in loops.items():
        parts = sorted(sum(loop.seconds[a : a + size]) / sum(own[a : a + size]) for a in range(0, TURNS - size, size))
        median = 1e3 * sorted(loop.seconds[:-1])[TURNS // 2] / TURN
        ratio = sum(loop.seconds[:-1]) / sum(own)
        print(f"{name}: {median:.2f} ms an update, {ratio:.3f} x (quartiles {parts[2]:.3f} to {parts[6]:.3f})")
