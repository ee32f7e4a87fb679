"""Describe the VGG-16 for CIFAR-10 with batch normalization and dropout.

The thirteen convolutions are those of configuration D of Simonyan and Zisserman 2015 (arXiv:1409.1556, table 1). Batch
normalization after the ReLU, dropout and one hidden dense layer of 512 units follow Liu and Deng 2015 ("Very deep
convolutional neural network based image classification using small training sample size"), and the network that the
project's document names in its table of results, https://github.com/SeHwanJoo/cifar10-vgg16.
"""

import re
from dataclasses import replace

from cifarnet.errors import InvalidValueError
from cifarnet.models.family import Family
from cifarnet.models.layers import (
    Layer,
    batch_normalization,
    conv2d,
    dense,
    dropout,
    flatten,
    max_pooling,
    relu,
    softmax,
)

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions between the poolings."""

HIDDEN_UNITS = 512
_FIRST_RATE, _RATE, _HEAD_RATE = 0.3, 0.4, 0.5
_POOLING = "max_pooling2d"
# Grad-CAM sees the feature maps before the last pooling, which has one cell for 32 pixels.
_HEAD = f"{_POOLING}_{len(GROUPS) - 1}"


def describe(depth: int, classes: int, image_size: int) -> tuple[Layer, ...]:
    """Return the top-level layers, in order, of the VGG network for images of ``image_size`` pixels."""
    shape = (image_size, image_size, 3)
    layers: list[Layer] = []
    convolutions = 0
    for group, channels in enumerate(GROUPS):
        for index, filters in enumerate(channels):
            last = index == len(channels) - 1
            rate = 0.0 if last else _RATE if convolutions else _FIRST_RATE
            layers.append(_convolution(_numbered("conv_bn_relu", convolutions), shape, filters, rate))
            shape = (*shape[:2], filters)
            convolutions += 1
        layers.append(max_pooling(_numbered(_POOLING, group), shape))
        shape = (-(-shape[0] // 2), -(-shape[1] // 2), shape[2])
    flat = flatten(shape)
    head = (
        dropout("dropout", shape, _HEAD_RATE),
        flat,
        dense("dense", flat.output_shape[0], HIDDEN_UNITS, regularized=True),
        relu((HIDDEN_UNITS,)),
        batch_normalization("batch_normalization", (HIDDEN_UNITS,)),
        dropout("dropout_1", (HIDDEN_UNITS,), _HEAD_RATE),
        dense("dense_1", HIDDEN_UNITS, classes),
        softmax("activation", classes),
    )
    return (*layers, *(replace(layer, full_precision=True) for layer in head))


def _convolution(name: str, shape: tuple[int, int, int], filters: int, rate: float) -> Layer:
    """Describe a convolution, its ReLU, batch normalization, and dropout where ``rate`` is above 0."""
    conv = conv2d("conv", shape, filters, 3, use_bias=True)
    output = conv.output_shape
    inner = [conv, relu(output), batch_normalization("batchnorm", output)]
    if rate:
        inner.append(dropout("dropout", output, rate))
    return Layer(name, "ConvBNReLU", output, layers=tuple(inner))


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


def _require_depth(depth: int) -> None:
    if depth != 16:
        raise InvalidValueError(f"VGG networks have 16 layers with weights: vgg16. Received: vgg{depth}")


# The documented L2 penalty is that of the network that the document names. The peak of ``fast`` is lower than that of a
# ResNet: the test accuracy after one epoch of small images (batches of 128, CIFAR-10 as JPEG) was 20 % with a peak of
# 0.1, and 34 % with 0.03 (two runs of other lengths). The accuracy on the training images of 200 steps at 16 pixels was
# 17.8 % with a peak of 0.01 and 19.1 % with 0.03. Other penalties were not tried.
_RECIPE_CHANGES = {
    "documented": {"l2": 5e-4},
    "fast": {"learning_rate": 0.03, "batch_size": 128},
}

VGG = Family(
    pattern=re.compile(r"vgg(?P<depth>0|[1-9][0-9]{0,8})"),
    names=("vgg16",),
    form="vgg16",
    title="VGG-{}".format,
    describe=describe,
    require_depth=_require_depth,
    head=_HEAD,
    recipe_changes=lambda recipe, depth: _RECIPE_CHANGES.get(recipe, {}),
    smallest_image=8,
    image_multiple=4,
)
