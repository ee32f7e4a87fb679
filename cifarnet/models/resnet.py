"""Describe the pre-activation CIFAR ResNets.

Layer names are those of the original project's weight files. Sources: the tables of layers in the project's document;
He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027), for the order BN - ReLU -
convolution; He et al. 2015 (arXiv:1512.03385), section 4.2, for the stages and the shortcuts without parameters.
"""

import re

from cifarnet.errors import InvalidValueError
from cifarnet.models.family import Family
from cifarnet.models.layers import (
    Layer,
    batch_normalization,
    conv2d,
    flatten,
    global_average_pooling,
    relu,
    softmax,
)

STAGE_CHANNELS = (16, 32, 64)


def describe(depth: int, classes: int, image_size: int) -> tuple[Layer, ...]:
    """Return the top-level layers, in order, of the ResNet with ``depth`` 6n+2 for images of ``image_size`` pixels."""
    units = (depth - 2) // 6
    stem = conv2d("conv2d", (image_size, image_size, 3), STAGE_CHANNELS[0], 3)
    shape = _image_shape(stem)
    stages = []
    for index, channels in enumerate(STAGE_CHANNELS):
        stages.append(_stage(index, shape, channels, units))
        shape = _image_shape(stages[-1])
    return (
        stem,
        *stages,
        batch_normalization(_HEAD, shape),
        relu(shape),
        global_average_pooling(shape),
        conv2d("conv2d_1", (1, 1, shape[-1]), classes, 1, use_bias=True, full_precision=True),
        flatten((1, 1, classes)),
        softmax("activation", classes),
    )


def _stage(index: int, shape: tuple[int, int, int], channels: int, units: int) -> Layer:
    layers = []
    for unit in range(units):
        strides = 2 if index > 0 and unit == 0 else 1
        layers.append(_residual_unit(unit, shape, channels, strides, shortcut_after_activation=index == unit == 0))
        shape = _image_shape(layers[-1])
    return Layer(f"sequential_{index}" if index else "sequential", "Sequential", shape, layers=tuple(layers))


def _residual_unit(
    index: int, shape: tuple[int, int, int], channels: int, strides: int, shortcut_after_activation: bool
) -> Layer:
    first = conv2d("conv1", shape, channels, 3, strides=strides)
    inner = _image_shape(first)
    return Layer(
        f"res_net_unit_{index + 1}",
        "ResidualUnit",
        inner,
        config={"strides": strides, "shortcut_after_activation": shortcut_after_activation},
        layers=(
            batch_normalization("batchnorm_1", shape),
            first,
            batch_normalization("batchnorm_2", inner),
            conv2d("conv2", inner, channels, 3, zero_when_added=True),
        ),
    )


def _image_shape(layer: Layer) -> tuple[int, int, int]:
    height, width, channels = layer.output_shape
    return height, width, channels


def _require_depth(depth: int) -> None:
    if depth < 8 or (depth - 2) % 6:
        raise InvalidValueError(
            f"A CIFAR ResNet has a depth of 6n+2 (8, 14, 20, 26, 32, ...); nearest: {_nearest_depths(depth)}."
            f" Received: {depth}"
        )


def _nearest_depths(depth: int) -> str:
    below = max(8, depth - (depth - 2) % 6)
    return str(below) if depth <= below else f"{below} and {below + 6}"


_HEAD = "batch_normalization"

# The names are those of the project's document and of He et al. 2015 (arXiv:1512.03385, table 6).
RESNET = Family(
    pattern=re.compile(r"resnet(?P<depth>0|[1-9][0-9]{0,8})"),
    names=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    form="resnet<6n+2>",
    title="ResNet-{}".format,
    describe=describe,
    require_depth=_require_depth,
    head=_HEAD,
    smallest_image=8,
    image_multiple=4,
    grows=True,
)
