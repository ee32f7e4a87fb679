"""The errors that cifarnet raises on purpose; each class knows its exit status.

Library code raises; only the command line catches (``cifarnet.cli.main``). A message says what is wrong, what is valid,
what to do next and what was received, since it is all that a user sees.

Messages name parameters in backticks, as Python callers know them: `` `test_split` must be below 1``. The command line
spells them as options (``cifarnet.cli.spelling``): ``--test-split must be below 1``.
"""

import os
import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from cifarnet.plurals import alternatives


class CifarnetError(Exception):
    """The base class of cifarnet's errors, for problems that a user can understand and fix.

    Args:
        message: the whole message. Parameters are named in backticks.
        field: name of the parameter, or of the field of a file, that is at fault.
        value: what was received for it.
        valid: what is valid: a range, or the names to choose from.
        remedy: what to do.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        valid: object = None,
        remedy: str | None = None,
    ):
        super().__init__(message)
        self.field = field
        self.value = value
        self.valid = valid
        self.remedy = remedy


class InvalidValueError(CifarnetError, ValueError):
    """An invalid argument or option, such as a depth that no ResNet has."""

    exit_code = 2


class BudgetError(InvalidValueError):
    """A time budget that ends before the first training step."""


class DataError(CifarnetError):
    """A data source that is missing, damaged or not in a known layout."""


class FileAccessError(DataError):
    """A file that the system can't read now. Its content may be intact."""


class DownloadError(DataError):
    """A download that failed from every mirror, or has another checksum."""


class WeightsError(CifarnetError):
    """A weight file or checkpoint that can't be read, or does not fit the network."""


class RunError(CifarnetError):
    """A run directory that can't be started in, resumed from or written to."""


class LostRunError(RunError):
    """A run directory that was deleted, moved or replaced while its run was being trained."""

    exit_code = 3


class StorageError(CifarnetError):
    """A file that can't be written. Its former content is unchanged."""

    exit_code = 3

    def __init__(self, path: Path, error: OSError, advice: str = ""):
        super().__init__(f"{path} can't be written: {error.strerror or error}.{advice}", remedy=advice.strip() or None)
        self.path, self.error = path, error

    def with_advice(self, advice: str) -> "StorageError":
        """This error, telling what to do about it."""
        return StorageError(self.path, self.error, f" {advice}")


class NoHomeError(CifarnetError):
    """There is no folder to keep a file in: no variable names one, and the account has no home folder."""

    exit_code = 3


class DivergedError(CifarnetError):
    """A training that diverged: a loss or a weight is NaN or infinite."""

    exit_code = 4


class BackendError(CifarnetError):
    """A Keras backend that is not installed or was chosen too late."""


class ExportError(CifarnetError):
    """A network that can't be written for other programs, or whose file gives other probabilities."""


class InterruptedRunError(CifarnetError):
    """A training run stopped by a signal after its state was saved; exits with 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class FailedSeedsError(CifarnetError):
    """Runs of a sweep that failed; exits with the status of the first."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def invalid(
    field: str,
    problem: str,
    value: object,
    *,
    valid: object = None,
    remedy: str = "",
    received: str | None = None,
    what: str | None = None,
) -> InvalidValueError:
    """Return the error for the ``value`` of the parameter ``field``.

    ``problem`` follows the field's name, or ``what`` in its place: ``must be below 1``. ``received`` is shown in place
    of the value.
    """
    advice = f" {remedy}" if remedy else ""
    message = f"{what or f'`{field}`'} {problem}.{advice} Received: {value if received is None else received}"
    return InvalidValueError(message, field=field, value=value, valid=valid, remedy=remedy or None)


def without_marks(message: str) -> str:
    """Return ``message`` with the parameters in backticks as plain names, for the fields of a file."""
    return PARAMETER.sub(lambda match: match[1], message)


PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)`")
"""A parameter in a message."""

_SIMILAR = 0.6
"""The least similarity, by difflib, at which a name is taken for another with a typing mistake."""


def nearest(received: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that was probably meant by ``received``, or None when none is similar.

    Case and punctuation make no difference. Initials (``lr`` for ``learning-rate``) and letters left out (``tf`` for
    ``tensorflow``) are understood as well as typing mistakes.
    """
    from difflib import SequenceMatcher

    names = list(known)
    plain = [_plain(name) for name in names]
    wanted = _plain(received)
    if not wanted or not names:
        return None
    initials = ["".join(word[0] for word in re.findall(r"[^\W_]+", name.casefold())) for name in names]
    letters = ["".join(sorted(name)) for name in plain]
    for form, forms in ((wanted, plain), (wanted, initials), ("".join(sorted(wanted)), letters)):
        if form in forms:
            return names[forms.index(form)]

    def same(pair: tuple[str, str]) -> bool:
        return pair[0] == pair[1]

    def similarity(index: int) -> tuple[float, int]:
        # Of names that are equally similar (resnet20 and resnet32 to resnet2) the one that begins alike.
        ratio = SequenceMatcher(None, wanted, plain[index]).ratio()
        return ratio, len(list(takewhile(same, zip(wanted, plain[index], strict=False))))

    best = max(range(len(names)), key=similarity)
    if similarity(best)[0] >= _SIMILAR:
        return names[best]
    return next((name for name in names if len(wanted) > 1 and _abbreviates(wanted, _plain(name))), None)


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """Return the sentence `` Did you mean NAME?``, or an empty text when none of ``known`` is similar."""
    name = nearest(received, known)
    return f" Did you mean {name}?" if name else ""


def did_you_mean_path(path: Path, names: Iterable[str] = ()) -> str:
    """Return the sentence `` Did you mean PATH?`` for a missing ``path``, or an empty text.

    Compared with ``path`` are the ``names`` that can be given instead of a path, and the files and folders beside it.
    """
    known = list(names)
    try:
        beside = sorted(entry.name for entry in os.scandir(path.parent) if not entry.name.startswith("."))
    except OSError:
        beside = []
    name = nearest(path.name, [*known, *beside])
    return f" Did you mean {name if name in known else path.parent / name}?" if name else ""


def listed(names: Iterable[object], most: int = 10) -> str:
    """Return ``names`` with commas between them: the first ``most``, and the number of all where there are more."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f", ... ({len(texts):,} in all)" if len(texts) > most else "")


def unknown_value(field: str, received: object, known: Iterable[str], what: str | None = None) -> InvalidValueError:
    """Return the error for a value of the parameter ``field`` that is not one of ``known``; ``what`` as ``invalid``."""
    names = list(known)
    remedy = did_you_mean(str(received), names).strip()
    return invalid(field, f"must be {alternatives(names)}", received, valid=tuple(names), remedy=remedy, what=what)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _abbreviates(short: str, name: str) -> bool:
    """Return whether ``short`` is ``name`` with some letters left out, but not the first."""
    letters = iter(name)
    return short[0] == name[:1] and all(letter in letters for letter in short)
