"""Find the data source that weights are scored on: the one that the caller chose, or the one that the weights record.

This module imports no backend, so that a missing or wrong data source is an error before the backend starts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cifarnet import places
from cifarnet.data.dataset import Splits
from cifarnet.data.named import NAMED, find_named
from cifarnet.errors import DataError, InvalidValueError, listed
from cifarnet.runs.directory import Run
from cifarnet.runs.files import CONFIG
from cifarnet.runs.provenance import TrainedOn
from cifarnet.shell import command_line
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_header
from cifarnet.weights.record import Weights

Load = Callable[[str, float | None], Splits]
"""A function of the name of a data source and a ``test_split``, which reads the source."""


@dataclass(frozen=True)
class Source:
    """A data source to score weights on.

    Attributes:
        weights: the run directory, the weight file or the name of the weights.
        name: the data source, as ``load_data`` takes it.
        trained_on: the images that the weights were trained on; None where unknown.
        chosen: whether the caller chose the source. Otherwise it is the recorded one, or CIFAR-10.
        moved: whether the recorded source was found in another place.
        run: the run that ``weights`` is the directory of; None otherwise.
        trainable: whether ``weights`` are a place that a training can start from. It is False for weights in memory,
            for which ``weights`` is the name of their network, and for exported networks.
    """

    weights: Path
    name: str
    trained_on: TrainedOn | None
    chosen: bool = False
    moved: bool = False
    run: Run | None = None
    trainable: bool = True

    @property
    def note(self) -> str | None:
        """A note for the user on the data source, or None when it was chosen or belongs to a run directory."""
        if self.chosen or self.trained_on is None:
            return None
        if self.moved:
            return f"There is nothing at {self.trained_on.data_path} any more: trying {self.name}."
        if self.weights.is_dir():
            return None
        return f"Scoring on {self.name}, the data that {self.weights} records. Choose others with `data`."

    def load(self, test_split: float | None, load: Load) -> tuple[Splits, bool | None]:
        """Return the images, and whether they have changed since the weights were trained on them.

        The second is None where that is unknown, or where the caller chose the source. The data that the weights were
        trained on are split as in the training, because other test images may be training images.

        Args:
            test_split: the fraction of the images to hold out as test images, or None.
            load: reads the data source.

        Raises:
            InvalidValueError: when ``test_split`` differs from that of the training.
            DataError: when the recorded images have changed or have test images now, and the test images were held out
                of them, or when a moved source holds other images.
        """
        origin = self.trained_on
        if origin is None or not (self._is_recorded or is_training_data(origin, self.name, load)):
            return load(self.name, test_split), None
        split = required_split(origin, str(self.weights), test_split)
        try:
            splits = load_split(self.name, str(self.weights), split, test_split, load)
        except (DataError, InvalidValueError) as error:
            if self.moved:
                raise self._elsewhere(origin, str(error)) from error
            raise
        changed = None if origin.data_sha256 is None else splits.sha256() != origin.data_sha256
        if changed and self.moved:
            raise self._elsewhere(origin, "Their SHA-256 differs.")
        if changed and origin.test_split is not None:
            raise _changed_images(self.name, str(self.weights), "their SHA-256 differs")
        return splits, None if self.chosen else changed

    def _elsewhere(self, origin: TrainedOn, reason: str) -> DataError:
        return DataError(
            f"The images of {self.weights} are not at {origin.data_path} any more, and {self.name} does not hold the"
            f" same images. {reason} Give their current path with `data`. Received: {self.name}"
        )

    def refuse_other_classes(
        self,
        found: Sequence[str],
        known: Sequence[str],
        note: str = "",
        test_split: float | None = None,
        skip_broken: bool = False,
    ) -> None:
        """Check that the data source and the weights have the same classes in the same order.

        Args:
            found: the classes of the data source.
            known: the classes of the weights.
            note: how the data source was read, as text for the user.
            test_split: the fraction of the images that was held out as test images, or None.
            skip_broken: whether pictures that can't be read were left out.

        Raises:
            DataError: when they differ. The message names the classes of both.
        """
        if tuple(found) == tuple(known):
            return
        remark = f"The data are {note}.\n" if note else ""
        words: list[object] = ["train", "--data", self.name, "--weights", self.weights, "--freeze-base"]
        if test_split is not None:
            words += ["--test-split", str(test_split)]
        if skip_broken:
            words.append("--skip-broken")
        instead = f", or train them on this data with: {command_line(*words)}" if self.trainable else ""
        raise DataError(
            f"{self.name} does not have the same classes in the same order as {self.weights}.\n"
            f"The weights: {', '.join(known)}\nThe data: {', '.join(found)}\n"
            f"{remark}Give the data that the weights were trained for with `data`{instead}\nReceived: {self.name}"
        )

    @property
    def skips_broken(self) -> bool:
        """Whether the training left out pictures that can't be read. The evaluation then leaves them out too."""
        return self._is_recorded and self.trained_on is not None and self.trained_on.skip_broken

    @property
    def _is_recorded(self) -> bool:
        return self.trained_on is not None and (not self.chosen or self.trained_on.is_at(self.name))


