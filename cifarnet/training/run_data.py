"""The images of a run: what it is trained on, what its epochs end with, and what scores its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cifarnet.data.dataset import Dataset, LeftOut, hold_out
from cifarnet.data.progress import Progress
from cifarnet.data.sources import load_data
from cifarnet.errors import InvalidValueError
from cifarnet.runs.config import RunInputs


@dataclass(frozen=True)
class RunData:
    """A run's images, and the files of its source that are not read.

    ``held_out`` are the images that every epoch ends with: the validation images if there are any, else the test
    images; ``held_name`` is validation or test.
    """

    train: Dataset
    held_out: Dataset
    held_name: str
    test: Dataset
    sha256: str
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def load(cls, inputs: RunInputs, image_size: int, mirrors: Sequence[str], report: Progress) -> Self:
        """Read the images that ``inputs`` names, at ``image_size`` pixels.

        Raises:
            DataError: when they can't be read.
            InvalidValueError: for a ``validation_split`` of data that have validation images.
        """
        splits = load_data(
            inputs.source,
            test_split=inputs.test_split,
            mirrors=mirrors,
            image_size=image_size,
            skip_broken=inputs.skip_broken,
            report=report,
        )
        train, validation = splits.train, splits.validation
        if inputs.validation_split is not None:
            if validation is not None:
                raise InvalidValueError(
                    f"{inputs.data} has {len(validation):,} validation images of its own: `validation_split` is for a"
                    f" source without. Received: {inputs.validation_split}"
                )
            train, validation = hold_out(train, inputs.validation_split, inputs.seed)
        held_out, name = (splits.test, "test") if validation is None else (validation, "validation")
        return cls(train, held_out, name, splits.test, splits.sha256(), splits.left_out)

    @property
    def has_validation(self) -> bool:
        """Whether the held-out images are validation images, which select the best epoch."""
        return self.held_name == "validation"
