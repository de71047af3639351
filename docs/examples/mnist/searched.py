"""Handwritten digits by a small convolutional network, in the manner of PyTorch's MNIST example."""

import argparse
from functools import cache

import lrsearch as lrs
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


@cache  # loaded once per process, however often main() is called
def digits():
    images, targets = load_digits(return_X_y=True)
    images = torch.tensor(images / 16).float().reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(images, torch.tensor(targets), test_size=389, random_state=0)
    return TensorDataset(train_x, train_y), TensorDataset(test_x, test_y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(128, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout(torch.flatten(F.max_pool2d(x, 2), 1))
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


def train(model, device, train_loader, optimizer):
    model.train()
    losses = []
    for data, target in train_loader:
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def test(model, device, test_loader):
    model.eval()
    correct = 0
    for data, target in test_loader:
        correct += (model(data.to(device)).argmax(1) == target.to(device)).sum().item()
    return correct / len(test_loader.dataset)


@lrs.task("mnist", epochs=12, epoch=44, maximize="accuracy", samples=389, optimizer="sgd")
def main(job):
    parser = argparse.ArgumentParser(description="Digits")
    parser.add_argument("--batch-size", type=int, default=32, help="input batch size for training")
    parser.add_argument("--test-batch-size", type=int, default=400, help="input batch size for testing")
    parser.add_argument("--epochs", type=int, default=12, help="number of epochs to train")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
    parser.add_argument("--gamma", type=float, default=0.7, help="learning rate step gamma")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    train_set, test_set = digits()
    train_loader = job.loader(DataLoader(train_set, batch_size=args.batch_size, shuffle=True))
    test_loader = DataLoader(test_set, batch_size=args.test_batch_size)
    model = Net().to(device)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    job.scheduler(optimizer, auto_step=True)
    for epoch in range(1, args.epochs + 1):
        losses = train(model, device, train_loader, optimizer)
        accuracy = test(model, device, test_loader)
        job.log(train_loss=losses, accuracy=accuracy)
        print(f"epoch {epoch}: training loss {sum(losses) / len(losses):.4f}, accuracy {accuracy:.4f}")