def find_source(weights: Path, data: str | None) -> Source:
    """Return the source to score ``weights`` on: ``data``, else the recorded one, else a named one with their classes.

    Raises:
        WeightsError: when there are no such weights.
        DataError: when the recorded source is missing, or when the weights have other classes than the named
            source.
        InvalidValueError: when no source is given or recorded, and no named data set has the classes of the weights.
    """
    _, header = catalog.read(weights, load_header)
    run = Run(weights) if (weights / CONFIG).exists() else None
    origin = run.trained_on if run else catalog.trained_on(weights)
    return _source(weights, header.class_names, origin, run, data, trainable=header.graph is None)


def source_in_memory(weights: Weights, data: str | None) -> Source:
    """Return the source to score weights on that were not read from a file, as ``find_source``."""
    name = Path(weights.spec.name)
    return _source(name, weights.class_names, weights.trained_on, None, data, trainable=False)


def _source(
    weights: Path,
    names: tuple[str, ...],
    origin: TrainedOn | None,
    run: Run | None,
    data: str | None,
    trainable: bool,
) -> Source:
    if data is not None:
        source = Source(weights, data, origin, chosen=True, run=run)
    elif origin is not None:
        source = _recorded(weights, origin, run)
    elif same := [name for name, row in NAMED.items() if row.class_names == names]:
        source = Source(weights, same[0], None, run=run)
    else:
        raise InvalidValueError(
            f"{weights} does not record which images it was trained on, and no named data set has its classes."
            f" Give images of its classes ({listed(names)}) with `data`. Received: no `data`",
            field="data",
        )
    source = replace(source, trainable=trainable)
    # Refused before anything is downloaded.
    if (named := find_named(source.name)) and named[0].class_names and not named[1]:
        source.refuse_other_classes(named[0].class_names, names)
    return source


def _recorded(weights: Path, origin: TrainedOn, run: Run | None) -> Source:
    place = places.find(origin.data, origin.data_path, weights if weights.is_dir() else None)
    moved = place not in (origin.data, origin.data_path)
    # Without a recorded checksum, a source in another place can't be checked to hold the same images.
    if place is None or (moved and origin.data_sha256 is None):
        raise DataError(
            f"There is nothing at {origin.data_path} any more, where the images of {weights} were. Give their place"
            f" with `data`. Received: {origin.data_path}"
        )
    return Source(weights, place, origin, moved=moved, run=run)


def is_training_data(origin: TrainedOn, source: str, load: Load) -> bool:
    """Return whether ``source`` holds the same images as ``origin``, of which test images were held out.

    The result is False when no test images were held out. The training data then have test images of their own.
    """
    if origin.test_split is None or origin.data_sha256 is None:
        return False
    try:
        return load(source, origin.test_split).sha256() == origin.data_sha256
    except (DataError, InvalidValueError):  # It has too few images, or has its own test images.
        return False


def required_split(origin: TrainedOn, weights: str, test_split: float | None) -> float | None:
    """Return the fraction of the training data of ``weights`` to hold out as test images: the same as in the training.

    Raises:
        InvalidValueError: when ``test_split`` differs from it.
    """
    held_out = origin.test_split
    if held_out is not None and test_split not in (None, held_out):
        raise InvalidValueError(
            f"{weights} held {held_out:g} of its data out as test images, and was trained on the rest. With another"
            f" fraction, training images would be test images. Leave `test_split` out. Received: {test_split:g}",
            field="test_split",
            value=test_split,
            valid=held_out,
            remedy="Leave `test_split` out.",
        )
    return test_split if held_out is None else held_out


def load_split(source: str, weights: str, split: float | None, test_split: float | None, load: Load) -> Splits:
    """Return the images of the training data ``source`` of ``weights``.

    Args:
        source: the data source.
        weights: the weights, for messages.
        split: the result of ``required_split``.
        test_split: the fraction that the caller gave, or None.
        load: reads the data source.

    Raises:
        DataError: when test images were held out in the training, and ``source`` has test images now.
        InvalidValueError: when it has test images, and the caller gave ``test_split``.
    """
    try:
        return load(source, split)
    except InvalidValueError as error:
        # An option that was not given can't be the fault.
        if split is None or test_split is not None:
            raise
        raise _changed_images(source, weights, "they have test images of their own now") from error


def _changed_images(source: str, weights: str, reason: str) -> DataError:
    return DataError(
        f"{source} does not hold the images any more that {weights} was trained on ({reason}). Its test images were"
        " held out of them, and can't be separated from the training images now. Restore the images, or give others"
        f" with `data`. Received: {source}"
    )
