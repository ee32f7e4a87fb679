"""Describe the parts that families of ResNets share: stages, units and shortcuts.

Sources: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), and He et al. 2016,
"Identity Mappings in Deep Residual Networks" (arXiv:1603.05027).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cifarnet.errors import InvalidValueError
from cifarnet.models.layers import (
    Layer,
    ResidualPaths,
    average_pooling,
    batch_normalization,
    conv2d,
    relu,
    residual_unit,
    zero_channels,
)

CIFAR_CHANNELS = (16, 32, 64)
"""Channels of the stages of the ResNets for CIFAR-10 (arXiv:1512.03385, section 4.2)."""

Describe = Callable[..., Layer]

caffe_conv2d = partial(conv2d, padding="symmetric")
"""Describes a convolution as Caffe and PyTorch pad it."""

caffe_batch_normalization = partial(batch_normalization, momentum=0.9, epsilon=1e-5)
"""Describes batch normalization with the constants of Caffe, Torch and PyTorch."""


@dataclass(frozen=True)
class UnitPlan:
    """What the place of a residual unit in the network fixes."""

    name: str
    input_shape: tuple[int, int, int]
    """(height, width, channels)."""
    channels: int
    """Channels of the output."""
    strides: int
    """Pixels of the input for one pixel of the output, in both directions."""
    is_first: bool
    """Whether it is the network's first unit."""

    @property
    def changes_shape(self) -> bool:
        """Whether the input and the output of the unit differ in shape."""
        return self.strides > 1 or self.input_shape[-1] != self.channels


def residual_stages(
    shape: tuple[int, int, int],
    channels: Sequence[int],
    units: Sequence[int],
    describe_unit: Callable[[UnitPlan], Layer],
) -> tuple[Layer, ...]:
    """Describe stages of residual units. The first unit of every stage but the first has strides of 2.

    Args:
        shape: shape of the input, (height, width, channels).
        channels: channels of each stage.
        units: number of units of each stage.
        describe_unit: returns a unit's description.
    """
    stages = []
    for index, (width, count) in enumerate(zip(channels, units, strict=True)):
        inner = []
        for unit in range(count):
            strides = 2 if index > 0 and unit == 0 else 1
            plan = UnitPlan(f"res_net_unit_{unit + 1}", shape, width, strides, is_first=index == unit == 0)
            inner.append(describe_unit(plan))
            shape = image_shape(inner[-1])
        stages.append(Layer(f"sequential_{index}" if index else "sequential", "Sequential", shape, layers=tuple(inner)))
    return tuple(stages)


def preactivation_unit(
    plan: UnitPlan,
    shortcut: tuple[Layer, ...],
    *,
    activates_shortcut: bool,
    conv: Describe = conv2d,
    norm: Describe = batch_normalization,
) -> Layer:
    """Describe BN - ReLU - conv - BN - ReLU - conv plus a shortcut (arXiv:1603.05027, figure 4e).

    Args:
        plan: the place of the unit.
        shortcut: the layers of the shortcut.
        activates_shortcut: whether the shortcut begins after the first BN - ReLU rather than before it.
        conv: describes the convolutions.
        norm: describes batch normalization.
    """
    first = conv("conv1", plan.input_shape, plan.channels, 3, strides=plan.strides)
    inner = image_shape(first)
    activation = (norm("batchnorm_1", plan.input_shape), relu(plan.input_shape, "relu_1"))
    branch = (
        first,
        norm("batchnorm_2", inner),
        relu(inner, "relu_2"),
        conv("conv2", inner, plan.channels, 3, zero_when_added=True),
    )
    if activates_shortcut:
        return residual_unit(plan.name, ResidualPaths(activation, branch, shortcut, ()))
    return residual_unit(plan.name, ResidualPaths((), activation + branch, shortcut, ()))


def padded_shortcut(plan: UnitPlan, pool_size: int) -> tuple[Layer, ...]:
    """Describe the shortcut without weights ("option A"): pooling and channels of zeros, where the shape changes."""
    if not plan.changes_shape:
        return ()
    pool = average_pooling("pool", plan.input_shape, pool_size, plan.strides)
    return (pool, zero_channels("pad", image_shape(pool), plan.channels))


def image_shape(layer: Layer) -> tuple[int, int, int]:
    """Return the shape of a layer's output, (height, width, channels)."""
    height, width, channels = layer.output_shape
    return height, width, channels


def cifar_units(depth: int) -> tuple[int, int, int]:
    """Return the number of units of each stage of a ResNet for CIFAR-10 with ``depth`` 6n+2."""
    return ((depth - 2) // 6,) * 3


def require_cifar_depth(depth: int) -> None:
    """Check that ``depth`` is 6n+2.

    Raises:
        InvalidValueError: when it is not. The message names the nearest depths.
    """
    if depth < 8 or (depth - 2) % 6:
        raise InvalidValueError(
            f"A CIFAR ResNet has a depth of 6n+2 (8, 14, 20, 26, 32, ...); nearest: {_nearest_depths(depth)}."
            f" Received: {depth}"
        )


def paper_changes(depth: int) -> dict[str, int]:
    """Return the fields in which the recipe ``paper`` differs for a CIFAR ResNet with ``depth``.

    In the paper a learning rate of 0.1 was too large at the start of ResNet-110, so about 400 steps used 0.01.
    """
    return {"warmup_steps": 400} if depth >= 110 else {}


def _nearest_depths(depth: int) -> str:
    below = max(8, depth - (depth - 2) % 6)
    return str(below) if depth <= below else f"{below} and {below + 6}"
