"""Checks labels and class names from files, and converts them to one form."""

import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from cifarnet.errors import DataError, listed
from cifarnet.plurals import counted
from cifarnet.preprocessing import CLASS_LIMIT, name_fault, names_fault

# The most characters of a text that is normalized before its length is checked, since outer spaces don't count.
_TEXT_LIMIT = 1000
# The sum of float16 probabilities differs from 1 by less than this.
_SUM_TOLERANCE = 0.01


class StoredLabels(NamedTuple):
    """Labels from a file: ``values`` are int32 (n,), or class names, str (n,).

    ``width`` is the number of classes of one-hot labels, otherwise None.
    """

    values: np.ndarray
    width: int | None = None

    @property
    def are_names(self) -> bool:
        """Whether the labels are class names instead of numbers."""
        return self.values.dtype.kind == "U"


def class_name(value: Any, what: str) -> str:
    """Return text, UTF-8 bytes or a number as a class name: in normal form C, without outer spaces.

    Args:
        value: the stored name.
        what: the name of the value in error messages.

    Raises:
        DataError: when it is not text, is empty or too long, or has control characters.
    """
    if not isinstance(value, str | bytes | int):
        raise DataError(f"{what} must be text. Received: {type(value).__name__}")
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
    except ValueError as error:  # Not UTF-8, or a number with more than 4,300 digits.
        raise DataError(f"{what} must be text in UTF-8. Received: {value!r:.60}") from error
    # Long texts are refused first: normalization takes a time that is quadratic in the length.
    if fault := name_fault(text) if len(text) > _TEXT_LIMIT else None:
        raise DataError(f"{what} {fault}")
    name = unicodedata.normalize("NFC", text).strip()
    if fault := name_fault(name):
        raise DataError(f"{what} {fault}")
    return name


def as_class_names(values: Iterable[Any], what: str) -> tuple[str, ...]:
    """Return the names of a source's classes, in their order.

    Args:
        values: text or UTF-8 bytes.
        what: the name of the values in error messages.

    Raises:
        DataError: when a name is not a valid class name or occurs twice, or there are too many.
    """
    names = tuple(class_name(value, f"Every name in {what}") for value in islice(values, CLASS_LIMIT + 1))
    if fault := names_fault(names):
        raise DataError(f"{what} {fault}")
    return names


def as_labels(values: Any, count: int, what: str) -> np.ndarray:
    """Return the class numbers of ``count`` images as int32 (count,).

    Args:
        values: whole numbers (count,) or (count, 1), of an integer, bool or floating-point type; or one-hot
            (count, classes).
        count: the number of images.
        what: the name of the labels in error messages.

    Raises:
        DataError: when they have another form, or a number is out of range.
    """
    if isinstance(values, list | tuple):
        # NumPy would allocate the length of the longest text for every label.
        rows = (value if isinstance(value, list | tuple) else [value] for value in values)
        if odd := [item for row in rows for item in row if not isinstance(item, int | float)]:
            raise DataError(f"{what} must be {count:,} whole numbers. Received: {odd[0]!r:.60}")
    stored = stored_labels(values, count, what)
    if stored.are_names:
        raise DataError(f"{what} must be {count:,} whole numbers. Received: text, such as {stored.values[0]!s:.60}")
    return stored.values


def stored_labels(values: Any, count: int, what: str) -> StoredLabels:
    """Return labels that are class numbers, as for ``as_labels``, or class names as text or bytes.

    Raises:
        DataError: when they have another form, or a number is out of range.
    """
    try:
        labels = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} must be {count:,} whole numbers: {error}") from error
    received = f"Received: {labels.dtype} {labels.shape}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape[:1] != (count,) or labels.ndim > 2 or labels.dtype.kind not in "biufUS":
        raise DataError(f"{what} must be {count:,} whole numbers. {received}")
    if labels.ndim == 2:
        if labels.dtype.kind in "US":
            raise DataError(f"{what} must be {count:,} names. {received}")
        return StoredLabels(_from_one_hot(labels, what, received), labels.shape[1])
    if labels.dtype.kind in "US":
        return StoredLabels(_names(labels, what))
    if labels.dtype.kind == "f":
        _require_whole(labels, what, received)
    if count and not 0 <= labels.min() <= labels.max() < CLASS_LIMIT:
        raise DataError(
            f"{what} must number classes from 0, below {CLASS_LIMIT:,}. Received: {labels.min()} to {labels.max()}"
        )
    return StoredLabels(labels.astype(np.int32))


def _names(labels: np.ndarray, what: str) -> np.ndarray:
    different, rows = np.unique(labels, return_inverse=True)
    return np.array([class_name(value, f"Every label in {what}") for value in different], str)[rows]


def _require_whole(labels: np.ndarray, what: str, received: str) -> None:
    if np.isnan(labels).any():
        raise DataError(f"{what} must be whole numbers: a missing label is NaN. Leave its image out. {received}")
    odd = labels[labels != np.floor(labels)]
    if len(odd):
        raise DataError(
            f"{what} must be whole numbers, the classes' numbers. {received}, such as {odd[0]}: save labels, not"
            " scores or targets of a regression"
        )


