"""The images of a run: training images, held-out images and test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cifarnet.data.dataset import Dataset, LeftOut, hold_out
from cifarnet.data.progress import Progress
from cifarnet.data.sources import load_data
from cifarnet.errors import InvalidValueError
from cifarnet.plurals import counted
from cifarnet.runs.config import RunInputs


@dataclass(frozen=True)
class RunData:
    """The images of a run.

    Attributes:
        train: the training images.
        held_out: the images that are classified after an epoch: validation images if there are any, or else the test
            images.
        held_name: ``validation`` or ``test``.
        test: the test images, which give the result.
        sha256: SHA-256 of all images and labels in their splits.
        left_out: the files of the source that are not read.
        enlarged: number of images that are smaller in the source.
        note: how the source was read where it can be read in several ways, as text for the user.
    """

    train: Dataset
    held_out: Dataset
    held_name: str
    test: Dataset
    sha256: str
    left_out: tuple[LeftOut, ...] = ()
    enlarged: int = 0
    note: str = ""

    @classmethod
    def load(cls, inputs: RunInputs, mirrors: Sequence[str], report: Progress) -> Self:
        """Read the images of ``inputs``.

        Raises:
            DataError: when they can't be read.
            InvalidValueError: for a ``validation_split`` of data with validation images.
        """
        splits = load_data(
            inputs.source,
            test_split=inputs.test_split,
            mirrors=mirrors,
            image_size=inputs.image_size,
            skip_broken=inputs.skip_broken,
            report=report,
        )
        train, validation = splits.train, splits.validation
        if inputs.validation_split is not None:
            if validation is not None:
                raise InvalidValueError(
                    f"{inputs.data} has {counted(len(validation), 'validation image')}: leave out `validation_split`,"
                    f" which is for data without any. Received: {inputs.validation_split}"
                )
            train, validation = hold_out(train, inputs.validation_split, inputs.seed)
        held_out, name = (splits.test, "test") if validation is None else (validation, "validation")
        return cls(train, held_out, name, splits.test, splits.sha256(), splits.left_out, splits.enlarged, splits.note)

    @property
    def has_validation(self) -> bool:
        """Whether the held-out images are validation images, which select the best epoch."""
        return self.held_name == "validation"
