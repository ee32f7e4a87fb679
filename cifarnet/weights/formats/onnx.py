"""Read the ONNX files that ``cifarnet export`` writes, which classify but can't be trained or explained.

Such a file has the header of a weight file as the entry ``cifarnet`` of its metadata. The last entry, and so the end of
the file, is the SHA-256 of all bytes before it. The file format is that of https://onnx.ai/onnx/repo-docs/IR.html, a
message of Protocol Buffers, to which entries can be appended.

ONNX files of others are refused: they don't record their classes and normalization.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.hdf5 import read_content
from cifarnet.json_files import parse
from cifarnet.models.onnx_names import DISTANCE, IMAGES, LOGITS, PROBABILITIES
from cifarnet.weights.formats import header
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    from onnx import ModelProto

# ``ir_version``, then the field after it: the producer's name or version, a domain, a version, a text, or the graph.
_HEAD = re.compile(rb"\x08[\x03-\x7f][\x12\x1a\x22\x28\x32\x3a]")
_PRODUCER = b"\x12\x08cifarnet"
# A field 14 (metadata_props) of 74 bytes: the key and a value of 64 bytes.
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
_SEAL_SIZE = len(_SEAL) + 64

_OPERATORS = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Cast", "Conv", "DequantizeLinear", "Div", "Erf", "Flatten"),
        *("Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "Mul", "Pad", "QuantizeLinear"),
        *("ReduceL2", "ReduceMin", "ReduceSumSquare", "Relu", "Softmax", "Sqrt", "Sub", "Transpose"),
    }
)
"""The operators of exported networks. None runs code, reads a file or repeats a part of the graph."""


def recognizes(head: bytes) -> bool:
    """Return whether the first bytes ``head`` of a file are those of an ONNX file."""
    return _HEAD.match(head) is not None


def sealed(content: bytes) -> bytes:
    """Return the serialized model ``content`` with its SHA-256 as the last entry of the metadata."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def load(path: Path) -> Weights:
    """Read an ONNX file of cifarnet: the header of the weights and the graph, without tensors.

    Raises:
        WeightsError: when cifarnet did not write the file, it is damaged, or it holds anything but a network.
    """
    content = read_content(path)
    body, seal = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:]
    if not seal.startswith(_SEAL) and _PRODUCER not in content[: len(_PRODUCER) + 2]:
        raise WeightsError(
            f"{path} is an ONNX file that cifarnet did not write: it does not record its classes and the normalization"
            " of its images. Give a file that `cifarnet export` wrote, or run this one with ONNX Runtime."
            f" Received: {path}"
        )
    if sealed(body) != content:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 does not match. It was changed or cut short after it was written."
            f" Export the network again. Received: {path}"
        )
    try:
        model = _parsed(content)
        weights = header.parsed(parse(_metadata(model)), path)
        _require_network(model, weights)
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a network that cifarnet exported: {error}") from error
    return replace(weights, graph=content, graph_precision=_precision(model))


def _parsed(content: bytes) -> "ModelProto":
    import onnx

    try:
        return onnx.ModelProto.FromString(content)
    except Exception as error:  # Protocol Buffers raise several kinds.
        raise InvalidValueError(f"it can't be parsed: {error!s:.200}") from error


def _metadata(model: "ModelProto") -> str:
    return next((str(entry.value) for entry in model.metadata_props if entry.key == header.NAME), "")


def _precision(model: "ModelProto") -> str:
    """Return the data type in which a graph computes. Its nodes tell; the metadata could say anything."""
    return "int8" if any(node.op_type == "QuantizeLinear" for node in model.graph.node) else "float32"


def _require_network(model: "ModelProto", weights: Weights) -> None:
    """Check that the graph holds nothing but the network of ``weights``.

    Raises:
        InvalidValueError: for other operators, tensors in other files, or other inputs and outputs.
    """
    graph = model.graph
    strange = {
        f"{node.domain:.60}.{node.op_type:.60}"
        for node in graph.node
        if node.domain or node.op_type not in _OPERATORS or any(map(_holds_more_than_numbers, node.attribute))
    }
    if strange or model.functions or graph.sparse_initializer:
        raise InvalidValueError(
            f"it has operators that no network of cifarnet has. Received: {listed(sorted(strange), 3)}"
        )
    if external := [f"{each.name:.60}" for each in graph.initializer if each.data_location or each.external_data]:
        raise InvalidValueError(f"its tensors must be in the file itself. Received: {external[0]} in another file")
    size, classes = weights.spec.image_size, weights.spec.classes
    found = {value.name: _type_and_shape(value) for value in (*graph.input, *graph.output)}
    wanted = {IMAGES: (_UINT8, [size, size, 3]), **dict.fromkeys((LOGITS, PROBABILITIES), (_FLOAT, [classes]))}
    if weights.reject_beyond is not None:
        wanted[DISTANCE] = (_FLOAT, [])
    if found != wanted or len(graph.input) != 1:
        _images, *outputs = wanted
        raise InvalidValueError(
            f"it must have the input {IMAGES} and the outputs {listed(outputs)} of {weights.spec.title}."
            f" Received: {listed([f'{name:.60}' for name in found], 4)}"
        )


_FLOAT, _UINT8 = 1, 2
"""ONNX's numbers of the types (``onnx.TensorProto``)."""


def _holds_more_than_numbers(attribute: Any) -> bool:
    """Return whether an attribute holds a graph or a tensor."""
    return any(attribute.HasField(name) for name in ("t", "g", "sparse_tensor")) or bool(
        attribute.tensors or attribute.graphs or attribute.sparse_tensors
    )


def _type_and_shape(value: Any) -> tuple[int, list[int]]:
    """Return the type and the shape without the batch axis of an input or output."""
    tensor = value.type.tensor_type
    return tensor.elem_type, [size.dim_value for size in tensor.shape.dim[1:]]
