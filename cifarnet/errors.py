"""The errors that cifarnet raises on purpose; each class knows its exit status.

Library code raises; only the command line catches (``cifarnet.cli.main``). A message says what is wrong, what is valid,
what to do next and what was received, since it is all that a user sees.
"""

import re
from collections.abc import Iterable
from pathlib import Path


class CifarnetError(Exception):
    """Root of the family: anything that a user can understand and mend."""

    exit_code = 1


class InvalidValueError(CifarnetError, ValueError):
    """An argument or option that can't be meant (a depth that no ResNet has, say)."""

    exit_code = 2


class DataError(CifarnetError):
    """A data source that is missing, damaged or not in a known layout."""


class DownloadError(DataError):
    """A download that no mirror could answer, or whose checksum does not hold."""


class WeightsError(CifarnetError):
    """A weight file or checkpoint that can't be read, or does not fit the network."""


class RunError(CifarnetError):
    """A run directory that can't be started in, resumed from or written to."""


class StorageError(CifarnetError):
    """A file that the system did not let be written; what it held before is untouched."""

    exit_code = 3

    def __init__(self, path: Path, error: OSError, advice: str = ""):
        super().__init__(f"{path} can't be written: {error.strerror or error}.{advice}")
        self.path, self.error = path, error

    def with_advice(self, advice: str) -> "StorageError":
        """This error, telling what to do about it."""
        return StorageError(self.path, self.error, f" {advice}")


class DivergedError(CifarnetError):
    """A training whose numbers went bad: a loss or weight that is NaN or infinite."""

    exit_code = 4


class BackendError(CifarnetError):
    """A Keras backend that is not installed or was chosen too late."""


class InterruptedRunError(CifarnetError):
    """A training run stopped by a signal after its state was saved; exits with 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def nearest(received: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that was probably meant by ``received``, or None when none is similar.

    Case and punctuation make no difference. Initials (``lr`` for ``learning-rate``) and letters left out (``tf`` for
    ``tensorflow``) are understood as well as typing mistakes.
    """
    from difflib import get_close_matches

    names = list(known)
    wanted = _plain(received)
    if not wanted:
        return None
    plain = {_plain(name): name for name in reversed(names)}
    if wanted in plain:
        return plain[wanted]
    initials = ["".join(word[0] for word in re.findall(r"[^\W_]+", name.casefold())) for name in names]
    if wanted in initials:
        return names[initials.index(wanted)]
    if matches := get_close_matches(wanted, plain, n=1):
        return plain[matches[0]]
    return next((name for name in names if len(wanted) > 1 and _abbreviates(wanted, _plain(name))), None)


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """Return the sentence `` Did you mean NAME?``, or an empty text when none of ``known`` is similar."""
    name = nearest(received, known)
    return f" Did you mean {name}?" if name else ""


def unknown_value(what: str, received: str, known: Iterable[str], advice: str = "") -> InvalidValueError:
    """Return the error for a value of ``what`` that is none of ``known``; ``advice`` says what else to do."""
    names = list(known)
    valid = " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return InvalidValueError(
        f"{what} must be {valid}.{did_you_mean(received, names)}{advice and ' '}{advice} Received: {received}"
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _abbreviates(short: str, name: str) -> bool:
    """Return whether ``short`` is ``name`` with some letters left out, but not the first."""
    letters = iter(name)
    return short[0] == name[:1] and all(letter in letters for letter in short)
