"""Describe the wide, shallow network airbench94 of Jordan 2024 (arXiv:2404.00498), which learns fast, and a slim one.

A convolution whitens 2x2 patches of the training images. Three groups of two 3x3 convolutions follow, each with pooling
after its first convolution, and a dense layer on the largest values of the last feature maps. The kernel of the
whitening is not trained. Sources: section 3 of the paper, and its program,
https://github.com/KellerJordan/cifar10-airbench.

Different from the paper:

- Batch normalization has an epsilon of 1e-5, not 1e-12, which amplifies rounding errors in channels without variance.
- The last pooling is over the whole feature map, which has 3x3 positions at 32 pixels, so that the weights fit images
  of all sizes.
- The bias of the whitening is trained throughout, and not for 3 epochs only.
- ``airbench94-slim`` has fewer channels, and ReLU for GELU. It was developed for cifarnet, for the minutes that a CPU
  needs for a few epochs (docs/networks.md).
- ``fast`` has neither the 64 times higher learning rate of the biases of batch normalization nor lookahead.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cifarnet.models.family import Family
from cifarnet.models.layers import (
    Layer,
    batch_normalization,
    conv2d,
    dense,
    flatten,
    gelu,
    global_max_pooling,
    max_pooling,
    relu,
    rescaling,
    softmax,
)
from cifarnet.models.residual import image_shape
from cifarnet.recipes import LARGER_FIRST

CHANNELS = (64, 256, 256)
"""Channels of the groups of ``airbench94``."""

SLIM_CHANNELS = (48, 128, 128)
"""Channels of the groups of ``airbench94-slim``."""

WHITENING = 2
"""Side of the whitened patches, in pixels."""

LOGIT_SCALE = 1 / 9

_HEAD = "global_max_pooling2d"

Activation = Callable[..., Layer]


def describe(
    depth: int,
    classes: int,
    image_size: int,
    *,
    channels: tuple[int, ...] = CHANNELS,
    activation: Activation = gelu,
) -> tuple[Layer, ...]:
    """Return the top-level layers, in order, of the network for images of ``image_size`` pixels.

    ``channels`` are those of the groups. ``activation`` describes the activation: ``gelu`` as in the paper, or
    ``relu``. A step of ``airbench94`` with ``relu`` takes 10 % less time on one AMX core (TensorFlow, bfloat16).
    """
    whitening = conv2d(
        "conv2d",
        (image_size, image_size, 3),
        2 * 3 * WHITENING**2,
        WHITENING,
        padding="valid",
        use_bias=True,
        initial="whitening",
        trains_kernel=False,
    )
    shape = image_shape(whitening)
    layers = [whitening, activation(shape)]
    for index, width in enumerate(channels):
        layers.append(_group(f"conv_group_{index + 1}", shape, width, activation))
        shape = image_shape(layers[-1])
    return (
        *layers,
        global_max_pooling(shape),
        flatten((1, 1, shape[-1])),
        dense("dense", shape[-1], classes, regularized=True, full_precision=True, use_bias=False, initial="uniform"),
        rescaling("rescaling", (classes,), LOGIT_SCALE),
        softmax("activation", classes),
    )


def _group(name: str, shape: tuple[int, int, int], channels: int, activation: Activation) -> Layer:
    """Describe convolution - pooling - BN - activation - convolution - BN - activation."""
    conv = partial(conv2d, filters=channels, kernel=3, initial="partial_identity")
    norm = partial(batch_normalization, momentum=0.6, epsilon=1e-5, scale=False)
    first = conv("conv1", shape)
    pooling = max_pooling("max_pooling2d", image_shape(first), padding="valid")
    inner = image_shape(pooling)
    layers = (
        first,
        pooling,
        norm("batchnorm_1", inner),
        activation(inner, "activation_1"),
        conv("conv2", inner),
        norm("batchnorm_2", inner),
        activation(inner, "activation_2"),
    )
    return Layer(name, "ConvGroup", inner, layers=layers)


def _require_depth(depth: int) -> None:
    """There is one network of the name, and the pattern of names matches no other."""


# The paper's numbers are for the sum of the losses of a batch, divided by 1024 (1 + 1 / (1 - momentum)). For the mean
# of 500 losses its learning rate is 11.5 / (1024 * 7.67) * 500 = 0.73, and its weight decay 0.0153 / 11.5 = 1.33e-3, of
# which l2 is half. Twice the learning rate is better here: the accuracy on 2,500 test images after 60 steps on 16-pixel
# images was 52.2 % with 0.73, 57.2 % with 1.46, 57.5 % with 2.9, and 55.3 % with 0.73 and the 64 times higher rate of
# the biases (25,000 images of CIFAR-10 as JPEG, an l2 of 6.65e-4, one run each). After 780 steps on all images, that
# higher rate with 0.73 reached 88.0 % of the test images, and 1.5 without it 87.9 % (one run each). l2 is halved where
# the learning rate is doubled, so that the weights still lose the same fraction in a step.
_FAST: dict[str, Any] = {
    "batch_size": 500,
    "learning_rate": 1.5,
    "momentum": 0.85,
    "l2": 3.3e-4,
    "label_smoothing": 0.2,
    "batchnorm_momentum": 0.6,
}
# Runs of 5 minutes on two AMX cores reached 87.9 % with these small images, and 87.5 % with those of ``fast``.
_WIDE_FAST = {**_FAST, "resolutions": LARGER_FIRST}
# Smaller batches make more steps in the short runs that this network is for.
_SLIM_FAST = {**_FAST, "batch_size": 256, "learning_rate": 1.0}


def _family(name: str, describe: Callable[..., tuple[Layer, ...]], fast: Mapping[str, Any]) -> Family:
    """Return the family of the one network ``name``, for which the recipe ``fast`` has the values of ``fast``."""
    return Family(
        pattern=re.compile(re.escape(name)),
        names=(name,),
        form=name,
        title=lambda depth: f"CNN {name}",
        describe=describe,
        require_depth=_require_depth,
        head=_HEAD,
        recipe_changes=lambda recipe, depth: fast if recipe == "fast" else {},
        only_depth=8,
        takes_muon=True,
        # Their embeddings are largest values of feature maps. At a threshold that keeps 95 % of test images, the
        # distance keeps 64 % of synthetic pictures and the largest logit 26 % (benchmarks/README.md).
        distance_rejects=False,
        smallest_image=12,
        image_multiple=4,
    )


AIRBENCH = _family("airbench94", describe, _WIDE_FAST)
AIRBENCH_SLIM = _family("airbench94-slim", partial(describe, channels=SLIM_CHANNELS, activation=relu), _SLIM_FAST)
