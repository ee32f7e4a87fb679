"""Describe a network as plain data: layers with their shapes, weights and cost.

The Keras model (``cifarnet.models.network``), the table of ``cifarnet summary``, the check of weight files and the
initial weights (``cifarnet.models.initial``) are derived from this description. This module does not import Keras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Weight:
    """One tensor of a layer.

    Attributes:
        name: its name within the layer.
        shape: its shape.
        trainable: whether gradients change it. They don't change moving averages.
        regularized: whether the L2 penalty of a recipe applies to it.
        initial: its initial value: ``"zeros"``, ``"ones"``, ``"he_normal"`` (He et al. 2015, arXiv:1502.01852),
            ``"uniform"`` (between -b and b, with b the reciprocal of the root of the inputs of an output, PyTorch's
            default), ``"partial_identity"`` (``"uniform"``, but each of the first outputs is one of the inputs), or
            ``"whitening"`` (computed from the training images, ``cifarnet.models.whitening``).
        zero_when_added: whether it is zero at first in a unit that is added to a trained network. The residual unit is
            then an identity, so that the larger network starts with the function of the smaller one.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool = True
    regularized: bool = False
    initial: str = "zeros"
    zero_when_added: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Layer:
    """One layer, or a container of layers.

    Attributes:
        name: its name within the container.
        type: its type, such as ``Conv2D``.
        output_shape: shape of its output, without the batch axis.
        weights: its tensors.
        own_macs: multiply-accumulates for one image, without those of ``layers``.
        config: arguments to build the layer, besides shapes.
        layers: the layers of a container, in order.
        in_table: whether the documented table has a row for it.
        full_precision: whether it computes in float32 in mixed precision too.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    weights: tuple[Weight, ...] = ()
    own_macs: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple["Layer", ...] = ()
    in_table: bool = True
    full_precision: bool = False

    @property
    def params(self) -> int:
        """Number of parameters in this layer and the layers in it, trainable or not."""
        return sum(weight.size for weight in self._all_weights())

    @property
    def trainable_params(self) -> int:
        """Number of parameters that gradients change."""
        return sum(weight.size for weight in self._all_weights() if weight.trainable)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image in this layer and the layers in it."""
        return self.own_macs + sum(layer.macs for layer in self.layers)

    def _all_weights(self) -> Iterator[Weight]:
        yield from self.weights
        for layer in self.layers:
            yield from layer._all_weights()


