"""Describe fields of dataclasses: valid range, help text and notation. Check values from JSON files.

A field that is declared with ``option`` is described in one place. The command line, the check of its range and the
command that reproduces a run are derived from that description.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from cifarnet.errors import InvalidValueError, did_you_mean, invalid, unknown_value
from cifarnet.json_files import shown

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "an object",
    Mapping: "a mapping",
}
# NumPy registers its numbers as these.
_NUMBERS: dict[Any, type] = {int: Integral, float: Real}

FLOAT_LIMIT = 3.4e38
"""The largest number in a recipe, about the maximum of float32."""


class Range(NamedTuple):
    """The valid range of a field: ``low`` to ``high``, each included or excluded."""

    low: float
    high: float
    low_excluded: bool = False
    high_excluded: bool = False
    unit: str = ""

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        above = value > self.low if self.low_excluded else value >= self.low
        return above and (value < self.high if self.high_excluded else value <= self.high)

    def __str__(self) -> str:
        low, high = "above" if self.low_excluded else "at least", "below" if self.high_excluded else "at most"
        unit = f" {self.unit}" if self.unit else ""
        return f"{low} {_number(self.low)} and {high} {_number(self.high)}{unit}"

    def require(self, name: str, value: float | None) -> None:
        """Check that ``value`` of the field ``name`` is in the range, or None for a field without a value.

        Raises:
            InvalidValueError: when it is outside.
        """
        if value is not None and value not in self:
            raise invalid(name, f"must be {self}", value, valid=self, received=shown(value))


FRACTION = Range(0, 1, low_excluded=True, high_excluded=True)
"""The share of images that can be held out."""


IMAGE_SIZES = Range(1, 1024, unit="pixels")
"""The sides of images. Each network takes some of them."""


def require_whole(name: str, value: object, low: int | None = None) -> None:
    """Check that ``value`` of the parameter ``name`` is a whole number, and at least ``low`` if that is given.

    Raises:
        InvalidValueError: when it is not.
    """
    # Not isinstance, because bool is a subclass of int.
    if type(value) is not int or (low is not None and value < low):
        least = "" if low is None else f", at least {low}"
        raise invalid(name, f"must be a whole number{least}", value, received=shown(value))


class Panel(StrEnum):
    """The sections of a help page, in their order. ``COMMON`` has the options that people need first."""

    COMMON = "Options"
    DATA = "Data"
    RECIPE = "Recipe"
    SCHEDULE = "Learning-rate schedule"
    AUGMENTATION = "Augmentation"
    TRANSFER = "Transfer and distillation"
    RUN = "Run"
    OUTPUT = "Output"
    DEVICE = "Device"


class Notation(NamedTuple):
    """How a value is written as one word, for types that the command line does not have.

    Attributes:
        what: the meaning of the word, for messages: ``"steps"``.
        example: a valid word.
        parse: returns the value of a word, or raises a ``ValueError``.
        text: returns the word of a value.
    """

    what: str
    example: str
    parse: Callable[[str], Any]
    text: Callable[[Any], str]


@dataclass(frozen=True)
class Option:
    """The description of a field that is an option too.

    Attributes:
        help: one or more sentences. Other fields are in backticks, which the command line replaces by options.
        metavar: the placeholder of the value: its unit, ``N`` for a whole number, ``X`` for a number.
        panel: the section of the help page.
        range: the valid numbers; None for all.
        choices: the valid texts; none for all.
        notation: how the value is written as one word; None for texts, numbers and flags.
        resumable: whether the option can be given for a run that is resumed.
    """

    help: str
    metavar: str | None = None
    panel: Panel = Panel.COMMON
    range: Range | None = None
    choices: tuple[str, ...] = ()
    notation: Notation | None = None
    resumable: bool = False

    def words(self, name: str, value: Any) -> list[str]:
        """Return the words of the command line that set the field ``name`` to ``value``; no words for None.

        A tuple without a notation of its own is written as one option for each item.
        """
        if value is None:
            return []
        if isinstance(value, tuple) and not self.notation:
            return [word for item in value for word in self.words(name, item)]
        if isinstance(value, bool):
            return [option_name(name if value else f"no_{name}")]
        return [option_name(name), self.text(value)]

    def text(self, value: Any) -> str:
        """Return the word of the command line for ``value``, which is not None."""
        return self.notation.text(value) if self.notation else str(value)


def option(
    default: Any = MISSING,
    *,
    help: str,
    metavar: str | None = None,
    panel: Panel = Panel.COMMON,
    range: Range | None = None,
    choices: tuple[str, ...] = (),
    notation: Notation | None = None,
    resumable: bool = False,
) -> Any:
    """Return the declaration of a dataclass field with an ``Option``, whose arguments these are."""
    described = Option(help, metavar, panel, range, choices, notation, resumable)
    return field(default=default, metadata={Option: described})


def options_of(cls: Any) -> dict[str, Option]:
    """Return the fields of the dataclass ``cls`` that are options, by name."""
    return {each.name: each.metadata[Option] for each in fields(cls) if Option in each.metadata}


def received(values: Mapping[str, Any], options: Mapping[str, Option], quote: str = "`") -> str:
    """Return the ``values`` of fields for a message, as the ``options`` are written: `` `epochs` 3, no `flip` ``.

    The names are in ``quote``: the command line replaces names in backticks by options.
    """
    return ", ".join(_received(f"{quote}{name}{quote}", value, options[name]) for name, value in values.items())


def _received(name: str, value: Any, described: Option) -> str:
    if value is None or value is False or value == ():
        return f"no {name}"
    return name if value is True else f"{name} {described.text(value)}"


def require_valid(record: Any, options: Mapping[str, Option] | None = None) -> None:
    """Check the range and the choices of each field of the dataclass instance ``record``; None is always valid.

    ``options`` describes the fields; by default it is the ``options_of`` the record.

    Raises:
        InvalidValueError: for another value, naming the field.
    """
    for name, described in (options_of(record) if options is None else options).items():
        value = getattr(record, name, None)
        if described.range:
            described.range.require(name, value)
        if described.choices and value not in (None, *described.choices):
            raise unknown_value(name, str(value), described.choices)


def option_name(name: str) -> str:
    """Return the option of the field ``name``: ``--batch-size``."""
    return "--" + name.replace("_", "-")


def _number(value: float) -> str:
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return f"{int(value):,}" if whole else f"{value:g}"


def typed_fields(cls: type[Any], data: Mapping[str, Any], what: str, *, others: bool = False) -> dict[str, Any]:
    """Return ``data`` with values of the types that the dataclass ``cls`` declares.

    JSON has no tuples and may write ``1`` for ``1.0``. So lists become tuples, and integers become floats, where the
    dataclass declares these types. Other values are not converted.

    Args:
        cls: a dataclass.
        data: values by field name; fields with a default may be missing.
        what: the kind of object for the messages: ``"A recipe"``.
        others: whether ``data`` may have other fields, which are ignored.

    Raises:
        InvalidValueError: when ``data`` is not an object, a field is unknown or missing, or a value has another type.
    """
    hints = get_type_hints(cls)
    if not isinstance(data, Mapping):
        raise InvalidValueError(f"{what} must be an object. Received: {shown(data)}")
    if others:
        data = {name: value for name, value in data.items() if name in hints}
    for name in data:
        if name not in hints:
            raise InvalidValueError(
                f"{what} has no field {name:.60}.{did_you_mean(name[:60], hints)} Its fields are {', '.join(hints)}."
                f" Received: {name:.60}"
            )
    for each in fields(cls):
        if each.name not in data and _required(each):
            raise InvalidValueError(f"{what} needs the field {each.name}. Received: {', '.join(data) or 'no fields'}")
    values = {}
    for name, value in data.items():
        try:
            values[name] = _converted(value, hints[name])
        except (TypeError, OverflowError):
            kind = _described(hints[name])
            raise invalid(name, f"must be {kind}", value, valid=kind, received=shown(value), what=name) from None
    return values


def typed_values(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` from Python code as the types that the dataclass ``cls`` declares for the fields.

    Lists become tuples, integers become floats, and NumPy's numbers become those of Python.

    Raises:
        InvalidValueError: for a value of another type, naming the field.
    """
    hints, typed = get_type_hints(cls), {}
    for name, value in values.items():
        try:
            typed[name] = _converted(value, hints[name])
        except (TypeError, OverflowError):
            kind = _described(hints[name], none="None")
            # Python refuses to convert very large integers to text.
            text = shown(value) if type(value) is int else f"{value!r:.80}"
            raise invalid(name, f"must be {kind}", value, valid=kind, received=text) from None
    return typed


