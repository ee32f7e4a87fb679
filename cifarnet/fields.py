"""Values from JSON files, checked against the types of a dataclass's fields."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from cifarnet.errors import InvalidValueError, did_you_mean

_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    NoneType: "null",
}
_SHOWN = 60
"""Characters of a wrong value that an error message shows."""


def typed_fields(cls: type[Any], data: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return ``data`` with values of the types that the dataclass ``cls`` declares.

    JSON has no tuples and writes ``1`` for ``1.0``: lists become tuples and whole numbers become floats where those are
    declared. No other value is converted.

    Args:
        cls: a dataclass.
        data: values by field name; fields with a default may be missing.
        what: the kind of object for the messages: ``"A recipe"``.

    Raises:
        InvalidValueError: for a field that ``cls`` does not have, a missing field or a value of another type.
    """
    hints = get_type_hints(cls)
    for name in data:
        if name not in hints:
            raise InvalidValueError(
                f"{what} has no field {name}.{did_you_mean(name, hints)} Its fields are {', '.join(hints)}."
                f" Received: {name}"
            )
    for field in fields(cls):
        if field.name not in data and _required(field):
            raise InvalidValueError(f"{what} needs the field {field.name}. Received: {', '.join(data) or 'no fields'}")
    values = {}
    for name, value in data.items():
        try:
            values[name] = _converted(value, hints[name])
        except (TypeError, OverflowError):
            shown = json.dumps(value, ensure_ascii=False, default=str)
            shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} ..."
            raise InvalidValueError(f"{name} must be {_described(hints[name])}. Received: {shown}") from None
    return values


def _required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _converted(value: Any, hint: Any) -> Any:
    """Return ``value`` as the type ``hint``; raise a TypeError when it has another type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        for argument in arguments:
            with suppress(TypeError):
                return _converted(value, argument)
        raise TypeError
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(value) != len(kinds):
            raise TypeError
        return tuple(_converted(item, kind) for item, kind in zip(value, kinds, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    # Not isinstance: for Python, true is an int.
    if type(value) is not (origin or hint):
        raise TypeError
    return value


def _described(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return " or ".join(map(_described, arguments))
    if origin is tuple:
        if arguments[1:] == (...,):
            return f"a list, each item {_described(arguments[0])}"
        return f"a list of {' and '.join(map(_described, arguments))}"
    name: str = _NAMES.get(hint) or (origin or hint).__name__
    return name
