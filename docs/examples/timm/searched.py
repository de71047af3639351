"""Handwritten digits by a small vision transformer, in the manner of timm's training script."""

import argparse
from functools import cache

import lrsearch as lrs
import torch
from lrsearch.integrations.timm import TimmScheduler
from sklearn.datasets import load_digits
from timm import create_model
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter, ModelEmaV3
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description="Digits")
parser.add_argument("--batch-size", type=int, default=64, help="images of a batch")
parser.add_argument("--epochs", type=int, default=12, help="epochs to train")
parser.add_argument("--opt", default="adamw", help="optimizer")
parser.add_argument("--lr", type=float, default=1e-2, help="learning rate")
parser.add_argument("--layer-decay", type=float, default=0.75, help="layer-wise learning rate decay")
parser.add_argument("--sched", default="cosine", help="LR scheduler")
parser.add_argument("--warmup-epochs", type=int, default=2, help="epochs of warm-up")
parser.add_argument("--model-ema-decay", type=float, default=0.99, help="decay of the moving average of the weights")


@cache  # loaded once per process, however often main() is called
def datasets():
    images, targets = load_digits(return_X_y=True)
    images = torch.tensor(images / 16).float().reshape(-1, 1, 8, 8)
    digits = TensorDataset(images, torch.tensor(targets))
    return torch.utils.data.random_split(digits, [1408, 389], torch.Generator().manual_seed(0))


def train_one_epoch(epoch, model, loader, optimizer, lr_scheduler, model_ema):
    model.train()
    losses_m = AverageMeter()
    num_updates = epoch * len(loader)
    for images, targets in loader:
        loss = F.cross_entropy(model(images), targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_updates += 1
        model_ema.update(model, step=num_updates)
        losses_m.update(loss.item(), len(images))
        lr_scheduler.step_update(num_updates=num_updates, metric=losses_m.val)
    return losses_m.avg


@torch.inference_mode()
def validate(model, loader):
    model.eval()
    top1_m = AverageMeter()
    for images, targets in loader:
        top1_m.update((model(images).argmax(1) == targets).float().mean().item(), len(images))
    return top1_m.avg


@lrs.task("digits-vit", epochs=12, epoch=22, maximize="top1", samples=389, optimizer="adamw")
def main(job):
    args = parser.parse_args()
    dataset_train, dataset_eval = datasets()
    loader_train = job.loader(DataLoader(dataset_train, args.batch_size, shuffle=True))
    loader_eval = DataLoader(dataset_eval, args.batch_size)
    shape = {"img_size": 8, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
    model = create_model("vit_tiny_patch16_224", in_chans=1, num_classes=10, **shape)
    model_ema = ModelEmaV3(model, decay=args.model_ema_decay, use_warmup=True)
    optimizer = create_optimizer_v2(model, opt=args.opt, lr=args.lr, layer_decay=args.layer_decay)
    lr_scheduler = TimmScheduler(job, optimizer)
    for epoch in range(args.epochs):
        loss = train_one_epoch(epoch, model, loader_train, optimizer, lr_scheduler, model_ema)
        top1 = validate(model_ema.module, loader_eval)
        print(f"epoch {epoch}: training loss {loss:.4f}, top-1 {100 * top1:.2f} %")
        lr_scheduler.step(epoch + 1, top1)
