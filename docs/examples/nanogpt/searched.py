"""A small language model over characters, in the manner of nanoGPT's train.py: one script from top to bottom.

The text is the source of Python's standard library, which every machine has.
"""

import sysconfig
from pathlib import Path

import lrsearch as lrs
import torch
from torch import nn
from torch.nn import functional as F

# data and model
block_size, n_layer, n_head, n_embd = 32, 2, 4, 32
modules = ("argparse", "ast", "configparser", "datetime", "decimal", "doctest", "inspect", "pathlib", "statistics")
# training
job = lrs.job("nanogpt", horizon=240, minimize="val_loss", policy="WARMUP(policy=HALFCOS(k0=0.003, l=220), l=20)")
max_iters = job.horizon
batch_size, gradient_accumulation_steps = 8, 2
learning_rate = 3e-3
weight_decay, beta1, beta2, grad_clip = 1e-1, 0.9, 0.95, 1.0
eval_interval, eval_iters = 60, 8

torch.set_num_threads(1)  # several wait for each other in a model as small as this
device = "cuda" if torch.cuda.is_available() else "cpu"
folder = Path(sysconfig.get_path("stdlib"))
text = "".join((folder / f"{name}.py").read_text() for name in modules if (folder / f"{name}.py").is_file())[:200_000]
chars = {char: number for number, char in enumerate(sorted(set(text)))}
data = torch.tensor([chars[char] for char in text])
train_data, val_data = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]


def get_batch(split):
    part = train_data if split == "train" else val_data
    windows = torch.stack([part[i : i + block_size + 1] for i in torch.randint(len(part) - block_size, (batch_size,))])
    return windows[:, :-1].to(device), windows[:, 1:].to(device)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        q, k, v = self.attn(self.ln_1(x)).unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(len(chars), n_embd), nn.Embedding(block_size, n_embd)
        self.h = nn.Sequential(*(Block() for _ in range(n_layer)))
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, len(chars), bias=False)

    def forward(self, idx, targets):
        x = self.h(self.wte(idx) + self.wpe(torch.arange(block_size, device=device)))
        logits = self.lm_head(self.ln_f(x))
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def estimate_loss():
    model.eval()
    losses = {s: sum(model(*get_batch(s))[1].item() for _ in range(eval_iters)) / eval_iters for s in ("train", "val")}
    model.train()
    return losses


model = GPT().to(device)
decay = [p for p in model.parameters() if p.dim() >= 2]
nodecay = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": decay, "weight_decay": weight_decay}, {"params": nodecay, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2))
job.scheduler(optimizer, auto_step=True)

for iter_num in range(max_iters + 1):
    if iter_num % eval_interval == 0 or iter_num == max_iters:
        losses = estimate_loss()
        job.log(val_loss=losses["val"])
        print(f"step {iter_num}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
    if iter_num == max_iters:
        break

    for _ in range(gradient_accumulation_steps):
        logits, loss = model(*get_batch("train"))
        (loss / gradient_accumulation_steps).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    job.log(train_loss=loss)
