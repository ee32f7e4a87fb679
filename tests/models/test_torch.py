"""Logits of networks with symmetric padding equal those of an independent implementation in PyTorch."""

import re

import numpy as np
import pytest

from cifarnet.models.spec import ModelSpec
from tests.support.weights import random_weights

torch = pytest.importorskip("torch")


class Reference:
    """Networks in PyTorch's functions, as their projects describe them, with weights by cifarnet's names."""

    def __init__(self, tensors):
        self.tensors = {name: torch.from_numpy(array) for name, array in tensors.items()}

    def conv(self, x, name, strides=1):
        kernel = self.tensors[f"{name}/kernel"].permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(x, kernel, stride=strides, padding=kernel.shape[-1] // 2)

    def norm(self, x, name):
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        return torch.nn.functional.batch_norm(x, *(self.tensors[f"{name}/{each}"] for each in names), eps=1e-5)

    def dense(self, x):
        return x.mean((2, 3)) @ self.tensors["dense/kernel"] + self.tensors["dense/bias"]

    def units(self):
        """Yield (path, strides) of every residual unit."""
        found = dict.fromkeys(name.rsplit("/", 2)[0] for name in self.tensors if "/res_net_unit_" in name)
        for path in found:
            yield path, 2 if re.fullmatch(r"sequential_\d/res_net_unit_1", path) else 1

    def post_activation(self, x, shortcut):
        x = self.norm(self.conv(x, "conv2d"), "batch_normalization").relu()
        for path, strides in self.units():
            y = self.norm(self.conv(x, f"{path}/conv1", strides), f"{path}/batchnorm_1").relu()
            y = self.norm(self.conv(y, f"{path}/conv2"), f"{path}/batchnorm_2")
            x = (y + (shortcut(self, x, path) if strides > 1 else x)).relu()
        return self.dense(x)

    def pre_activation(self, x):
        x = self.conv(x, "conv2d")
        for path, strides in self.units():
            y = self.norm(x, f"{path}/batchnorm_1").relu()
            shortcut = self.conv(y, f"{path}/shortcut_conv", strides) if strides > 1 else x
            y = self.norm(self.conv(y, f"{path}/conv1", strides), f"{path}/batchnorm_2").relu()
            x = self.conv(y, f"{path}/conv2") + shortcut
        return self.dense(x)


def option_a(_, x, path):
    channels = x.shape[1]
    return torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, channels // 2, channels // 2))


def option_b(reference, x, path):
    return reference.norm(reference.conv(x, f"{path}/shortcut_conv", 2), f"{path}/shortcut_batchnorm")


FORWARD = {
    "resnet8-v1": lambda reference, x: reference.post_activation(x, option_a),
    "resnet14-v1": lambda reference, x: reference.post_activation(x, option_a),
    "resnet14-v1b": lambda reference, x: reference.post_activation(x, option_b),
    "preactresnet18": Reference.pre_activation,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORWARD)
def test_logits_equal_those_of_pytorch(name):
    from cifarnet.models.network import build_model

    weights = random_weights(ModelSpec(name, classes=5, image_size=32))
    images = np.random.default_rng(1).standard_normal((4, 32, 32, 3)).astype(np.float32)
    expected = FORWARD[name](Reference(weights.tensors), torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    logits = np.asarray(build_model(weights.spec, weights.tensors).logits(images))
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
