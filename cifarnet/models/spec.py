"""Names of networks, as validated plain data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Self

from cifarnet.errors import InvalidValueError, did_you_mean, invalid
from cifarnet.fields import require_whole
from cifarnet.models.airbench import AIRBENCH, AIRBENCH_SLIM
from cifarnet.models.family import Family
from cifarnet.models.layers import Layer, named_weights
from cifarnet.models.preactresnet import PREACT_RESNET
from cifarnet.models.resnet import RESNET
from cifarnet.models.resnet_v1 import RESNET_V1, RESNET_V1B
from cifarnet.models.vgg import VGG

MODELS = {
    "resnet": RESNET,
    "resnet-v1": RESNET_V1,
    "resnet-v1b": RESNET_V1B,
    "preactresnet": PREACT_RESNET,
    "vgg": VGG,
    "airbench": AIRBENCH,
    "airbench-slim": AIRBENCH_SLIM,
}
"""The families of networks. A new family is a module with its ``Family`` and a row here."""


@dataclass(frozen=True)
class ModelSpec:
    """A network by its name.

    Attributes:
        name: its name, such as ``resnet20``.
        classes: its number of classes.
        image_size: side of its images in pixels.

    Raises:
        InvalidValueError: for an unknown name, fewer than two classes, an image size that the network does not take,
            or a number that is not an int. The message names valid values.
    """

    name: str = "resnet20"
    classes: int = 10
    image_size: int = 32

    def __post_init__(self) -> None:
        family = self.family
        family.require_depth(self.depth)
        require_whole("classes", self.classes)
        require_whole("image_size", self.image_size)
        if self.classes < 2:
            raise invalid("classes", "needs at least 2 classes", self.classes, valid="at least 2", what="A classifier")
        if not family.takes(self.image_size):
            nearest = family.nearest_sizes(self.image_size)
            problem = (
                f"must be at least {family.smallest_image} pixels and a multiple of {family.image_multiple} for a"
                f" {self.title}; nearest: {' and '.join(map(str, nearest))}"
            )
            raise invalid("image_size", problem, self.image_size, valid=nearest)

    @property
    def family(self) -> Family:
        """The family that the network belongs to.

        Raises:
            InvalidValueError: when no family has a network of this name.
        """
        return _parse(self.name)[0]

    @property
    def depth(self) -> int:
        """The number of layers with weights on the longest path, which most networks have in their name."""
        return _parse(self.name)[1]

    @property
    def title(self) -> str:
        """The network's name in prose, such as ``ResNet-20``."""
        return self.family.title(self.depth)

    def recipe_changes(self, recipe: str) -> Mapping[str, Any]:
        """Return the fields in which the recipe named ``recipe`` differs for this network, with their values."""
        return self.family.recipe_changes(recipe, self.depth)

    def grows_from(self, smaller: Self) -> bool:
        """Return whether the network is the network ``smaller`` with additional units that can start as identities.

        The number of classes may differ.
        """
        if self.family is not smaller.family or not self.family.grows or self.depth <= smaller.depth:
            return False
        mine, theirs = (named_weights(describe(replace(spec, classes=2))) for spec in (self, smaller))
        return all(name in mine and mine[name].shape == weight.shape for name, weight in theirs.items())

    def shares_weights_with(self, other: Self) -> bool:
        """Return whether weights of the network ``other`` fit into the network, apart from the number of classes.

        Networks that average over all positions have the same weights at all image sizes. A dense layer on flattened
        feature maps has weights for one size of the maps.
        """
        mine, theirs = (named_weights(describe(replace(spec, classes=2))) for spec in (self, other))
        return {name: weight.shape for name, weight in mine.items()} == {
            name: weight.shape for name, weight in theirs.items()
        }

    def at_size(self, image_size: int) -> Self | None:
        """Return the network for images of ``image_size`` pixels, if it takes them and has the same weights."""
        if not self.family.takes(image_size):
            return None
        resized = replace(self, image_size=image_size)
        return resized if self.shares_weights_with(resized) else None

    def fitting_sizes(self, largest: int) -> tuple[int, ...]:
        """Return the image sizes up to ``largest`` at which the network has the same weights."""
        return tuple(size for size in range(1, largest + 1) if self.at_size(size))

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON-ready data, so that ``ModelSpec(**spec.to_dict()) == spec``."""
        return asdict(self)


@lru_cache(maxsize=32)
def describe(spec: ModelSpec) -> tuple[Layer, ...]:
    """Return the top-level layers of the network of ``spec``, in order."""
    return spec.family.describe(spec.depth, spec.classes, spec.image_size)


def base_and_head(spec: ModelSpec) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Return the layers of the base, which ``--freeze-base`` keeps fixed, and those of the head after it."""
    layers = describe(spec)
    start = [layer.name for layer in layers].index(spec.family.head)
    return layers[:start], layers[start:]


def around_classifier(spec: ModelSpec) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Return the layers before the classifier, the last layer with weights, and those from it on."""
    layers = describe(spec)
    start = max(index for index, layer in enumerate(layers) if layer.weights)
    return layers[:start], layers[start:]


def embedding_size(spec: ModelSpec) -> int:
    """Return how many numbers the classifier gets for an image."""
    return math.prod(around_classifier(spec)[0][-1].output_shape)


def model_name(depth: int) -> str:
    """Return the name of the pre-activation ResNet with ``depth``, as for the option ``--depth``.

    Raises:
        InvalidValueError: for a depth that is not 6n+2.
    """
    require_whole("depth", depth)
    RESNET.require_depth(depth)
    return f"resnet{depth}"


def _parse(name: str) -> tuple[Family, int]:
    if not isinstance(name, str):
        meant = f" Did you mean resnet{name}?" if type(name) is int else ""
        problem, shown = "is given by its name, such as resnet20", f"{name!r:.60}"
        raise invalid("name", problem, name, remedy=meant.strip(), received=shown, what="A network")
    for family in MODELS.values():
        if match := family.pattern.fullmatch(name):
            return family, family.only_depth or int(match["depth"])
    known = [each for family in MODELS.values() for each in family.names]
    forms = ", ".join(family.form for family in MODELS.values())
    raise InvalidValueError(
        f"There is no such network.{did_you_mean(name[:64], known)} Networks are {forms}, for example {ModelSpec.name}."
        f" Received: {name:.60}",
        field="name",
        value=name,
        valid=tuple(known),
    )


PRESETS = {name: ModelSpec(name) for family in MODELS.values() for name in family.names}
"""The documented networks by name."""
