"""A family of networks that is not cifarnet's: small, with dropout, and with images of any size."""

import re

from cifarnet.models.family import Family
from cifarnet.models.layers import (
    batch_normalization,
    conv2d,
    dropout,
    flatten,
    global_average_pooling,
    relu,
    softmax,
)


def describe_tiny(depth, classes, image_size):
    """One convolution, dropout, and a head that is a 1x1 convolution."""
    shape = (image_size, image_size, 4)
    return (
        conv2d("stem", (image_size, image_size, 3), 4, 3),
        dropout("drop", shape, 0.5),
        batch_normalization("norm", shape),
        relu(shape),
        global_average_pooling(shape),
        conv2d("classifier", (1, 1, 4), classes, 1, use_bias=True, full_precision=True),
        flatten((1, 1, classes)),
        softmax("softmax", classes),
    )


TINY = Family(
    pattern=re.compile(r"tiny(?P<depth>2)"),
    names=("tiny2",),
    form="tiny2",
    title="Tiny-{}".format,
    describe=describe_tiny,
    require_depth=lambda depth: None,
    head="norm",
    smallest_image=4,
    image_multiple=1,
)
