"""Describe the pre-activation CIFAR ResNets.

Layer names are those of the original project's weight files. Sources: the tables of layers in the project's document;
He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027), for the order BN - ReLU -
convolution; He et al. 2015 (arXiv:1512.03385), section 4.2, for the stages and the shortcuts without parameters.
"""

import re

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
from cifarnet.models.residual import (
    CIFAR_CHANNELS,
    UnitPlan,
    cifar_units,
    image_shape,
    padded_shortcut,
    paper_changes,
    preactivation_unit,
    require_cifar_depth,
    residual_stages,
)


def describe(depth: int, classes: int, image_size: int) -> tuple[Layer, ...]:
    """Return the top-level layers, in order, of the ResNet with ``depth`` 6n+2 for images of ``image_size`` pixels."""
    stem = conv2d("conv2d", (image_size, image_size, 3), CIFAR_CHANNELS[0], 3)
    stages = residual_stages(image_shape(stem), CIFAR_CHANNELS, cifar_units(depth), _unit)
    shape = image_shape(stages[-1])
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


def _unit(plan: UnitPlan) -> Layer:
    return preactivation_unit(plan, padded_shortcut(plan, plan.strides), activates_shortcut=plan.is_first)


_HEAD = "batch_normalization"

# The names are those of the project's document and of He et al. 2015 (arXiv:1512.03385, table 6).
RESNET = Family(
    pattern=re.compile(r"resnet(?P<depth>0|[1-9][0-9]{0,8})"),
    names=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    form="resnet<6n+2>",
    title="ResNet-{}".format,
    describe=describe,
    require_depth=require_cifar_depth,
    head=_HEAD,
    recipe_changes=lambda recipe, depth: paper_changes(depth) if recipe == "paper" else {},
    smallest_image=8,
    image_multiple=4,
    grows=True,
)