def _from_one_hot(labels: np.ndarray, what: str, received: str) -> np.ndarray:
    """Return the index of the 1 in every row of ``labels`` (n, classes)."""
    valid = np.isin(labels, (0, 1)).all()
    sums = labels.sum(axis=1, dtype=np.float64)
    if valid and (sums == 1).all():
        return labels.argmax(axis=1).astype(np.int32)
    message = f"{what} must be whole numbers, or one-hot: a single 1 in every row."
    if valid:
        row = int(np.flatnonzero(sums != 1)[0])
        raise DataError(f"{message} An image has one class only. {received}, with {sums[row]:.0f} classes in row {row}")
    if labels.min() >= 0 and np.allclose(sums, 1, atol=_SUM_TOLERANCE):
        raise DataError(
            f"{message} Probabilities are not labels: use y.argmax(axis=1), the most probable classes. {received}"
        )
    raise DataError(f"{message} {received}")


def numbered(
    labels: dict[str, StoredLabels], names: tuple[str, ...] | None, origin: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Return the labels of all splits as class numbers, and the class names.

    Args:
        labels: the labels by name of the array, those of the training images first.
        names: the class names by number, if the file has them.
        origin: the name of the file in error messages.

    Returns:
        int32 labels (n,) by name of the array; and the class names: ``names``, or the sorted names in the labels, or
        None if there are only numbers.

    Raises:
        DataError: when the splits store labels in different forms, a class has no name or no training image, or there
            are fewer than two classes.
    """
    train, *others = labels
    for other in others:
        if labels[other].are_names != labels[train].are_names or labels[other].width != labels[train].width:
            raise DataError(
                f"{train} and {other} in {origin} must store labels in the same form. Received: {_way(labels[train])}"
                f" and {_way(labels[other])}"
            )
    order = names
    if labels[train].are_names:
        order = names or tuple(sorted(set(labels[train].values.tolist())))
    numbers = {
        array: _by_name(stored.values, order, f"{array} in {origin}") if order and stored.are_names else stored.values
        for array, stored in labels.items()
    }
    present = np.unique(numbers[train])
    if len(present) < 2:
        raise DataError(f"{train} in {origin} has only one class; at least 2 are needed. Received: labels {present[0]}")
    classes = labels[train].width or 1 + int(present.max())
    if classes > CLASS_LIMIT:
        raise DataError(f"{train} in {origin} must have at most {CLASS_LIMIT:,} classes. Received: {classes:,}")
    advice = "" if labels[train].are_names else _numbering_advice(present)
    _require_images_and_names(present, classes, order, f"{train} in {origin}", advice)
    for other in others:
        if len(unknown := np.setdiff1d(numbers[other], present)):
            raise DataError(
                f"Every class needs a training image: {other} in {origin} has the labels {listed(unknown)}, which"
                f" {train} lacks. Received: labels {listed(present)} in {train}"
            )
    return numbers, order


def _way(stored: StoredLabels) -> str:
    if stored.are_names:
        return "names"
    return "numbers" if stored.width is None else f"one-hot labels of {counted(stored.width, 'class')}"


def _by_name(labels: np.ndarray, order: tuple[str, ...], what: str) -> np.ndarray:
    """Return the indices in ``order`` of the names ``labels`` (n,), as int32 (n,)."""
    number = {name: label for label, name in enumerate(order)}
    different, rows = np.unique(labels, return_inverse=True)
    unknown = [name for name in different.tolist() if name not in number]
    if unknown:
        raise DataError(
            f"{what} has labels that are neither among the classes of the training images nor, if there is one, in"
            f" class_names: {listed(unknown)}. Received: the classes {listed(order)}"
        )
    return np.array([number[name] for name in different.tolist()], np.int32)[rows]


def _numbering_advice(present: np.ndarray) -> str:
    """Return the remedy for labels that are not 0, 1, 2, ...; ``present`` are the distinct labels, sorted."""
    first = int(present[0])
    if first and present[-1] - first + 1 == len(present):
        return f" Do the labels begin at {first}? Subtract {first} from all of them."
    return " Renumber the classes without gaps: np.unique(y, return_inverse=True)[1]."


def _require_images_and_names(
    present: np.ndarray, classes: int, names: tuple[str, ...] | None, what: str, advice: str
) -> None:
    """Check that every class has a training image and a name.

    Args:
        present: the distinct labels of the training images, sorted.
        classes: the number of classes according to the labels.
        names: the class names by number, if the file has them.
        what: the name of the training labels in error messages.
        advice: the remedy for gaps between the labels.

    Raises:
        DataError: when a class has none.
    """
    received = f"Received: labels {listed(present)}"
    if names and len(names) < classes:
        raise DataError(
            f"class_names must name every class. {what} has labels up to {classes - 1}, and there are {len(names)}"
            f" names.{advice if present[0] else ''} {received}; names {listed(names)}"
        )
    if empty := sorted(set(range(len(names or range(classes)))) - set(present.tolist())):
        lacking = [names[label] for label in empty] if names else empty
        raise DataError(
            f"Every class needs a training image. {what} has none of class {listed(lacking)}.{advice} {received}"
        )
