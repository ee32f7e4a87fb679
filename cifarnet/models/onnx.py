"""Build the ONNX graph of a network from its description: uint8 images in, logits out.

The operators are those of the ONNX specification (https://onnx.ai/onnx/operators/). Importing this module imports onnx:
import it inside functions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cifarnet.models.embeddings import TINY, EmbeddingStatistics
from cifarnet.models.layers import Layer, residual_paths
from cifarnet.models.onnx_names import DISTANCE, IMAGES, LOGITS, PROBABILITIES
from cifarnet.models.spec import ModelSpec, around_classifier
from cifarnet.preprocessing import Normalization

OPSET, IR_VERSION = 17, 8
"""The versions of ONNX's operators and files: those of 2022, which all runtimes in use read."""


def onnx_model(
    spec: ModelSpec,
    tensors: Mapping[str, np.ndarray],
    normalization: Normalization,
    *,
    temperature: float | None = None,
    statistics: EmbeddingStatistics | None = None,
) -> onnx.ModelProto:
    """Return a graph from ``images``, uint8 (batch, size, size, 3), to ``logits``, float32 (batch, classes).

    The batch has any size. Weights have their full names.

    Args:
        spec: the network.
        tensors: its weights by full name.
        normalization: preprocessing of the images, which becomes part of the graph.
        temperature: if given, the first output is ``probabilities``, float32 (batch, classes): the softmax of the
            logits divided by the temperature. The logits are the second output.
        statistics: if given, the last output is ``distance``, float32 (batch,), as ``EmbeddingStatistics.distances``.
    """
    size = spec.image_size
    graph = _Graph(tensors)
    before, (*classifier, _softmax) = around_classifier(spec)
    # The transposition comes first, because it copies a quarter of the bytes while the pixels are uint8.
    x = graph.add("Transpose", "channels_first", IMAGES, perm=(0, 3, 1, 2))
    x = graph.add("Cast", "pixels", x, to=TensorProto.FLOAT)
    x = graph.add("Sub", "centred", x, graph.constant("mean", _by_channel(normalization.mean)))
    x = graph.add("Div", "normalized", x, graph.constant("std", _by_channel(normalization.std)))
    embedding = _run(graph, before, "", _Value(x, (size, size, 3)))
    graph.add("Identity", LOGITS, _run(graph, classifier, "", embedding).name)
    outputs: dict[str, tuple[str | int, ...]] = {LOGITS: ("batch", spec.classes)}
    if temperature is not None:
        divisor = graph.constant("temperature", np.float32(temperature))
        graph.add("Softmax", PROBABILITIES, graph.add("Div", "calibrated", LOGITS, divisor), axis=1)
        outputs = {PROBABILITIES: outputs[LOGITS], **outputs}
    if statistics is not None:
        _distance(graph, _flatten(graph, before[-1], "embedding", embedding), statistics)
        outputs[DISTANCE] = ("batch",)
    made = helper.make_graph(
        graph.nodes,
        spec.name,
        [helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        graph.constants,
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="cifarnet"
    )


def _distance(graph: "_Graph", embedding: str, statistics: EmbeddingStatistics) -> None:
    """Add the distance of ``embedding``, (batch, size), as ``EmbeddingStatistics.distances`` computes it."""
    centre, means = statistics.whitened_means()
    arrays = {
        "tiny": np.full((), TINY),
        "whitening": statistics.whitening,
        "centre": -centre @ statistics.whitening,
        "products": -2 * means.T,
        "squares": (means**2).sum(axis=1),
    }
    tiny, whitening, centred, products, squares = (
        graph.constant(f"distance/{name}", array.astype(np.float32)) for name, array in arrays.items()
    )
    length = graph.add("ReduceL2", "distance/length", embedding, axes=(1,), keepdims=1)
    unit = graph.add("Div", "distance/unit", embedding, graph.add("Add", "distance/divisor", length, tiny))
    whitened = graph.add("Gemm", "distance/whitened", unit, whitening, centred)
    to_means = graph.add("Gemm", "distance/to_means", whitened, products, squares)
    nearest = graph.add("ReduceMin", "distance/nearest", to_means, axes=(1,), keepdims=0)
    own = graph.add("ReduceSumSquare", "distance/own", whitened, axes=(1,), keepdims=0)
    # Rounding can make the square of a small distance negative.
    square = graph.add("Relu", "distance/square", graph.add("Add", "distance/sum", own, nearest))
    graph.add("Sqrt", DISTANCE, square)


class _Value(NamedTuple):
    """A tensor of the graph: its name, and its shape without the batch axis, with the channels last.

    In the graph, channels come before rows and columns.
    """

    name: str
    shape: tuple[int, ...]


class _Graph:
    """The nodes and constants of a graph that is being built. A node has the name of its output."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output called ``name``, and return that name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, path: str, name: str) -> str:
        """Add the weight ``name`` of the layer ``path``, and return its full name."""
        full = f"{path}/{name}"
        value = self.tensors[full]
        # Kernels of convolutions are (rows, columns, inputs, outputs) in Keras.
        return self.constant(full, value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)


def _by_channel(value: float | tuple[float, ...]) -> np.ndarray:
    """Return a value for all channels as a scalar, or one for each channel as (channels, 1, 1), in float32."""
    return np.asarray(value, np.float32).reshape((-1, 1, 1) if isinstance(value, tuple) else ())


def _run(graph: _Graph, layers: Sequence[Layer], prefix: str, x: _Value) -> _Value:
    """Add ``layers`` one after the other, and return the output of the last."""
    for layer in layers:
        name = _BUILDERS[layer.type](graph, layer, f"{prefix}{layer.name}", x)
        x = _Value(name, layer.output_shape)
    return x


def _container(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    return _run(graph, layer.layers, f"{path}/", x).name


def _residual_unit(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    before, branch, shortcut, after = residual_paths(layer)
    x = _run(graph, before, f"{path}/", x)
    added = graph.add("Add", f"{path}/add", *(_run(graph, each, f"{path}/", x).name for each in (branch, shortcut)))
    return _run(graph, after, f"{path}/", _Value(added, layer.output_shape)).name


def _conv2d(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    kernel, strides = layer.config["kernel_size"], layer.config["strides"]
    weights = [graph.weight(path, "kernel")]
    if layer.config["use_bias"]:
        weights.append(graph.weight(path, "bias"))
    pads = (
        (kernel // 2,) * 4
        if layer.config["padding"] == "symmetric"
        else _same_pads(x.shape, layer.output_shape, kernel, strides)
    )
    return graph.add(
        "Conv", path, x.name, *weights, kernel_shape=(kernel, kernel), strides=(strides, strides), pads=pads
    )


def _same_pads(before: Sequence[int], after: Sequence[int], window: int, strides: int) -> tuple[int, ...]:
    """Return the rows and columns to pad with for ``same``: top, left, bottom, right.

    ``before`` and ``after`` are the shapes (height, width, channels) of input and output. As few zeros as suffice are
    added, of which the bottom and the right get one more if they are odd.
    """
    needed = [max(0, (after[axis] - 1) * strides + window - before[axis]) for axis in (0, 1)]
    return (*(each // 2 for each in needed), *(each - each // 2 for each in needed))


def _pooling(operator: str) -> Callable[[_Graph, Layer, str, _Value], str]:
    def build(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
        window, strides = layer.config["pool_size"], layer.config["strides"]
        same = layer.config.get("padding") == "same"
        pads = _same_pads(x.shape, layer.output_shape, window, strides) if same else (0, 0, 0, 0)
        shape = (window, window)
        return graph.add(operator, path, x.name, kernel_shape=shape, strides=(strides, strides), pads=pads)

    return build


def _batch_normalization(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    weights = [graph.weight(path, name) for name in ("beta", "moving_mean", "moving_variance")]
    ones = np.ones(x.shape[-1], np.float32)
    gamma = graph.weight(path, "gamma") if layer.config["scale"] else graph.constant(f"{path}/scale", ones)
    return graph.add("BatchNormalization", path, x.name, gamma, *weights, epsilon=layer.config["epsilon"])


def _dense(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    return graph.add("Gemm", path, x.name, *(graph.weight(path, weight.name) for weight in layer.weights))


def _gelu(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    # The operators of opset 20's Gelu in an order that ONNX Runtime fuses to one operation.
    root, one, half = (
        graph.constant(f"{path}/{name}", np.float32(value))
        for name, value in (("root", 2**0.5), ("one", 1), ("half", 0.5))
    )
    error = graph.add("Erf", f"{path}/erf", graph.add("Div", f"{path}/divided", x.name, root))
    product = graph.add("Mul", f"{path}/product", x.name, graph.add("Add", f"{path}/shifted", error, one))
    return graph.add("Mul", path, product, half)


def _rescaling(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    return graph.add("Mul", path, x.name, graph.constant(f"{path}/scale", np.float32(layer.config["scale"])))


def _zero_channels(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    before, after = layer.config["before"], layer.config["after"]
    pads = graph.constant(f"{path}/pads", np.array((0, before, 0, 0, 0, after, 0, 0), np.int64))
    return graph.add("Pad", path, x.name, pads)


def _flatten(graph: _Graph, layer: Layer, path: str, x: _Value) -> str:
    name = x.name
    # The dense layer after it has its weights in the order of rows, columns and channels.
    if math.prod(x.shape[:-1]) != 1:
        name = graph.add("Transpose", f"{path}/channels_last", name, perm=(0, 2, 3, 1))
    return graph.add("Flatten", path, name, axis=1)


_BUILDERS: dict[str, Callable[[_Graph, Layer, str, _Value], str]] = {
    "Conv2D": _conv2d,
    "BatchNormalization": _batch_normalization,
    "Dense": _dense,
    "MaxPooling2D": _pooling("MaxPool"),
    "AveragePooling2D": _pooling("AveragePool"),
    "ZeroChannels": _zero_channels,
    "Sequential": _container,
    "ConvBNReLU": _container,
    "ConvGroup": _container,
    "ResidualUnit": _residual_unit,
    "ReLU": lambda graph, layer, path, x: graph.add("Relu", path, x.name),
    "GlobalAveragePooling2D": lambda graph, layer, path, x: graph.add("GlobalAveragePool", path, x.name),
    "GlobalMaxPooling2D": lambda graph, layer, path, x: graph.add("GlobalMaxPool", path, x.name),
    "GELU": _gelu,
    "Rescaling": _rescaling,
    "Flatten": _flatten,
    "Dropout": lambda graph, layer, path, x: x.name,
}