def convert_fields(record: Any) -> None:
    """Convert the values of the frozen dataclass instance ``record`` to the declared types, as ``typed_values``.

    Raises:
        InvalidValueError: for a value of another type, naming the field.
    """
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    for name, value in typed_values(type(record), values).items():
        object.__setattr__(record, name, value)


def _required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _converted(value: Any, hint: Any) -> Any:
    """Return ``value`` as the type ``hint``, or raise a TypeError."""
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
    if hint in _NUMBERS:
        # bool is a subclass of int.
        if isinstance(value, bool) or not isinstance(value, _NUMBERS[hint]):
            raise TypeError
        return hint(value)
    if not isinstance(value, origin or hint):
        raise TypeError
    # The value of a member of an enumeration, or of another subclass, is written to JSON files as a text.
    return str.__str__(value) if hint is str else value


def _described(hint: Any, none: str = "null") -> str:
    """Return the type ``hint`` in words; ``none`` stands for None."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is NoneType:
        return none
    if origin is UnionType:
        return " or ".join(_described(argument, none) for argument in arguments)
    if origin is tuple:
        if arguments[1:] == (...,):
            return f"a list, each item {_described(arguments[0])}"
        if len(set(arguments)) == 1:
            return f"a list of {len(arguments)}, each {_described(arguments[0])}"
        return f"a list of {' and '.join(map(_described, arguments))}"
    name: str = _NAMES.get(origin or hint) or (origin or hint).__name__
    return name
