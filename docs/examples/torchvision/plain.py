"""Handwritten digits by a small ResNet, in the manner of torchvision's reference script for classification."""

import argparse
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation
from torchvision.transforms import v2


class Digits(Dataset):
    def __init__(self, images, targets, transform):
        self.images, self.targets, self.transform = images, targets, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.targets[index]


@cache  # loaded once per process, however often main() is called
def load_data():
    images, targets = load_digits(return_X_y=True)
    images, targets = torch.tensor(images / 16).float().reshape(-1, 1, 8, 8), torch.tensor(targets)
    normalize = v2.Normalize(mean=[0.305], std=[0.376])
    augment = v2.Compose([v2.RandomCrop(8, padding=1), normalize])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:1408], order[1408:]
    return Digits(images[train], targets[train], augment), Digits(images[test], targets[test], normalize)


def build_model():
    return nn.Sequential(
        Conv2dNormActivation(1, 16),
        BasicBlock(16, 16),
        BasicBlock(16, 32, stride=2, downsample=Conv2dNormActivation(16, 32, 1, stride=2, activation_layer=None)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def train_one_epoch(model, criterion, optimizer, data_loader, device):
    model.train()
    losses = []
    for image, target in data_loader:
        image, target = image.to(device), target.to(device)
        loss = criterion(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.inference_mode()
def evaluate(model, data_loader, device):
    model.eval()
    correct = 0
    for image, target in data_loader:
        correct += (model(image.to(device)).argmax(1) == target.to(device)).sum().item()
    return correct / len(data_loader.dataset)


def get_args_parser():
    parser = argparse.ArgumentParser(description="Digits classification")
    parser.add_argument("-b", "--batch-size", default=32, type=int, help="images per batch")
    parser.add_argument("--epochs", default=8, type=int, help="number of total epochs to run")
    parser.add_argument("--lr", default=0.1, type=float, help="initial learning rate")
    parser.add_argument("--momentum", default=0.9, type=float, help="momentum")
    parser.add_argument("--weight-decay", default=1e-4, type=float, help="weight decay")
    parser.add_argument("--label-smoothing", default=0.1, type=float, help="label smoothing")
    parser.add_argument("--lr-scheduler", default="multisteplr", choices=["multisteplr", "cosineannealinglr"])
    parser.add_argument("--lr-milestones", default=[4, 6], nargs="+", type=int, help="epochs at which the lr decreases")
    parser.add_argument("--lr-gamma", default=0.1, type=float, help="decrease lr by a factor of lr-gamma")
    return parser


def get_lr_scheduler(optimizer, args):
    if args.lr_scheduler == "multisteplr":
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, args.lr_milestones, gamma=args.lr_gamma)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)


def main():
    args = get_args_parser().parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset_train, dataset_test = load_data()
    data_loader = DataLoader(dataset_train, batch_size=args.batch_size, shuffle=True)
    data_loader_test = DataLoader(dataset_test, batch_size=args.batch_size)
    model = build_model().to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    lr_scheduler = get_lr_scheduler(optimizer, args)
    for epoch in range(args.epochs):
        losses = train_one_epoch(model, criterion, optimizer, data_loader, device)
        acc1 = evaluate(model, data_loader_test, device)
        lr_scheduler.step()
        print(f"epoch {epoch}: training loss {sum(losses) / len(losses):.4f}, acc1 {100 * acc1:.2f} %")


if __name__ == "__main__":
    main()
