"""A network as plain data: layers with their shapes, weights and cost, known without importing Keras.

The Keras model is built from it (``cifarnet.models.network``), ``cifarnet summary`` computes from it in
milliseconds, and weight files are checked against it before anything is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Weight:
    """One tensor of a layer: its name within the layer, its shape, and whether training changes it by gradient."""

    name: str
    shape: tuple[int, ...]
    trainable: bool = True

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Layer:
    """One layer: a leaf with weights, or a container of ``layers``.

    ``output_shape`` leaves the batch axis out; ``own_macs`` counts the multiply-accumulates of one image in the
    convolutions of this very layer; ``config`` holds what building it needs beyond that.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    weights: tuple[Weight, ...] = ()
    own_macs: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple["Layer", ...] = ()

    @property
    def params(self) -> int:
        """Parameters in this layer and all below, trainable or not."""
        return sum(weight.size for weight in self._all_weights())

    @property
    def trainable_params(self) -> int:
        """Parameters that training changes by gradient (the moving statistics are not among them)."""
        return sum(weight.size for weight in self._all_weights() if weight.trainable)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image in this layer and all below."""
        return self.own_macs + sum(layer.macs for layer in self.layers)

    def _all_weights(self) -> Iterator[Weight]:
        yield from self.weights
        for layer in self.layers:
            yield from layer._all_weights()


def named_weights(layers: tuple[Layer, ...], prefix: str = "") -> dict[str, Weight]:
    """Every weight by its full name, ``sequential/res_net_unit_1/conv1/kernel``, in the network's order."""
    found: dict[str, Weight] = {}
    for layer in layers:
        path = f"{prefix}{layer.name}"
        found |= {f"{path}/{weight.name}": weight for weight in layer.weights}
        found |= named_weights(layer.layers, f"{path}/")
    return found


def total_params(layers: tuple[Layer, ...]) -> int:
    """Parameters of a whole network."""
    return sum(layer.params for layer in layers)


def total_macs(layers: tuple[Layer, ...]) -> int:
    """Multiply-accumulates of a whole network for one image."""
    return sum(layer.macs for layer in layers)


def conv2d(
    name: str, input_shape: tuple[int, int, int], filters: int, kernel: int, strides: int = 1, use_bias: bool = False
) -> Layer:
    """A convolution with "same" padding of square ``kernel``; ``input_shape`` is (height, width, channels)."""
    height, width, channels = input_shape
    output_shape = (-(-height // strides), -(-width // strides), filters)
    weights = [Weight("kernel", (kernel, kernel, channels, filters))]
    if use_bias:
        weights.append(Weight("bias", (filters,)))
    return Layer(
        name,
        "Conv2D",
        output_shape,
        tuple(weights),
        own_macs=output_shape[0] * output_shape[1] * kernel * kernel * channels * filters,
        config={"filters": filters, "kernel_size": kernel, "strides": strides, "use_bias": use_bias},
    )


def batch_normalization(name: str, input_shape: tuple[int, int, int]) -> Layer:
    """Batch normalization over the channels, with the document's momentum 0.99 and epsilon 1e-3 (Keras's defaults)."""
    channels = (input_shape[-1],)
    return Layer(
        name,
        "BatchNormalization",
        input_shape,
        (
            Weight("gamma", channels),
            Weight("beta", channels),
            Weight("moving_mean", channels, trainable=False),
            Weight("moving_variance", channels, trainable=False),
        ),
        config={"momentum": 0.99, "epsilon": 1e-3},
    )
