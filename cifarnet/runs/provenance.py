"""The record of the images that weights were trained on, in config.json, weight files and named weights."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from cifarnet import places
from cifarnet.errors import InvalidValueError
from cifarnet.fields import Range, typed_fields

SEEDS = Range(0, 2**63)
TEXT_LIMIT = 4096
"""The most characters of a path."""


@dataclass(frozen=True)
class TrainedOn:
    """The images that weights were trained on. Fields are validated, because a weight file may come from a stranger.

    Attributes:
        data: the data source as it was given.
        data_path: its absolute path; None for ``cifar10`` and ``synthetic``.
        data_sha256: SHA-256 of all images and labels in their splits; None if it was not recorded.
        test_split: the fraction of every class held out as test images; None if the source has test images.
        validation_split: the fraction of the training images held out to select an epoch; None if there were none.
        seed: the seed with which the validation images were drawn.
        skip_broken: whether unreadable pictures were left out.

    Raises:
        InvalidValueError: when a field has another type or an impossible value.
    """

    data: str
    data_path: str | None = None
    data_sha256: str | None = None
    test_split: float | None = None
    validation_split: float | None = None
    seed: int = 0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        for name, valid, holds in (
            ("data", f"a text of 1 to {TEXT_LIMIT:,} characters", _is_path(self.data)),
            ("data_path", "a path, or null", self.data_path is None or _is_path(self.data_path)),
            ("data_sha256", "64 hexadecimal digits, or null", self.data_sha256 is None or is_sha256(self.data_sha256)),
            ("test_split", "between 0 and 1, or null", _is_fraction(self.test_split)),
            ("validation_split", "between 0 and 1, or null", _is_fraction(self.validation_split)),
            ("skip_broken", "true or false", type(self.skip_broken) is bool),
            ("seed", "a whole number from 0 to 2**63", type(self.seed) is int and self.seed in SEEDS),
        ):
            if not holds:
                raise InvalidValueError(f"{name} must be {valid}. Received: {getattr(self, name)!r:.60}")

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the record in ``record``, such as a run's configuration. Other fields are ignored.

        Raises:
            InvalidValueError: when a field has another type or an impossible value, or ``data`` is missing.
        """
        return cls(**typed_fields(cls, record, "A record of training images", others=True))

    def is_at(self, source: str) -> bool:
        """Return whether ``source`` is the same path or name as the recorded data."""
        path = places.of_data(source)
        return source == self.data if path is None else path == (self.data_path or places.of_data(self.data))


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= TEXT_LIMIT and "\0" not in value


def is_sha256(value: object) -> bool:
    """Return whether ``value`` is a SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_fraction(value: object) -> bool:
    return value is None or (isinstance(value, float) and 0 < value < 1)
