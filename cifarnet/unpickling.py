"""A safe unpickler: it makes plain containers, and calls only the functions that it is given.

It never imports anything that a pickle names. It supports only the opcodes that arrays, tensors and plain containers
need (``pickletools`` defines them), within limits on number and memory. Python's own unpickler recurses without a
limit, allocates a memo of any size, and can share tuples so that they double in size at every level.
"""

import codecs
import io
import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SHOWN = 60
"""The most characters of a received name in an error message."""

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
# An official batch of CIFAR-10 has 60,000 opcodes, mostly for labels and file names, and a checkpoint of ResNet-1202
# 250,000. Half a million take 2 s and 50 MB.
_OPCODE_LIMIT = 500_000
# Whole numbers as keys of a dictionary: the parameters in the state of an optimizer. Others could be chosen to collide.
_KEY_LIMIT = 2**20


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle asks for something that its kind does not need. The message names it."""


class Replacement:
    """An object that stands for one of a class that a pickle names."""

    def build(self, state: Any) -> None:
        """Take the pickled ``state``. By default it is ignored."""


Globals = Mapping[tuple[str, str], Any]
"""The values of the globals that a pickle may name, by module and name. Those that are callable may be called."""


def operations(file: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Yield the name and argument of every opcode of the pickle at the position of ``file``, up to its end.

    Raises:
        ValueError: when an opcode is unknown, or its argument is damaged or truncated.
        RefusedPickleError: when there are too many opcodes.
    """
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


def load_pickle(
    file: io.BytesIO, allowed: Globals, persistent: Callable[[Any], Any] | None = None, *, shares: bool = False
) -> Any:
    """Return the object in the pickle at the position of ``file``. Strings that Python 2 wrote are bytes.

    Args:
        file: the content.
        allowed: the globals that the pickle may name.
        persistent: returns the object of a persistent id; None where the pickle may have none.
        shares: whether a container may be in several places. The caller must not walk through the object then, because
            tuples can double in size at every level.

    Raises:
        RefusedPickleError: when it names a global that is not allowed, or uses an unsupported opcode.
        Exception: of nearly any kind when it is damaged.
    """
    return _Machine(allowed, persistent, shares).run(operations(file))


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")  # By their length.
_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"})
_TEXTS = frozenset({"STRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_BYTES = frozenset({"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"})
_PLAIN = _NUMBERS | _TEXTS | _BYTES


class _Machine:
    """The stack and memo of an unpickler."""

    def __init__(self, allowed: Globals, persistent: Callable[[Any], Any] | None, shares: bool):
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._allowed = allowed
        self._persistent = persistent
        self._shares = shares

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
            stack.append(self._global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(self._global(*self._popped(2)))
        elif name == "REDUCE":
            stack.append(self._made(*self._popped(2)))
        elif name == "BINPERSID" and self._persistent:
            stack.append(self._persistent(*self._popped(1)))
        elif name == "BUILD":
            (state,) = self._popped(1)
            self._top(Replacement).build(state)
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
        if isinstance(value, list | tuple | dict) and not self._shares:
            raise RefusedPickleError("one container in two places")
        return value

    def _made(self, function: Any, arguments: Any) -> Any:
        if not (callable(function) and isinstance(arguments, tuple)):
            raise TypeError("a call of no function")
        return function(*arguments)

    def _global(self, module: Any, name: Any) -> Any:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a global without a name")
        try:
            return self._allowed[module, name]
        except KeyError:
            raise RefusedPickleError(f"{f'{module}.{name}':.{SHOWN}}") from None


def _dictionary(items: list[Any]) -> dict[Any, Any]:
    """Return the dictionary of ``items``, in which keys and values take turns."""
    keys, values = items[::2], items[1::2]
    # The hash of nested tuples, or of numbers chosen to collide, takes any time.
    if any(not isinstance(key, str | bytes) and not _is_small(key) for key in keys):
        raise RefusedPickleError("a key that is no text")
    return dict(zip(keys, values, strict=True))


def _is_small(key: Any) -> bool:
    return isinstance(key, int) and 0 <= key < _KEY_LIMIT
