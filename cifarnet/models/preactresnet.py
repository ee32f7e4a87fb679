"""Describe the pre-activation ResNets with 64 to 512 channels that https://github.com/kuangliu/pytorch-cifar defines.

They have the stages of the ResNets for ImageNet (He et al. 2015, arXiv:1512.03385, table 1) after a 3x3 convolution,
and the units of He et al. 2016 (arXiv:1603.05027). Where the shape changes, a 1x1 convolution of the activated input is
the shortcut. The feature maps are averaged without batch normalization or ReLU after the last unit.
"""

import re

from cifarnet.errors import InvalidValueError
from cifarnet.models.family import Family
from cifarnet.models.layers import Layer, dense, flatten, global_average_pooling, softmax
from cifarnet.models.residual import (
    UnitPlan,
    caffe_batch_normalization,
    caffe_conv2d,
    image_shape,
    preactivation_unit,
    residual_stages,
)

CHANNELS = (64, 128, 256, 512)
UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Units of each stage, by depth."""


def describe(depth: int, classes: int, image_size: int) -> tuple[Layer, ...]:
    """Return the top-level layers, in order, of the network with ``depth`` for images of ``image_size`` pixels."""
    stem = caffe_conv2d("conv2d", (image_size, image_size, 3), CHANNELS[0], 3)
    stages = residual_stages(image_shape(stem), CHANNELS, UNITS[depth], _unit)
    shape = image_shape(stages[-1])
    return (
        stem,
        *stages,
        global_average_pooling(shape),
        flatten((1, 1, shape[-1])),
        dense("dense", shape[-1], classes, regularized=True, full_precision=True),
        softmax("activation", classes),
    )


def _unit(plan: UnitPlan) -> Layer:
    changes = plan.changes_shape
    shortcut = caffe_conv2d("shortcut_conv", plan.input_shape, plan.channels, 1, strides=plan.strides)
    return preactivation_unit(
        plan,
        (shortcut,) if changes else (),
        activates_shortcut=changes,
        conv=caffe_conv2d,
        norm=caffe_batch_normalization,
    )


def _require_depth(depth: int) -> None:
    if depth not in UNITS:
        depths = " or ".join(str(each) for each in UNITS)
        raise InvalidValueError(f"A PreAct ResNet has a depth of {depths}. Received: {depth}")


_NAMES = tuple(f"preactresnet{depth}" for depth in UNITS)

PREACT_RESNET = Family(
    pattern=re.compile(r"preactresnet(?P<depth>0|[1-9][0-9]{0,8})"),
    names=_NAMES,
    form=", ".join(_NAMES),
    title="PreActResNet-{}".format,
    describe=describe,
    require_depth=_require_depth,
    head="global_average_pooling2d",
    smallest_image=8,
    image_multiple=8,
    grows=True,
)
