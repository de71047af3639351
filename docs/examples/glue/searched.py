"""Fine-tuning of a small BERT on pairs of sentences, as on GLUE: is the first review better than the second?"""

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
import lrsearch as lrs
from lrsearch.integrations.huggingface import attach

NOUNS = ["film", "hotel", "song", "dinner", "journey", "novel", "garden", "camera"]
WORST_TO_BEST = (
    "dreadful awful terrible poor boring weak dull tedious bland plain fair decent"
    " solid fine good pleasant charming lovely great superb brilliant perfect"
)
ADJECTIVES = WORST_TO_BEST.split()
VOCABULARY = ["[PAD]", "[CLS]", "[SEP]", "the", "was", "and", *NOUNS, *ADJECTIVES]
LENGTH = 15


def make_review(rng):
    adjectives = rng.choice(len(ADJECTIVES), size=2)
    words = ["the", rng.choice(NOUNS), "was", ADJECTIVES[adjectives[0]], "and", ADJECTIVES[adjectives[1]]]
    return words, adjectives.sum()


def make_pair(rng):
    first, points = make_review(rng)
    second, other_points = make_review(rng)
    tokens = ["[CLS]", *first, "[SEP]", *second, "[SEP]"]
    return {
        "input_ids": [VOCABULARY.index(token) for token in tokens],
        "token_type_ids": [0] * (len(first) + 2) + [1] * (len(second) + 1),
        "attention_mask": [1] * len(tokens),
        "labels": int(points > other_points),
    }


def make_pairs(count, seed):
    rng = np.random.default_rng(seed)
    return [make_pair(rng) for _ in range(count)]


TRAIN, VALIDATION = make_pairs(1280, seed=0), make_pairs(512, seed=1)


def make_model():
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
    )
    return BertForSequenceClassification(config)


def compute_metrics(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


@lrs.task("glue-like", epochs=5, epoch=40, maximize="accuracy", samples=512, optimizer="adamw", batch_size=32)
def fine_tune(job):
    arguments = TrainingArguments(
        output_dir="glue-output",
        num_train_epochs=5,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=128,
        learning_rate=1e-3,
        lr_scheduler_type="linear",
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(
        model=make_model(),
        args=arguments,
        train_dataset=TRAIN,
        eval_dataset=VALIDATION,
        compute_metrics=compute_metrics,
    )
    attach(trainer, job)
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]
