"""Read safetensors files: a JSON header with the place of every tensor, then the bytes of the tensors.

Files that ``cifarnet export`` wrote have the header of a weight file as the entry ``cifarnet`` of their metadata, and
the tensors under their full names, with those of the embedding statistics. Other files record only tensors.

The format is described at https://huggingface.co/docs/safetensors. The package of that name is not used, because its
NumPy interface can't read bfloat16, and its headers may take 100 MB.
"""

from pathlib import Path
from typing import Any

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.hdf5 import read_content
from cifarnet.json_files import parse, shown
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import describe
from cifarnet.weights.formats import header, layouts
from cifarnet.weights.formats.tensors import DTYPES, TENSOR_LIMIT, Tensor, elements, finite_values, is_shape, itemsize
from cifarnet.weights.record import Weights

_SIZE_BYTES = 8
_HEADER_LIMIT = 4 << 20
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


def recognizes(head: bytes) -> bool:
    """Return whether the first bytes ``head`` of a file are those of a safetensors file: a size, then JSON."""
    return head[_SIZE_BYTES : _SIZE_BYTES + 1] == b"{"


def load(path: Path) -> Weights:
    """Read a safetensors file of cifarnet, or one with tensors in one of the ``layouts``.

    Raises:
        WeightsError: as ``cifarnet.weights.formats.load_weights``.
    """
    tensors, described = _read(path)
    if described is None:
        return layouts.load(tensors, path)
    statistics = header.statistics_shapes(described)
    weights = {name: weight.shape for name, weight in named_weights(describe(described.spec)).items()}
    expected = {**weights, **statistics}
    if tensors.keys() != expected.keys():
        raise WeightsError(
            f"{path} must hold the tensors of {described.spec.title}. Missing:"
            f" {listed(sorted(expected.keys() - tensors.keys()), 4) or 'none'}. Received but unknown:"
            f" {listed([f'{name:.60}' for name in sorted(tensors.keys() - expected.keys())], 4) or 'none'}"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise WeightsError(f"{path}: {name} must have the shape {shape}. Received: {tensors[name].shape}")
    values = {name: finite_values(tensors[name], name, path) for name in expected}
    return header.with_tensors(
        described, {name: values[name] for name in weights}, {name: values[name] for name in statistics}
    )


def load_header(path: Path) -> Weights:
    """Read a file as ``load`` does, without its tensors."""
    tensors, described = _read(path)
    return layouts.load_header(tensors, path) if described is None else described


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of the safetensors file ``path`` by name; None for a file of cifarnet, which describes itself.

    Raises:
        WeightsError: when the file can't be read, or its header is not valid.
    """
    tensors, described = _read(path)
    return tensors if described is None else None


def _read(path: Path) -> tuple[dict[str, Tensor], Weights | None]:
    """Return the tensors of ``path``, and what it records beside them; None where that is nothing."""
    content = read_content(path)
    try:
        tensors, metadata = _parsed(content)
        own = metadata.get(header.NAME) if isinstance(metadata, dict) else None
        described = None if own is None else parse(own if isinstance(own, str) else "")
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a valid safetensors file, or it is damaged: {error}") from error
    return tensors, None if own is None else header.parsed(described, path)


def _parsed(content: bytes) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors by name, and the metadata."""
    size = int.from_bytes(content[:_SIZE_BYTES], "little")
    if size > min(_HEADER_LIMIT, len(content) - _SIZE_BYTES):
        raise InvalidValueError(
            f"its header must have at most {_HEADER_LIMIT:,} bytes, and end before the file. Received: {size:,} bytes"
        )
    start = _SIZE_BYTES + size
    entries = parse(content[_SIZE_BYTES:start])
    if not isinstance(entries, dict) or len(entries) > TENSOR_LIMIT:
        raise InvalidValueError(f"its header must be an object with at most {TENSOR_LIMIT:,} tensors")
    metadata = entries.pop(_METADATA, None)
    data = memoryview(content)[start:]
    tensors, ends = {}, []
    for name, entry in entries.items():
        tensors[name], place = _tensor(name, entry, data)
        ends.append(place)
    _require_disjoint(ends, len(data))
    return tensors, metadata


def _tensor(name: str, entry: Any, data: memoryview) -> tuple[Tensor, tuple[int, int]]:
    """Return the tensor of a header's ``entry``, and the place of its bytes in ``data``."""
    what = f"the tensor {name:.60}"
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise InvalidValueError(f"{what} must have {listed(sorted(_FIELDS))}. Received: {shown(entry)}")
    dtype, shape, place = (entry[field] for field in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InvalidValueError(f"{what} must be of one of the types {listed(DTYPES, 20)}. Received: {shown(dtype)}")
    sizes, offsets = (tuple(value) if isinstance(value, list) else None for value in (shape, place))
    if sizes is None or not is_shape(sizes):
        raise InvalidValueError(f"{what} must have a shape of at most 8 sizes. Received: {shown(shape)}")
    if offsets is None or len(offsets) != 2 or not is_shape(offsets):
        raise InvalidValueError(f"{what} must have two data_offsets. Received: {shown(place)}")
    begin, end = offsets
    code = DTYPES[dtype]
    if not (begin <= end <= len(data) and end - begin == elements(sizes) * itemsize(code)):
        raise InvalidValueError(
            f"{what} must have data_offsets within {len(data):,} bytes that fit {dtype} {list(sizes)}."
            f" Received: {shown(place)}"
        )
    return Tensor(sizes, code, lambda: data[begin:end]), (begin, end)


def _require_disjoint(places: list[tuple[int, int]], size: int) -> None:
    """Check that the ``places`` cover all ``size`` bytes without an overlap or a gap, as the format demands."""
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            raise InvalidValueError(
                f"its tensors must follow each other without an overlap or a gap. Received: {begin:,} after {at:,}"
            )
        at = end
    if at != size:
        raise InvalidValueError(f"its tensors must have {size:,} bytes. Received: {at:,}")
