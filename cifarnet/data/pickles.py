"""A safe unpickler for NumPy arrays and plain containers.

It never imports or calls anything that a pickle names. It supports only the opcodes that CIFAR-10's batches need
(``pickletools`` defines them), within limits on number, depth and size. Python's own unpickler recurses without a
limit, allocates a memo of any size, and can share tuples so that they double in size at every level.
"""

import codecs
import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# NumPy's type codes. Other types could hold references to objects.
_WHOLE_NUMBERS = frozenset({"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"})

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
# An official batch has 60,000 opcodes, mostly for labels and file names. Half a million take 2 s and 50 MB.
_OPCODE_LIMIT = 500_000
# A batch is a dictionary of lists. Labels of shape (n, 1) are lists of lists.
_LEVEL_LIMIT = 4
# The most characters of a received name in an error message.
_SHOWN = 60


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle asks for something that no batch needs. The message names it."""


def load_arrays(content: bytes) -> Any:
    """Return the object in the pickle ``content``, with NumPy arrays in a dictionary.

    Strings that Python 2 wrote are bytes.

    Raises:
        RefusedPickleError: when it names a global that arrays of integers don't need, uses an unsupported opcode, or
            is nested too deeply.
        Exception: of nearly any kind when it is damaged.
    """
    loaded = _Machine(len(content)).run(operations(content))
    _require_shallow(loaded, _LEVEL_LIMIT)
    if not isinstance(loaded, dict):
        return loaded
    return {key: value.to_array() if isinstance(value, _Array) else value for key, value in loaded.items()}


def operations(content: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the name and argument of every opcode of the pickle ``content``.

    Raises:
        ValueError: when an opcode is unknown, or its argument is damaged or truncated.
        RefusedPickleError: when there are too many opcodes.
    """
    file = io.BytesIO(content)
    for _ in range(_OPCODE_LIMIT):
        code = file.read(1)
        opcode = _OPCODES.get(code.decode("latin-1"))
        if opcode is None:
            raise ValueError(f"unknown opcode {code!r}" if code else "it ends early")
        name, argument = opcode.name, None
        if name == "STRING":
            # pickletools decodes it as ASCII, but pixels are bytes of any value.
            argument = codecs.escape_decode(pickletools.read_stringnl(file, decode=False))[0]
        elif opcode.arg is not None:
            argument = opcode.arg.reader(file)
        yield name, argument
        if name == "STOP":
            return
    raise RefusedPickleError(f"more than {_OPCODE_LIMIT:,} opcodes")


def _require_shallow(value: Any, levels: int) -> None:
    items = list(value.values()) if isinstance(value, dict) else value
    if isinstance(items, list | tuple):
        if not levels:
            raise RefusedPickleError(f"containers in more than {_LEVEL_LIMIT} levels")
        for item in items:
            _require_shallow(item, levels - 1)


class _Dtype:
    """Replaces ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any):
        self.code = code.decode() if isinstance(code, bytes) else code
        # The type is checked first: hashing a deeply nested tuple overflows the stack.
        if not isinstance(self.code, str) or self.code not in _WHOLE_NUMBERS:
            shown = repr(self.code) if isinstance(self.code, str) else type(self.code).__name__
            raise RefusedPickleError(f"an array of type {shown:.{_SHOWN}}")
        self.byte_order = "|"

    def build(self, state: Any) -> None:
        """Set the byte order from the pickled ``state``."""
        order = state[1]
        self.byte_order = order.decode() if isinstance(order, bytes) else order
        if self.byte_order not in ("<", ">", "=", "|"):
            raise ValueError("unknown byte order")


class _Array:
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


def _encode(text: Any, encoding: Any) -> bytes:
    """Replaces ``_codecs.encode``, which Python 3 uses to write bytes in the protocols of Python 2."""
    if encoding != "latin1":
        raise RefusedPickleError(f"the encoding {encoding!r:.{_SHOWN}}" if isinstance(encoding, str) else "an encoding")
    return bytes(text, "latin1")


_ALLOWED_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    # The core module has different names in NumPy 1 and 2.
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")  # By their length.
_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"})
_TEXTS = frozenset({"STRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_BYTES = frozenset({"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"})
_PLAIN = _NUMBERS | _TEXTS | _BYTES


class _Machine:
    """The stack and memo of an unpickler. The memo can't share containers, so that objects are trees."""

    def __init__(self, size: int):
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        # The bytes that may still be encoded from text. The memo could repeat a text many times.
        self._encodable = size

    def run(self, found: Iterator[tuple[str, Any]]) -> Any:
        """Execute the operations ``found`` and return the resulting object."""
        for name, argument in found:
            self._step(name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _PLAIN:
            stack.append(argument)
        elif name in ("BINSTRING", "SHORT_BINSTRING"):
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memorized(argument))
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("EMPTY_LIST", "LIST"):
            stack.append(self._marked() if name == "LIST" else [])
        elif name in _TUPLES:
            stack.append(tuple(self._popped(_TUPLES.index(name))))
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in ("APPEND", "APPENDS"):
            items = self._popped(1) if name == "APPEND" else self._marked()
            self._top(list).extend(items)
        elif name in ("EMPTY_DICT", "DICT"):
            stack.append(_dictionary(self._marked()) if name == "DICT" else {})
        elif name in ("SETITEM", "SETITEMS"):
            items = self._popped(2) if name == "SETITEM" else self._marked()
            self._top(dict).update(_dictionary(items))
        elif name == "GLOBAL":
            stack.append(_allowed_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_allowed_global(*self._popped(2)))
        elif name == "REDUCE":
            stack.append(self._made(*self._popped(2)))
        elif name == "BUILD":
            (state,) = self._popped(1)
            self._top(_Array | _Dtype).build(state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise RefusedPickleError(f"the opcode {name}")

    def _popped(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if start < 0:
            raise ValueError("too few values")
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _marked(self) -> list[Any]:
        return self._popped(len(self._stack) - self._marks.pop())

    def _top(self, kind: Any) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise TypeError("an operation on a value of another kind")
        return self._stack[-1]

    def _memorized(self, index: int) -> Any:
        value = self._memo[index]
        if isinstance(value, list | tuple | dict):
            raise RefusedPickleError("one container in two places")
        return value

    def _made(self, function: Any, arguments: Any) -> Any:
        if not (callable(function) and isinstance(arguments, tuple)):
            raise TypeError("a call of no function")
        if function is _encode:
            self._encodable -= len(arguments[0])
            if self._encodable < 0:
                raise RefusedPickleError("one text in more bytes than the file has")
        return function(*arguments)


def _dictionary(items: list[Any]) -> dict[Any, Any]:
    """Return the dictionary of ``items``, in which keys and values take turns."""
    keys, values = items[::2], items[1::2]
    # The hash of nested tuples, or of numbers chosen to collide, takes any time.
    if any(not isinstance(key, str | bytes) for key in keys):
        raise RefusedPickleError("a key that is no text")
    return dict(zip(keys, values, strict=True))


def _allowed_global(module: Any, name: Any) -> Callable[..., Any]:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise TypeError("a global without a name")
    try:
        return _ALLOWED_GLOBALS[module, name]
    except KeyError:
        raise RefusedPickleError(f"{f'{module}.{name}':.{_SHOWN}}") from None
