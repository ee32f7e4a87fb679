"""Pickles of NumPy arrays and plain containers, read without running anything that they name."""

import io
import pickle
from typing import Any

import numpy as np

# By NumPy's type codes. Others could hold references to objects.
_WHOLE_NUMBERS = frozenset({"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"})


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle that names something else than NumPy's arrays; the message says what."""


def load_arrays(content: bytes) -> Any:
    """What the pickle ``content`` holds; arrays that are values of a dictionary at its top come as arrays.

    Strings that Python 2 wrote come as bytes.

    Raises:
        RefusedPickleError: when it names a global other than those of arrays of whole numbers.
        Exception: of nearly any kind when it is damaged.
    """
    loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(loaded, dict):
        return loaded
    return {key: value.to_array() if isinstance(value, _Array) else value for key, value in loaded.items()}


class _Dtype:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any):
        self.code = code.decode() if isinstance(code, bytes) else code
        if self.code not in _WHOLE_NUMBERS:
            raise RefusedPickleError(f"an array of type {self.code!r}")
        self.byte_order = "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.byte_order = order.decode() if isinstance(order, bytes) else order


class _Array:
    """Stands in for an array: takes down its state, since NumPy's own ``__setstate__`` trusts what it is given."""

    def __init__(self, *_: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @classmethod
    def from_buffer(cls, buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> "_Array":
        """Protocol 5's way to make one."""
        array = cls()
        array.state = (1, shape, dtype, order == "F", bytes(buffer))
        return array

    def to_array(self) -> np.ndarray:
        _, shape, dtype, is_fortran, raw = self.state
        flat = np.frombuffer(raw, dtype.byte_order + dtype.code)
        return flat.reshape(shape, order="F" if is_fortran else "C")


def _encode(text: str, encoding: Any) -> bytes:
    """Stands in for ``_codecs.encode``, with which Python 3 writes bytes in the protocols of Python 2."""
    if encoding != "latin1":
        raise RefusedPickleError(f"the encoding {encoding!r}")
    return text.encode("latin1")


_ADMITTED = {
    # NumPy 1 and 2 differ in the name of their core.
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Looks every global up in a table, and imports none."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise RefusedPickleError(f"{module}.{name}") from None
