"""cifarnet: train, check, inspect and use CIFAR-10 ResNets."""

__version__ = "0.1.0"
