"""Tensors of files that other programs wrote: their shapes, and their values on demand."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.errors import WeightsError

TENSOR_LIMIT = 20_000
"""The most tensors of a file. A checkpoint of ResNet-1202 with the state of its optimizer has 10,000."""

_AXES = 8
_BFLOAT16 = "bfloat16"

DTYPES: Mapping[str, str] = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": _BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "?",
}
"""NumPy's type codes, and ``bfloat16``, which NumPy lacks, by their names in safetensors files."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file.

    Attributes:
        shape: its shape.
        dtype: NumPy's type code, or ``bfloat16``.
        read: returns the bytes that hold it.
        offset: the number of elements before its first one in these bytes.
        strides: the distance of neighbours along each axis, in elements; None for the order of C.
        byte_order: ``<`` or ``>``.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Any]
    offset: int = 0
    strides: tuple[int, ...] | None = None
    byte_order: str = "<"

    def values(self) -> np.ndarray:
        """Return the values, floating-point numbers as float32.

        Raises:
            ValueError: when the tensor does not lie within its bytes.
            Exception: of several kinds when the bytes can't be read.
        """
        kind = np.dtype(f"{self.byte_order}{'u2' if self.dtype == _BFLOAT16 else self.dtype}")
        strides = None if self.strides is None else tuple(step * kind.itemsize for step in self.strides)
        # NumPy checks that all elements lie within the buffer.
        stored: np.ndarray = np.ndarray(self.shape, kind, self.read(), self.offset * kind.itemsize, strides)
        if self.dtype == _BFLOAT16:  # The upper half of a float32.
            return (stored.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # A float64 that is too large for float32 becomes infinite.
            return stored.astype(np.float32 if kind.kind == "f" else kind.newbyteorder("="))


def finite_values(tensor: Tensor, name: str, path: Path) -> np.ndarray:
    """Return the values of ``tensor``, which is called ``name`` in the file ``path``, in float32.

    Raises:
        WeightsError: when they can't be read, are no floating-point numbers, or are not finite.
    """
    try:
        values = tensor.values()
    except MemoryError:
        raise
    except Exception as error:
        # A damaged zip file makes zipfile raise nearly anything.
        raise WeightsError(f"{path} is damaged: its tensor {name} can't be read: {error!s:.200}.") from error
    if values.dtype != np.float32:
        raise WeightsError(f"{path}: {name} must have floating-point numbers. Received: {values.dtype}")
    if not np.isfinite(values).all():
        raise WeightsError(f"{path}: {name} has non-finite values.")
    return values


def itemsize(dtype: str) -> int:
    """Return the bytes of an element."""
    return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def is_shape(value: object) -> bool:
    """Return whether ``value`` is a tuple of a few sizes or distances, none of them negative."""
    return (
        isinstance(value, tuple)
        and len(value) <= _AXES
        and all(type(size) is int and 0 <= size < 2**40 for size in value)
    )


def elements(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a tensor."""
    return math.prod(shape)
