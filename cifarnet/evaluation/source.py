"""The images that weights are scored on: the caller's choice, or those that the weights record.

Nothing here needs a backend, so that a missing or wrong data source is refused before one is imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifarnet import places
from cifarnet.data.dataset import Splits
from cifarnet.errors import DataError, InvalidValueError, listed
from cifarnet.models.spec import CIFAR10_CLASSES
from cifarnet.runs.provenance import TrainedOn
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_header

Load = Callable[[str, float | None], Splits]
"""Reads the data source of that name with that ``test_split``."""


@dataclass(frozen=True)
class Source:
    """The data source ``name`` to score the weights at ``weights`` on.

    Attributes:
        weights: the run directory, weight file or name that was given.
        name: the source as ``load_data`` takes it.
        trained_on: the images that the weights were trained on; None where unknown.
        chosen: whether the caller chose the source; otherwise it is the recorded one, or CIFAR-10.
        moved: whether the recorded source was found at another place than the recorded one.
    """

    weights: Path
    name: str
    trained_on: TrainedOn | None
    chosen: bool = False
    moved: bool = False

    @property
    def note(self) -> str | None:
        """The note on this source for a user who gave none; None for the recorded source of a run."""
        if self.chosen or self.trained_on is None:
            return None
        if self.moved:
            return f"There is nothing at {self.trained_on.data_path} any more: trying {self.name}."
        if self.weights.is_dir():
            return None
        return f"Scoring on {self.name}, the data that {self.weights} records. Choose others with `data`."

    def load(self, test_split: float | None, load: Load) -> tuple[Splits, bool | None]:
        """Return the images, and whether they differ from those that the weights were trained on.

        The second is None where that is unknown, or where the caller chose the source. The images that the weights were
        trained on are split as for their training: otherwise most test images would be ones that they have learned.

        Raises:
            InvalidValueError: when ``test_split`` differs from that of the training.
            DataError: when the recorded images have changed and the test images were held out of them, or when a moved
                source holds other images.
        """
        origin = self.trained_on
        if origin is None or not (self._is_recorded or learned(origin, self.name, load)):
            return load(self.name, test_split), None
        split = required_split(origin, str(self.weights), test_split)
        try:
            splits = load(self.name, split)
        except (DataError, InvalidValueError) as error:
            if self.moved:
                raise self._elsewhere(origin, str(error)) from error
            raise
        changed = None if origin.data_sha256 is None else splits.sha256() != origin.data_sha256
        if changed and self.moved:
            raise self._elsewhere(origin, "Their SHA-256 differs.")
        if changed and origin.test_split is not None:
            raise DataError(
                f"{self.name} does not hold the images any more that {self.weights} was trained on, so the images that"
                " it held out to test on can't be told from those that it has learned. Restore the images, or give"
                " others with `data`."
            )
        return splits, None if self.chosen else changed

    def _elsewhere(self, origin: TrainedOn, reason: str) -> DataError:
        return DataError(
            f"There is nothing at {origin.data_path} any more, where the images of {self.weights} were, and {self.name}"
            f" does not hold the same. {reason} Give their place with `data`."
        )

    @property
    def skips_broken(self) -> bool:
        """Whether the training left pictures out that can't be read, so that they have to be left out again."""
        return self._is_recorded and self.trained_on is not None and self.trained_on.skip_broken

    @property
    def _is_recorded(self) -> bool:
        return self.trained_on is not None and (not self.chosen or self.trained_on.is_at(self.name))


def find_source(weights: Path, data: str | None) -> Source:
    """Return the source to score ``weights`` on: ``data``, or else the recorded one, or else CIFAR-10.

    Raises:
        WeightsError: when there are no such weights.
        DataError: when nothing is left where the images were, or when CIFAR-10 would be read for other classes.
        InvalidValueError: when no source is given or recorded, and the weights don't know CIFAR-10's classes.
    """
    file, header = catalog.read(weights, load_header)
    names, origin = header.class_names, catalog.trained_on(weights)
    if data is not None:
        source = Source(weights, data, origin, chosen=True)
    elif origin is not None:
        source = _recorded(weights, origin)
    elif names == CIFAR10_CLASSES:
        source = Source(weights, "cifar10", None)
    else:
        raise InvalidValueError(
            f"{weights} does not record which images it was trained on, and it has other classes than CIFAR-10."
            f" Give images of its classes ({listed(names)}) with `data`. Received: no `data`",
            field="data",
        )
    if source.name == "cifar10":
        refuse_other_classes(source.name, CIFAR10_CLASSES, file, names)
    return source


def _recorded(weights: Path, origin: TrainedOn) -> Source:
    place = places.find(origin.data, origin.data_path, weights if weights.is_dir() else None)
    moved = place not in (origin.data, origin.data_path)
    # Without a checksum nothing shows that what is found elsewhere holds the same images.
    if place is None or (moved and origin.data_sha256 is None):
        raise DataError(
            f"There is nothing at {origin.data_path} any more, where the images of {weights} were. Give their place"
            " with `data`."
        )
    return Source(weights, place, origin, moved=moved)


def learned(origin: TrainedOn, source: str, load: Load) -> bool:
    """Return whether ``source`` holds the images of ``origin`` at another place, with test images held out of them.

    Return False where none were held out: such a source has test images of its own.
    """
    if origin.test_split is None or origin.data_sha256 is None:
        return False
    try:
        return load(source, origin.test_split).sha256() == origin.data_sha256
    except (DataError, InvalidValueError):  # Too few images, test images of its own: it is another source.
        return False


def required_split(origin: TrainedOn, weights: str, test_split: float | None) -> float | None:
    """Return the fraction to hold out of the images that ``weights`` were trained on: that of the training.

    Raises:
        InvalidValueError: when ``test_split`` differs from it.
    """
    held_out = origin.test_split
    if held_out is not None and test_split not in (None, held_out):
        raise InvalidValueError(
            f"{weights} held {held_out:g} of its data out to test on, and was trained on the rest. Another fraction"
            f" would test on images that it has learned. Leave `test_split` out. Received: {test_split:g}",
            field="test_split",
            value=test_split,
            valid=held_out,
            remedy="Leave `test_split` out.",
        )
    return test_split if held_out is None else held_out


def refuse_other_classes(source: str, found: Sequence[str], weights: Path, known: Sequence[str]) -> None:
    """Refuse a ``source`` whose classes, in their order, are not those of ``weights``.

    Raises:
        DataError: naming both.
    """
    if tuple(found) != tuple(known):
        raise DataError(
            f"{source} does not have the classes, in their order, that {weights} tells apart.\n"
            f"The weights: {', '.join(known)}\nThe data: {', '.join(found)}\n"
            "Give the data that the weights were trained for with `data`, or train them on this data with"
            " cifarnet train --freeze-base --weights."
        )
