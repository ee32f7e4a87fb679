"""Describe a network as plain data: layers with their shapes, weights and cost.

The Keras model (``cifarnet.models.network``), the table of ``cifarnet summary``, the check of weight files and the
initial weights (``cifarnet.models.initial``) all derive from this description. It needs no Keras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Weight:
    """One tensor of a layer: its name within the layer and its shape.

    ``trainable`` weights change by gradient; others, such as moving averages, do not. The L2 penalty of a recipe
    applies to ``regularized`` weights. ``initial`` is ``"zeros"``, ``"ones"`` or ``"he_normal"`` (He et al. 2015,
    arXiv:1502.01852). A weight that is ``zero_when_added`` makes the residual unit around it an identity when it is
    zero: networks that grow by such units begin with the function of the smaller network.
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
    """One layer: a leaf with weights, or a container of ``layers``.

    ``output_shape`` has no batch axis. ``own_macs`` counts the multiply-accumulates of this layer alone for one image.
    ``config`` holds what building the layer needs beyond shapes. The documented table has a row for the layer if
    ``in_table``. A layer in ``full_precision`` computes in float32 also where feature maps have another precision.
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
        """Number of parameters in this layer and all below it, trainable or not."""
        return sum(weight.size for weight in self._all_weights())

    @property
    def trainable_params(self) -> int:
        """Number of parameters that training changes by gradient."""
        return sum(weight.size for weight in self._all_weights() if weight.trainable)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image in this layer and all below it."""
        return self.own_macs + sum(layer.macs for layer in self.layers)

    def _all_weights(self) -> Iterator[Weight]:
        yield from self.weights
        for layer in self.layers:
            yield from layer._all_weights()


def leaves(layers: tuple[Layer, ...], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer that is no container, with its full name such as ``sequential/res_net_unit_1/conv1``."""
    for layer in layers:
        path = f"{prefix}{layer.name}"
        if layer.layers:
            yield from leaves(layer.layers, f"{path}/")
        else:
            yield path, layer


def named_weights(layers: tuple[Layer, ...]) -> dict[str, Weight]:
    """Return every weight by its full name, ``sequential/res_net_unit_1/conv1/kernel``, in the order of the network."""
    return {f"{path}/{weight.name}": weight for path, layer in leaves(layers) for weight in layer.weights}


def classifier_name(layers: tuple[Layer, ...]) -> str:
    """Return the full name of the last layer with weights, the only one whose shape depends on the classes."""
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
    use_bias: bool = False,
    zero_when_added: bool = False,
    full_precision: bool = False,
) -> Layer:
    """Describe a convolution with "same" padding, square ``kernel`` and L2 penalty.

    ``input_shape`` is (height, width, channels).
    """
    height, width, channels = input_shape
    output_shape = (-(-height // strides), -(-width // strides), filters)
    shape = (kernel, kernel, channels, filters)
    weights = [Weight("kernel", shape, regularized=True, initial="he_normal", zero_when_added=zero_when_added)]
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
            "padding": "same",
            "use_bias": use_bias,
        },
        full_precision=full_precision,
    )


def batch_normalization(name: str, input_shape: tuple[int, ...]) -> Layer:
    """Describe batch normalization over the channels, with momentum 0.99 and epsilon 1e-3 (Keras's defaults)."""
    channels = (input_shape[-1],)
    return Layer(
        name,
        "BatchNormalization",
        input_shape,
        (
            Weight("gamma", channels, initial="ones"),
            Weight("beta", channels),
            Weight("moving_mean", channels, trainable=False),
            Weight("moving_variance", channels, trainable=False, initial="ones"),
        ),
        config={"momentum": 0.99, "epsilon": 1e-3},
    )


def relu(input_shape: tuple[int, ...]) -> Layer:
    """Describe max(x, 0), without a row in the table."""
    return Layer("relu", "ReLU", input_shape, in_table=False)


def dropout(name: str, input_shape: tuple[int, ...], rate: float) -> Layer:
    """Describe dropout of the fraction ``rate`` in training (Srivastava et al. 2014)."""
    return Layer(name, "Dropout", input_shape, config={"rate": rate})


def global_average_pooling(input_shape: tuple[int, int, int]) -> Layer:
    """Describe the mean over all positions, (height, width, channels) to (1, 1, channels), without a table row."""
    shape = (1, 1, input_shape[-1])
    return Layer("global_average_pooling2d", "GlobalAveragePooling2D", shape, in_table=False, full_precision=True)


def flatten(input_shape: tuple[int, ...]) -> Layer:
    """Describe the change of an image's feature maps to one vector, without a row in the table."""
    return Layer("flatten", "Flatten", (int(np.prod(input_shape)),), in_table=False, full_precision=True)


def softmax(name: str, classes: int) -> Layer:
    """Describe the softmax that turns logits into class probabilities."""
    return Layer(name, "Activation", (classes,), full_precision=True)
