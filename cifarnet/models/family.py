"""The class ``Family``: the facts about a family of networks that the rest of cifarnet uses."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cifarnet.models.layers import Layer


@dataclass(frozen=True)
class Family:
    """A family of networks that one function describes, such as the ResNets of all depths.

    A new family is one module with a ``Family`` and one row in ``cifarnet.models.spec.MODELS``.
    """

    pattern: re.Pattern[str]
    """Matches the names of the networks. Its group ``depth`` is the number of layers with weights, unless there is
    ``only_depth``."""
    names: tuple[str, ...]
    """Names of the documented networks."""
    form: str
    """The form of all names, for messages: ``resnet<6n+2>``."""
    title: Callable[[int], str]
    """Returns the name in prose of the network with a depth, such as ``ResNet-20``."""
    describe: Callable[[int, int, int], tuple[Layer, ...]]
    """Returns the top-level layers of the network for (depth, classes, image size)."""
    require_depth: Callable[[int], None]
    """Raises an ``InvalidValueError`` for a depth that the family does not have."""
    head: str
    """Name of the first layer of the head. The layers before it are the base, which ``--freeze-base`` keeps fixed."""
    smallest_image: int
    """The smallest image side, in pixels."""
    image_multiple: int
    """Image sides are multiples of this, because most networks halve their feature maps without a remainder."""
    recipe_changes: Callable[[str, int], Mapping[str, Any]] = lambda recipe, depth: {}
    """Returns the fields in which a named recipe differs for the network with a depth, for (recipe, depth)."""
    only_depth: int | None = None
    """The number of layers with weights where the name does not have it."""
    takes_muon: bool = False
    """Whether batch normalization follows every convolution that is trained, so that its kernel may have any norm. Muon
    gives kernels a norm (``cifarnet.training.muon``)."""
    distance_rejects: bool = True
    """Whether the distance of embeddings from those of the training images tells pictures of no class from others. For
    networks where it does not, they are judged by the largest logit (``cifarnet.inference.rejection``)."""
    grows: bool = False
    """Whether a deeper network can start with the weights of a shallower one."""

    def takes(self, image_size: int) -> bool:
        """Return whether the networks take images of ``image_size`` x ``image_size`` pixels."""
        return image_size >= self.smallest_image and image_size % self.image_multiple == 0

    def nearest_sizes(self, image_size: int) -> tuple[int, ...]:
        """Return the image sizes, one or two, that are nearest to an ``image_size`` that the networks do not take."""
        below = image_size - image_size % self.image_multiple
        return tuple(dict.fromkeys(max(self.smallest_image, each) for each in (below, below + self.image_multiple)))
