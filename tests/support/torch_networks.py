"""Networks for CIFAR-10 as PyTorch modules, with the names of the repositories whose checkpoints cifarnet reads.

Importing this module imports PyTorch.
"""

import torch
from torch import nn
from torch.nn import functional


def conv(inputs: int, outputs: int, kernel: int, strides: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, strides, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """conv - BN - ReLU - conv - BN plus a shortcut, then ReLU."""

    def __init__(self, inputs: int, outputs: int, strides: int, projects: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, strides), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.strides, self.added = strides, outputs - inputs
        if projects and strides > 1:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, strides), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif self.strides > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return functional.relu(x + y)


class PreActivationBlock(nn.Module):
    """BN - ReLU - conv - BN - ReLU - conv plus a shortcut."""

    def __init__(self, inputs: int, outputs: int, strides: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, strides)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        if strides > 1:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, strides))

    def forward(self, x):
        y = functional.relu(self.bn1(x))
        x = self.shortcut(y) if hasattr(self, "shortcut") else x
        return x + self.conv2(functional.relu(self.bn2(self.conv1(y))))


class Network(nn.Module):
    """A stem, stages of residual units, the mean of all positions, and a dense layer called ``classifier``."""

    def __init__(self, channels, units, block, classifier: str, classes: int, normalizes_stem: bool):
        super().__init__()
        self.conv1 = conv(3, channels[0], 3)
        self.bn1 = nn.BatchNorm2d(channels[0]) if normalizes_stem else None
        self.stages, inputs = [], channels[0]
        for index, outputs in enumerate(channels):
            blocks = []
            for unit in range(units):
                blocks.append(block(inputs, outputs, 2 if index and not unit else 1))
                inputs = outputs
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
            self.stages.append(f"layer{index + 1}")
        setattr(self, classifier, nn.Linear(inputs, classes))
        self.classifier = classifier

    def forward(self, x):
        x = self.conv1(x)
        if self.bn1 is not None:
            x = functional.relu(self.bn1(x))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return getattr(self, self.classifier)(x.mean((2, 3)))


def akamaster(units: int, classes: int = 10) -> Network:
    """The ResNet with ``units`` per stage of akamaster/pytorch_resnet_cifar10."""
    return Network((16, 32, 64), units, lambda *sizes: Block(*sizes, projects=False), "linear", classes, True)


def chenyaofo(units: int, classes: int = 10) -> Network:
    """The ResNet with ``units`` per stage of chenyaofo/pytorch-cifar-models."""
    return Network((16, 32, 64), units, lambda *sizes: Block(*sizes, projects=True), "fc", classes, True)


def kuangliu(classes: int = 10) -> Network:
    """PreActResNet18 of kuangliu/pytorch-cifar."""
    return Network((64, 128, 256, 512), 2, PreActivationBlock, "linear", classes, False)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return ``network`` with moving averages and parameters of batch normalization that matter, for inference."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight, 0.5),
                (module.bias, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                tensor.data.uniform_(low, low + 1, generator=generator)
    return network.eval()


def logits(network: nn.Module, images, mean, std):
    """Return the logits of uint8 ``images`` (n, size, size, 3), which are normalized as torchvision does it."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    normalized = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        return network(normalized).numpy()
