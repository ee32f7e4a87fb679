"""The images with which exported networks are checked, and from which 8-bit integers take their ranges."""

from dataclasses import dataclass

import numpy as np

from cifarnet import places
from cifarnet.data.dataset import Splits
from cifarnet.data.progress import Progress
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.evaluation.source import load_split, required_split
from cifarnet.files import StrPath
from cifarnet.weights.record import Weights

SYNTHETIC = "synthetic:500"
"""The images that are compared where there are no real ones."""

# With 32, 128, 512 and 2,000 images, ResNet-20 scores 89.9, 89.9, 89.5 and 89.7 % on 2,000 test images of CIFAR-10
# (89.9 % in float32): the number matters little.
CALIBRATION_IMAGES = 512
"""The number of training images from which 8-bit integers take their ranges."""


@dataclass(frozen=True)
class Images:
    """Images of a data source.

    Attributes:
        source: the data source.
        images: those that are compared, uint8 (n, size, size, 3).
        labels: their classes, int32 (n,); None for synthetic images.
        calibration: training images; None where they are not needed.
    """

    source: str
    images: np.ndarray
    labels: np.ndarray | None = None
    calibration: np.ndarray | None = None


def find_images(
    weights: Weights, data: StrPath | None, test_split: float | None, int8: bool, report: Progress
) -> Images:
    """Return the test images of ``data``, or of the recorded data, or else synthetic images.

    Args:
        weights: the weights, whose training data are used if they are on this machine.
        data: the data source; None for the recorded one.
        test_split: the fraction to hold out as test images; None as in the training, or for a source with test images.
        int8: whether training images are needed, and test images of the classes of ``weights``.
        report: receives the progress.

    Raises:
        DataError: when ``data`` can't be read, has test images now that were held out in the training, or with ``int8``
            has other classes.
        InvalidValueError: when ``int8`` needs training images, and there are none; and for another ``test_split`` than
            that of the training.
    """
    size = weights.spec.image_size
    source = _recorded(weights, allow_names=int8) if data is None else source_name(data)
    if source is not None:
        try:
            splits = _load(weights, source, test_split, report)
        except DataError:
            if data is not None or int8:
                raise
        else:
            return _of_source(weights, source, splits, int8)
    if int8:
        raise InvalidValueError(
            "`int8` needs training images, from which the integers take their ranges, and test images, which show the"
            " accuracy. Give them with `data`. Received: no `data`",
            field="data",
            remedy="Give them with `data`.",
        )
    return Images(SYNTHETIC, load_data(SYNTHETIC, image_size=size).train.images)


def _recorded(weights: Weights, *, allow_names: bool) -> str | None:
    """Return the data that the weights were trained on, if it is on this machine.

    A named data set may have to be downloaded, so it counts only if ``allow_names``.
    """
    origin = weights.trained_on
    if origin is None or (origin.data_path is None and not allow_names):
        return None
    return places.find(origin.data, origin.data_path)


def _load(weights: Weights, source: str, test_split: float | None, report: Progress) -> Splits:
    origin, title, size = weights.trained_on, weights.spec.title, weights.spec.image_size
    broken = origin is not None and origin.skip_broken

    def load(name: str, split: float | None) -> Splits:
        return load_data(name, test_split=split, image_size=size, skip_broken=broken, report=report)

    if origin is None or not origin.is_at(source):
        return load(source, test_split)
    return load_split(source, f"the {title}", required_split(origin, f"The {title}", test_split), test_split, load)


def _of_source(weights: Weights, source: str, splits: Splits, int8: bool) -> Images:
    test, train = splits.test, splits.train.images
    same = test.class_names == weights.class_names
    if not int8:
        return Images(source, test.images, test.labels if same else None)
    if not same:
        raise DataError(
            f"{source} does not have the same classes in the same order as the weights. Give the data that they were"
            f" trained for with `data`. Received: {source}"
        )
    # Evenly spaced, because the images may be sorted by class.
    rows = np.linspace(0, len(train) - 1, min(CALIBRATION_IMAGES, len(train))).astype(int)
    return Images(source, test.images, test.labels, np.asarray(train[rows]))
