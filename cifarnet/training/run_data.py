"""The images of a run: what it is trained on, what its epochs end with, and what scores its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cifarnet.data.dataset import Dataset, hold_out
from cifarnet.data.progress import Progress
from cifarnet.data.sources import load_data
from cifarnet.training.config import RunConfig


@dataclass(frozen=True)
class RunData:
    """A run's images; ``held_out`` is what every epoch ends with: the validation images if there are, or the test's."""

    train: Dataset
    held_out: Dataset
    held_name: str
    test: Dataset
    sha256: str

    @classmethod
    def load(cls, config: RunConfig, image_size: int, mirrors: Sequence[str], report: Progress) -> Self:
        """The images that ``config`` names, at ``image_size`` pixels.

        Raises:
            DataError: when they can't be read.
        """
        splits = load_data(
            config.source, test_split=config.test_split, mirrors=mirrors, image_size=image_size, report=report
        )
        train, held_out, name = splits.train, splits.test, "test"
        if config.validation_split is not None:
            train, held_out = hold_out(train, config.validation_split, config.seed)
            name = "validation"
        return cls(train, held_out, name, splits.test, splits.sha256())
