"""Say what a family of networks is: all that the rest of cifarnet has to know of one."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from cifarnet.models.layers import Layer


@dataclass(frozen=True)
class Family:
    """Networks that one function describes, such as the ResNets of all depths.

    A new family is one module with a ``Family`` and one row in ``cifarnet.models.spec.MODELS``.
    """

    pattern: re.Pattern[str]
    """Matches the names of the networks; its group ``depth`` is the number of layers with weights."""
    names: tuple[str, ...]
    """Names of the documented networks."""
    form: str
    """The form of all names, for messages: ``resnet<6n+2>``."""
    title: Callable[[int], str]
    """Returns the name in prose of the network of that depth: ``ResNet-20``."""
    describe: Callable[[int, int, int], tuple[Layer, ...]]
    """Returns the top-level layers for (depth, classes, image size)."""
    require_depth: Callable[[int], None]
    """Raises an ``InvalidValueError`` for a depth that no network of the family has."""
    head: str
    """Name of the first layer of the head; the layers before it are the base that ``--freeze-base`` keeps fixed."""
    smallest_image: int
    """The smallest image side, in pixels."""
    image_multiple: int
    """Image sides are multiples of this: each halving of the feature maps must come out even."""
    grows: bool = False
    """Whether a deeper network can begin with the weights of a shallower one."""

    def takes(self, image_size: int) -> bool:
        """Return whether the networks take images with sides of ``image_size`` pixels."""
        return image_size >= self.smallest_image and image_size % self.image_multiple == 0
