"""The errors that cifarnet raises on purpose; each class knows its exit status.

Library code raises; only the command line catches (``cifarnet.cli.main``). A message says what was
received, what is valid and what to do next, since it is all that a user sees.
"""

from pathlib import Path


class CifarnetError(Exception):
    """Root of the family: anything that a user can understand and mend."""

    exit_code = 1


class InvalidValueError(CifarnetError, ValueError):
    """An argument or option that can't be meant (a depth that no ResNet has, say)."""

    exit_code = 2


class BudgetError(InvalidValueError):
    """A time budget that ends before the first training step."""


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


class NoHomeError(CifarnetError):
    """There is no folder to keep a file in: no variable names one, and the account has no home folder."""

    exit_code = 3


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
