"""The models of the shipped tasks."""

import torch
from torch import nn
from torch.nn import functional as F


def digits_mlp() -> nn.Module:
    """One hidden layer of 128 on 8 x 8 pictures."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def digits_cnn() -> nn.Module:
    """Two convolutions of 16 and 32 channels on 8 x 8 pictures."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def mnist_mlp() -> nn.Module:
    """One hidden layer of 128 on 28 x 28 pictures."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def lenet() -> nn.Module:
    """Caffe's LeNet (20-50-500-10), with its initialisation: uniform within sqrt(3 / fan-in), biases 0.

    Caffe's solver doubles the learning rate of the biases; here all parameters have the policy's.
    """
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return model


class LocalNorm(nn.Module):
    """Caffe's local response normalisation within a channel: x (1 + alpha mean(x^2))^-beta over a window."""

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise a batch of shape (n, channels, height, width)."""
        around = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        return x * (1 + self.alpha * around) ** -self.beta


def cnn3() -> nn.Module:
    """Caffe's cifar10_full: three convolutions of 32, 32 and 64 channels, within-channel LRN after the first two.

    Gaussian initialisation as there: 0.0001 for the first layer, 0.01 for the others, biases 0.
    """
    model = nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ReLU(),
        LocalNorm(),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        LocalNorm(),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 10),
    )
    layers = [layer for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer, deviation in zip(layers, (1e-4, 0.01, 0.01, 0.01), strict=True):
        nn.init.normal_(layer.weight, std=deviation)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return model


class Block(nn.Module):
    """Two convolutions beside a shortcut without parameters: every second pixel, new channels zero (option A)."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.stride, self.added = channels // before, channels - before
        self.one = nn.Conv2d(before, channels, 3, self.stride, padding=1, bias=False)
        self.two = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_one, self.norm_two = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch of shape (n, before, h, w) to (n, channels, h / stride, w / stride)."""
        y = F.relu(self.norm_one(self.one(x)))
        short = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        if self.added:
            short = F.pad(short, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return F.relu(self.norm_two(self.two(y)) + short)


def resnet(depth: int, classes: int = 10) -> nn.Module:
    """He's ResNet for CIFAR with 6n + 2 layers, 16-32-64 channels, MSRA initialisation.

    >>> sum(p.numel() for p in resnet(20).parameters())
    269722
    """
    n = (depth - 2) // 6
    widths = [16] * n + [32] * n + [64] * n
    blocks = [Block(before, width) for before, width in zip([16, *widths], widths, strict=False)]
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return model


def deep_mlp(width: int, depth: int) -> nn.Module:
    """A deep narrow network on 20 inputs: `depth` hidden layers, each with a LayerNorm before it."""
    layers = [part for _ in range(depth) for part in (nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(20, width), *layers, nn.LayerNorm(width), nn.Linear(width, 10))


def grating_cnn(channels: int, norm: int) -> nn.Module:
    """Three convolutions on 12 x 12 pictures; with `norm`, a BatchNorm after each."""

    def layer(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1), *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]

    return nn.Sequential(
        *layer(1, channels),
        nn.MaxPool2d(2),
        *layer(channels, 2 * channels),
        nn.MaxPool2d(2),
        *layer(2 * channels, 2 * channels),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, 8),
    )


class LastOfGRU(nn.Module):
    """A GRU over a sequence of pairs, and a linear map of its last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru, self.last = nn.GRU(2, width, batch_first=True), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch of shape (n, length, 2) to (n, 2)."""
        states, _ = self.gru(x)
        scores: torch.Tensor = self.last(states[:, -1])
        return scores


def last_of_gru(width: int) -> nn.Module:
    """A GRU over a sequence of pairs, and a linear map of its last state."""
    return LastOfGRU(width)
