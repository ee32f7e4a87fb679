"""How many images a network can classify at once within a limit of memory, from its description."""

import math
from itertools import pairwise

from cifarnet.models.layers import leaves
from cifarnet.models.spec import ModelSpec, describe

ACTIVATION_LIMIT = 512 << 20
"""Bytes of the largest feature maps of a batch: the input and the output of one layer, in float32.

All networks classify 250 images of 32 pixels within the limit; VGG-16 needs 131 MB. Larger images have smaller batches.
"""


def activation_bytes(spec: ModelSpec) -> int:
    """Return the bytes that the largest input and output of one layer take for one image, in float32."""
    sizes = [math.prod(layer.output_shape) for _, layer in leaves(describe(spec))]
    return 4 * max(before + after for before, after in pairwise(sizes))


def images_within_limit(spec: ModelSpec, most: int) -> int:
    """Return how many images the network of ``spec`` classifies at once: ``most``, or fewer, but at least one."""
    return max(1, min(most, ACTIVATION_LIMIT // activation_bytes(spec)))
