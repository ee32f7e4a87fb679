"""Read pickles of NumPy arrays in plain containers, as in CIFAR-10's batches, without Python's unpickler."""

import io
from typing import Any

import numpy as np

from cifarnet.unpickling import SHOWN, Globals, RefusedPickleError, Replacement, load_pickle

# NumPy's type codes. Other types could hold references to objects.
_WHOLE_NUMBERS = frozenset({"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"})
# A batch is a dictionary of lists. Labels of shape (n, 1) are lists of lists.
_LEVEL_LIMIT = 4


def load_arrays(content: bytes) -> Any:
    """Return the object in the pickle ``content``, with NumPy arrays in a dictionary.

    Strings that Python 2 wrote are bytes.

    Raises:
        RefusedPickleError: when it names a global that arrays of integers don't need, uses an unsupported opcode, or
            is nested too deeply.
        Exception: of nearly any kind when it is damaged.
    """
    encode = _Encoder(len(content))
    # The memo can't share containers, so that objects are trees.
    loaded = load_pickle(io.BytesIO(content), {**_GLOBALS, ("_codecs", "encode"): encode})
    _require_shallow(loaded, _LEVEL_LIMIT)
    if not isinstance(loaded, dict):
        return loaded
    return {key: value.to_array() if isinstance(value, _Array) else value for key, value in loaded.items()}


def _require_shallow(value: Any, levels: int) -> None:
    items = list(value.values()) if isinstance(value, dict) else value
    if isinstance(items, list | tuple):
        if not levels:
            raise RefusedPickleError(f"containers in more than {_LEVEL_LIMIT} levels")
        for item in items:
            _require_shallow(item, levels - 1)


class _Dtype(Replacement):
    """Replaces ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any):
        self.code = code.decode() if isinstance(code, bytes) else code
        # The type is checked first: hashing a deeply nested tuple overflows the stack.
        if not isinstance(self.code, str) or self.code not in _WHOLE_NUMBERS:
            shown = repr(self.code) if isinstance(self.code, str) else type(self.code).__name__
            raise RefusedPickleError(f"an array of type {shown:.{SHOWN}}")
        self.byte_order = "|"

    def build(self, state: Any) -> None:
        """Set the byte order from the pickled ``state``."""
        order = state[1]
        self.byte_order = order.decode() if isinstance(order, bytes) else order
        if self.byte_order not in ("<", ">", "=", "|"):
            raise ValueError("unknown byte order")


class _Array(Replacement):
    """Replaces ``numpy.ndarray``: keeps the pickled state, because ``ndarray.__setstate__`` does not validate it."""

    def __init__(self, *_: Any):
        self.state: Any = None

    def build(self, state: Any) -> None:
        """Keep the pickled ``state``."""
        self.state = state

    @classmethod
    def from_buffer(cls, buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> "_Array":
        """Return an array as pickle protocol 5 stores it."""
        array = cls()
        array.state = (1, shape, dtype, order == "F", buffer)
        return array

    def to_array(self) -> np.ndarray:
        """Return the array.

        Raises:
            Exception: of several kinds when the state is not that of an array.
        """
        _, shape, dtype, is_fortran, raw = self.state
        if not (isinstance(raw, bytes | bytearray) and isinstance(dtype, _Dtype)):
            raise ValueError("an array without content")
        flat = np.frombuffer(raw, dtype.byte_order + dtype.code)
        return flat.reshape(shape, order="F" if is_fortran else "C")


class _Encoder:
    """Replaces ``_codecs.encode``, which Python 3 uses to write bytes in the protocols of Python 2.

    It encodes at most ``limit`` characters. The memo could repeat a text many times.
    """

    def __init__(self, limit: int):
        self._left = limit

    def __call__(self, text: Any, encoding: Any) -> bytes:
        self._left -= len(text)
        if self._left < 0:
            raise RefusedPickleError("one text in more bytes than the file has")
        if encoding != "latin1":
            shown = f"the encoding {encoding!r:.{SHOWN}}" if isinstance(encoding, str) else "an encoding"
            raise RefusedPickleError(shown)
        return bytes(text, "latin1")


_GLOBALS: Globals = {
    # The core module has different names in NumPy 1 and 2.
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}