def leaves(layers: tuple[Layer, ...], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer that is not a container, with its full name such as ``sequential/res_net_unit_1/conv1``."""
    for layer in layers:
        path = f"{prefix}{layer.name}"
        if layer.layers:
            yield from leaves(layer.layers, f"{path}/")
        else:
            yield path, layer


def named_weights(layers: tuple[Layer, ...]) -> dict[str, Weight]:
    """Return every weight by full name, such as ``sequential/res_net_unit_1/conv1/kernel``, in the network's order."""
    return {f"{path}/{weight.name}": weight for path, layer in leaves(layers) for weight in layer.weights}


def classifier_name(layers: tuple[Layer, ...]) -> str:
    """Return the full name of the last layer with weights. Its shape alone depends on the number of classes."""
    return [path for path, layer in leaves(layers) if layer.weights][-1]


def total_params(layers: tuple[Layer, ...]) -> int:
    """Return the number of parameters of a network."""
    return sum(layer.params for layer in layers)


def total_macs(layers: tuple[Layer, ...]) -> int:
    """Return the multiply-accumulates of a network for one image."""
    return sum(layer.macs for layer in layers)


def conv2d(
    name: str,
    input_shape: tuple[int, int, int],
    filters: int,
    kernel: int,
    *,
    strides: int = 1,
    padding: str = "same",
    use_bias: bool = False,
    zero_when_added: bool = False,
    full_precision: bool = False,
    initial: str = "he_normal",
    trains_kernel: bool = True,
) -> Layer:
    """Describe a convolution with an L2 penalty, from a side of n pixels to one of ceil(n / ``strides``).

    With the padding ``valid`` the side becomes (n - ``kernel``) // ``strides`` + 1.

    Args:
        name: the name of the layer.
        input_shape: (height, width, channels).
        filters: channels of the output.
        kernel: side of the kernel in pixels, an odd number if the padding is symmetric.
        strides: pixels from one position of the kernel to the next.
        padding: where zeros are added around the image. ``"symmetric"``: (``kernel`` - 1) / 2 at each edge, as in Caffe
            and PyTorch. ``"same"``: as few as suffice, as in TensorFlow; if their number is odd, the bottom and the
            right get one more. Without strides both are equal. ``"valid"``: none.
        use_bias: whether a bias is added.
        zero_when_added: that of the kernel.
        full_precision: that of the layer.
        initial: that of the kernel.
        trains_kernel: whether the kernel is trained. Otherwise it has no L2 penalty.
    """
    height, width, channels = input_shape
    lost = kernel - 1 if padding == "valid" else 0
    output_shape = (-(-(height - lost) // strides), -(-(width - lost) // strides), filters)
    shape = (kernel, kernel, channels, filters)
    weights = [
        Weight(
            "kernel", shape, trains_kernel, regularized=trains_kernel, initial=initial, zero_when_added=zero_when_added
        )
    ]
    if use_bias:
        weights.append(Weight("bias", (filters,)))
    return Layer(
        name,
        "Conv2D",
        output_shape,
        tuple(weights),
        own_macs=output_shape[0] * output_shape[1] * kernel * kernel * channels * filters,
        config={
            "filters": filters,
            "kernel_size": kernel,
            "strides": strides,
            "padding": padding,
            "use_bias": use_bias,
        },
        full_precision=full_precision,
    )


def batch_normalization(
    name: str,
    input_shape: tuple[int, ...],
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    zero_when_added: bool = False,
    scale: bool = True,
) -> Layer:
    """Describe batch normalization over the channels. The defaults of ``momentum`` and ``epsilon`` are Keras's.

    Training multiplies the moving moments by ``momentum``, which PyTorch calls 1 - momentum. ``zero_when_added`` is
    that of the scale gamma. Without ``scale`` there is no gamma.
    """
    channels = (input_shape[-1],)
    gamma = Weight("gamma", channels, initial="ones", zero_when_added=zero_when_added)
    return Layer(
        name,
        "BatchNormalization",
        input_shape,
        (
            *((gamma,) if scale else ()),
            Weight("beta", channels),
            Weight("moving_mean", channels, trainable=False),
            Weight("moving_variance", channels, trainable=False, initial="ones"),
        ),
        config={"momentum": momentum, "epsilon": epsilon, "scale": scale},
    )


def dense(
    name: str,
    inputs: int,
    units: int,
    *,
    regularized: bool = False,
    full_precision: bool = False,
    use_bias: bool = True,
    initial: str = "he_normal",
) -> Layer:
    """Describe a fully connected layer from a vector of ``inputs`` values to ``units`` values.

    ``initial`` is that of the kernel.
    """
    kernel = Weight("kernel", (inputs, units), regularized=regularized, initial=initial)
    return Layer(
        name,
        "Dense",
        (units,),
        (kernel, Weight("bias", (units,))) if use_bias else (kernel,),
        own_macs=inputs * units,
        config={"units": units, "use_bias": use_bias},
        full_precision=full_precision,
    )


def max_pooling(name: str, input_shape: tuple[int, int, int], *, padding: str = "same") -> Layer:
    """Describe the maximum over blocks of 2x2 positions.

    At an odd side, the last block is smaller, or with the ``padding`` ``"valid"`` left out.
    """
    height, width, channels = input_shape
    added = 1 if padding == "same" else 0
    config = {"pool_size": 2, "strides": 2, "padding": padding}
    return Layer(name, "MaxPooling2D", ((height + added) // 2, (width + added) // 2, channels), config=config)


def average_pooling(name: str, input_shape: tuple[int, int, int], pool_size: int, strides: int) -> Layer:
    """Describe the mean over blocks of ``pool_size`` x ``pool_size`` positions, without padding or a table row.

    With a ``pool_size`` of 1 it takes every ``strides``-th row and column, and computes no mean.
    """
    height, width, channels = input_shape
    rows, columns = ((side - pool_size) // strides + 1 for side in (height, width))
    config = {"pool_size": pool_size, "strides": strides}
    return Layer(name, "AveragePooling2D", (rows, columns, channels), config=config, in_table=False)


def zero_channels(name: str, input_shape: tuple[int, int, int], channels: int) -> Layer:
    """Describe padding to ``channels`` channels with zeros, half before and half after, without a table row."""
    height, width, present = input_shape
    before = (channels - present) // 2
    config = {"before": before, "after": channels - present - before}
    return Layer(name, "ZeroChannels", (height, width, channels), config=config, in_table=False)


def relu(input_shape: tuple[int, ...], name: str = "relu") -> Layer:
    """Describe a ReLU, without a row in the table."""
    return Layer(name, "ReLU", input_shape, in_table=False)


def gelu(input_shape: tuple[int, ...], name: str = "gelu") -> Layer:
    """Describe a GELU, x times the normal distribution function of x (arXiv:1606.08415), without a row in the table."""
    return Layer(name, "GELU", input_shape, in_table=False)


def rescaling(name: str, input_shape: tuple[int, ...], scale: float) -> Layer:
    """Describe a multiplication by the fixed number ``scale``, without a row in the table."""
    return Layer(name, "Rescaling", input_shape, config={"scale": scale}, in_table=False, full_precision=True)


def dropout(name: str, input_shape: tuple[int, ...], rate: float) -> Layer:
    """Describe dropout of the fraction ``rate`` of the values in training (Srivastava et al. 2014)."""
    return Layer(name, "Dropout", input_shape, config={"rate": rate})


def global_average_pooling(input_shape: tuple[int, int, int]) -> Layer:
    """Describe the mean over all positions, (height, width, channels) to (1, 1, channels), without a table row."""
    shape = (1, 1, input_shape[-1])
    return Layer("global_average_pooling2d", "GlobalAveragePooling2D", shape, in_table=False, full_precision=True)


def global_max_pooling(input_shape: tuple[int, int, int]) -> Layer:
    """Describe the maximum over all positions, (height, width, channels) to (1, 1, channels), without a table row."""
    shape = (1, 1, input_shape[-1])
    return Layer("global_max_pooling2d", "GlobalMaxPooling2D", shape, in_table=False, full_precision=True)


def flatten(input_shape: tuple[int, ...]) -> Layer:
    """Describe the reshaping of an image's feature maps to one vector, without a row in the table."""
    return Layer("flatten", "Flatten", (int(np.prod(input_shape)),), in_table=False, full_precision=True)


def softmax(name: str, classes: int) -> Layer:
    """Describe the softmax that converts logits to class probabilities."""
    return Layer(name, "Activation", (classes,), full_precision=True)


class ResidualPaths(NamedTuple):
    """The layers of a residual unit, which computes ``after(branch(y) + shortcut(y))`` with ``y = before(x)``.

    Each path is a sequence of layers. An empty path returns its input.
    """

    before: tuple[Layer, ...]
    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...]
    after: tuple[Layer, ...]


def residual_unit(name: str, paths: ResidualPaths) -> Layer:
    """Describe a residual unit. Its configuration has the names of the layers on each path."""
    config = {path: tuple(layer.name for layer in layers) for path, layers in paths._asdict().items()}
    inner = tuple(layer for path in paths for layer in path)
    return Layer(name, "ResidualUnit", paths.branch[-1].output_shape, config=config, layers=inner)


def residual_paths(unit: Layer) -> ResidualPaths:
    """Return the paths of a residual unit."""
    by_name = {layer.name: layer for layer in unit.layers}
    return ResidualPaths(*(tuple(by_name[name] for name in unit.config[path]) for path in ResidualPaths._fields))


def residual_units(layers: tuple[Layer, ...]) -> int:
    """Return the number of residual units in ``layers`` and the layers in them."""
    return sum((layer.type == "ResidualUnit") + residual_units(layer.layers) for layer in layers)
