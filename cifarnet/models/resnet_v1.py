"""Describe the post-activation CIFAR ResNets of He et al. 2015 (arXiv:1512.03385, section 4.2).

``resnet20-v1`` has the paper's shortcuts without weights (option A), and ``resnet20-v1b`` projections (option B).
Convolutions pad symmetrically, and batch normalization has an epsilon of 1e-5, as in the paper's implementation. The
networks are therefore those of two projects with trained weights for PyTorch:
https://github.com/akamaster/pytorch_resnet_cifar10 (option A) and
https://github.com/chenyaofo/pytorch-cifar-models (option B).
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from cifarnet.models.family import Family
from cifarnet.models.layers import (
    Layer,
    ResidualPaths,
    dense,
    flatten,
    global_average_pooling,
    relu,
    residual_unit,
    softmax,
)
from cifarnet.models.residual import (
    CIFAR_CHANNELS,
    UnitPlan,
    caffe_batch_normalization,
    caffe_conv2d,
    cifar_units,
    image_shape,
    padded_shortcut,
    paper_changes,
    require_cifar_depth,
    residual_stages,
)

Shortcut = Callable[[UnitPlan], tuple[Layer, ...]]


def describe(depth: int, classes: int, image_size: int, *, shortcut: Shortcut) -> tuple[Layer, ...]:
    """Return the top-level layers, in order, of the ResNet with ``depth`` 6n+2 for images of ``image_size`` pixels.

    ``shortcut`` describes the shortcut of a residual unit.
    """
    stem = caffe_conv2d("conv2d", (image_size, image_size, 3), CIFAR_CHANNELS[0], 3)
    inner = image_shape(stem)
    stages = residual_stages(inner, CIFAR_CHANNELS, cifar_units(depth), partial(_unit, shortcut=shortcut))
    shape = image_shape(stages[-1])
    return (
        stem,
        caffe_batch_normalization("batch_normalization", inner),
        relu(inner),
        *stages,
        global_average_pooling(shape),
        flatten((1, 1, shape[-1])),
        dense("dense", shape[-1], classes, regularized=True, full_precision=True),
        softmax("activation", classes),
    )


def _unit(plan: UnitPlan, shortcut: Shortcut) -> Layer:
    """Describe conv - BN - ReLU - conv - BN plus a shortcut, and a ReLU after the sum (figure 2 of the paper).

    The unit is an identity while the last gamma is zero, because its input is not negative (Goyal et al. 2017,
    arXiv:1706.02677, section 5.1).
    """
    first = caffe_conv2d("conv1", plan.input_shape, plan.channels, 3, strides=plan.strides)
    inner = image_shape(first)
    branch = (
        first,
        caffe_batch_normalization("batchnorm_1", inner),
        relu(inner, "relu_1"),
        caffe_conv2d("conv2", inner, plan.channels, 3),
        caffe_batch_normalization("batchnorm_2", inner, zero_when_added=True),
    )
    return residual_unit(plan.name, ResidualPaths((), branch, shortcut(plan), (relu(inner, "relu_2"),)))


def _subsampling(plan: UnitPlan) -> tuple[Layer, ...]:
    """Describe option A: every second row and column, and channels of zeros."""
    return padded_shortcut(plan, pool_size=1)


def _projection(plan: UnitPlan) -> tuple[Layer, ...]:
    """Describe option B: a 1x1 convolution with strides and batch normalization, where the shape changes."""
    if not plan.changes_shape:
        return ()
    conv = caffe_conv2d("shortcut_conv", plan.input_shape, plan.channels, 1, strides=plan.strides)
    return (conv, caffe_batch_normalization("shortcut_batchnorm", image_shape(conv)))


def _recipe_changes(recipe: str, depth: int) -> dict[str, Any]:
    # The moving averages of the paper's implementation, Caffe, have a momentum of 0.9.
    return {"batchnorm_momentum": 0.9, **paper_changes(depth)} if recipe == "paper" else {}


def _family(suffix: str, depths: tuple[int, ...], shortcut: Shortcut) -> Family:
    return Family(
        pattern=re.compile(rf"resnet(?P<depth>0|[1-9][0-9]{{0,8}})-{suffix}"),
        names=tuple(f"resnet{depth}-{suffix}" for depth in depths),
        form=f"resnet<6n+2>-{suffix}",
        title=f"ResNet-{{}} {suffix}".format,
        describe=partial(describe, shortcut=shortcut),
        require_depth=require_cifar_depth,
        head="global_average_pooling2d",
        recipe_changes=_recipe_changes,
        smallest_image=8,
        image_multiple=4,
        grows=True,
    )


RESNET_V1 = _family("v1", (20, 32, 44, 56, 110), _subsampling)
RESNET_V1B = _family("v1b", (20, 32, 44, 56), _projection)
