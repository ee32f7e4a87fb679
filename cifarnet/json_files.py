"""Reads JSON files that may be damaged or come from strangers, within limits.

A file must be a regular file of limited size and nesting, and no field may occur twice. Integers must fit into 64 bits,
floats must be finite, and texts must be valid file names. The caller then checks the fields (``cifarnet.fields``).
"""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from cifarnet.errors import InvalidValueError

SIZE_LIMIT = 2**20
"""The default limit of the file size in bytes."""
DEPTH_LIMIT = 16
"""The deepest nesting of objects and lists. cifarnet's own files have at most 4 levels."""

_WHOLE = 2**63
# Python refuses to convert more than 4,300 digits (CVE-2020-10735). A prefix is out of range as well.
_DIGITS = 1000
_SHOWN = 60


def read_object(path: Path, limit: int = SIZE_LIMIT) -> dict[str, Any]:
    """Return the JSON object in the file ``path``, which has at most ``limit`` bytes.

    Raises:
        InvalidValueError: when there is no valid object. The message is a clause without the path: "it is empty".
    """
    data = parse(read_bytes(path, limit))
    if not isinstance(data, dict):
        raise InvalidValueError(f"it holds {shown(data)}, not a JSON object")
    return data


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of the regular file ``path``, which has at most ``limit`` bytes.

    Raises:
        InvalidValueError: when it can't be read. The message is a clause, as for ``read_object``.
    """
    # Reading a named pipe would wait for its writer, and a device may be endless.
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "not a regular file" if os.path.lexists(path) else "missing"
        raise InvalidValueError(f"it is {kind}")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = b"" if size > limit else file.read(limit + 1)
    except OSError as error:
        raise InvalidValueError(error.strerror or str(error)) from error
    if max(size, len(content)) > limit:
        raise InvalidValueError(f"it must have at most {limit:,} bytes. Received: {max(size, len(content)):,} bytes")
    return content


def parse(text: str | bytes) -> Any:
    """Return the value of the JSON ``text``; bytes are UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        InvalidValueError: when it is not valid JSON within the limits. The message is a clause, as for ``read_object``.
    """
    if not text.strip():
        raise InvalidValueError("it is empty")
    try:
        value = json.loads(text, parse_int=_whole_number, object_pairs_hook=_object)
    except RecursionError:
        raise InvalidValueError(_TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"it is not text in UTF-8: byte {error.start + 1:,} is invalid") from error
    except ValueError as error:
        raise InvalidValueError(str(error)) from error
    if fault := _fault(value):
        places, message = fault
        raise InvalidValueError(f"{_place(places)} {message}" if places else f"it {message}")
    return value


def shown(value: Any) -> str:
    """Return ``value`` as JSON for a message, cut to 60 characters."""
    if isinstance(value, int) and value.bit_length() > 4096:
        return f"a whole number of {value.bit_length():,} bits"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


_TOO_DEEP = f"it is nested more than {DEPTH_LIMIT} deep"


def _whole_number(digits: str) -> int:
    return int(digits[:_DIGITS])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise InvalidValueError(f"it has the field {shown(twice)} more than once")
    return values


def _fault(value: Any, depth: int = 0) -> tuple[list[str], str] | None:
    """Return the keys of the first value out of range, the outermost last, and the message; None if there is none."""
    if isinstance(value, str):
        return None if _is_usable(value) else ([], f"must be text without NUL characters. Received: {shown(value)}")
    if isinstance(value, int):
        return None if abs(value) <= _WHOLE else ([], f"must be -2**63 to 2**63. Received: {shown(value)}")
    if isinstance(value, float):
        return None if math.isfinite(value) else ([], f"must be a finite number. Received: {value}")
    if not isinstance(value, dict | list):
        return None
    if depth == DEPTH_LIMIT:
        return [], f"is nested more than {DEPTH_LIMIT} deep"
    # A confusion matrix has millions of numbers.
    if isinstance(value, list) and set(map(type, value)) == {int} and min(value) >= -_WHOLE and max(value) <= _WHOLE:
        return None
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and not _is_usable(key):
            return [], f"must have names without NUL characters. Received: {shown(key)}"
        if fault := _fault(item, depth + 1):
            fault[0].append(str(key))
            return fault
    return None


def _is_usable(text: str) -> bool:
    """Return whether ``text`` can be a file name. In these, bytes that are not UTF-8 are lone surrogates."""
    try:
        return "\0" not in text and bool(text.encode("utf-8", "surrogateescape") or True)
    except UnicodeEncodeError:
        return False


def _place(places: list[str]) -> str:
    return shown(".".join(reversed(places))).strip('"')
