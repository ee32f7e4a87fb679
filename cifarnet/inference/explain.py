"""Where in a picture the network finds its answer: Grad-CAM, in numbers.

Gradient-weighted class activation mapping (Selvaraju et al. 2017, arXiv:1610.02391) of the last stage's feature maps.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cifarnet.data.images import fit_square
from cifarnet.errors import StorageError, invalid, unknown_value
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines.keras import KerasEngine
from cifarnet.inference.predict import ImageSource, Prediction

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SHOWN, LARGEST_SHOWN = 256, 1200
"""A picture whose longer side has fewer or more pixels is shown enlarged or shrunk."""

BATCH_SIZE = 16
"""Pictures per batch of ``predict`` when they are explained: two batches of ``Shown`` take at most 140 MB."""

# 4 bytes a character at most: with what is added, within the 255 bytes that file systems allow.
_STEM_LIMIT = 48


@dataclass(frozen=True)
class Explanation:
    """A picture with what the network answered and where it saw that.

    ``picture`` uint8 (height, width, 3) is as large as it is shown. ``heat`` float32 (height, width) is the map over
    it: 1 is the map's largest value, which may lie in a margin; all is 0 where nothing speaks for the class, and NaN
    is what the network did not see. ``view`` uint8 (size, size, 3) is what it saw.
    """

    prediction: Prediction
    picture: np.ndarray
    heat: np.ndarray
    view: np.ndarray


class Area(NamedTuple):
    """A rectangle in a picture, in its pixels from its top left corner; it may reach beyond the picture."""

    left: float
    top: float
    right: float
    bottom: float


class Shown(NamedTuple):
    """A picture as it is shown, uint8 (height, width, 3), the ``area`` of it that the network saw, and its ``view``."""

    picture: np.ndarray
    area: Area
    view: np.ndarray


class Explainer:
    """Explains the answers of ``classifier`` for pictures that ``crop``, one of ``CROPS``, makes square."""

    def __init__(self, classifier: Classifier, crop: str):
        self.classifier = classifier
        self.weights = classifier.weights
        self.crop = crop

    def show(self, picture: "Image") -> Shown:
        """Return what ``explain`` needs of a decoded picture."""
        size = self.weights.spec.image_size
        return _shown(picture, self.crop, fit_square(picture, size, self.crop))

    def explain(self, prediction: Prediction, shown: Shown) -> Explanation:
        """Return where the network saw the likeliest class of ``prediction``, its answer for the picture ``shown``."""
        label = self.weights.class_names.index(prediction.predictions[0][0])
        cells = self.class_map(shown.view, label)
        heat = spread(cells / (cells.max() or 1), shown.area, *shown.picture.shape[:2])
        return Explanation(prediction, shown.picture, heat, shown.view)

    def class_map(self, view: np.ndarray, label: int) -> np.ndarray:
        """Return Grad-CAM's map, float32 (height, width), of a uint8 ``view`` (size, size, 3) for the class ``label``.

        Raises:
            InvalidValueError: when the classifier's engine has no gradients.
        """
        engine = self.classifier.engine
        if not isinstance(engine, KerasEngine):
            raise unknown_value("engine", type(engine).__name__, ("keras",))
        features = engine.features(view[None], batch_size=1, compiled=False)
        gradients = engine.feature_gradients(features, np.array([label], np.int32))
        return grad_cam(features, gradients)[0]


def grad_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return Grad-CAM's maps, float32 (batch, height, width), none below 0.

    ``features`` (batch, height, width, channels) are those of the network's base, ``gradients`` those of one logit of
    each image by them. A map is ReLU of the sum of the channels, each weighted by the mean over all positions of its
    gradient.
    """
    importance = gradients.mean(axis=(1, 2), keepdims=True)
    return np.maximum((features * importance).sum(axis=-1), 0)


def seen_area(width: int, height: int, crop: str, size: int) -> Area:
    """What part of a picture of ``width`` x ``height`` pixels the network's square view shows.

    With ``crop="pad"`` the view, of ``size`` pixels a side, shows more than there is.
    """
    if crop == "center":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return Area(left, top, left + side, top + side)
    if crop == "pad":
        across, down = (_padded(each, max(width, height), size) for each in (width, height))
        return Area(across[0], down[0], across[1], down[1])
    return Area(0, 0, width, height)


def _padded(side: int, longest: int, size: int) -> tuple[float, float]:
    """Where the view of ``size`` pixels begins and ends in pixels of a picture's ``side``."""
    # Pillow's ImageOps.pad rounds both to whole pixels of the view, of which one may be hundreds of the picture's.
    filled = round(size * side / longest)
    if not filled:  # So flat that the view is all margin: it lies beyond the picture.
        return float(side), float(2 * side)
    begin = -round((size - filled) / 2) * side / filled
    return begin, begin + size * side / filled


def spread(cells: np.ndarray, area: Area, height: int, width: int) -> np.ndarray:
    """A map of ``cells`` (rows, columns) that covers ``area``, at every pixel of a picture: float32 (height, width).

    Bilinear between the cells' centres; NaN in pixels whose centre lies outside of ``area``.
    """
    rows = _interpolation(height, area.top, area.bottom, cells.shape[0])
    columns = _interpolation(width, area.left, area.right, cells.shape[1])
    return rows @ cells.astype(np.float32) @ columns.T


def _interpolation(pixels: int, begin: float, end: float, cells: int) -> np.ndarray:
    """Weights (pixels, cells) that interpolate values of cells between ``begin`` and ``end``; NaN outside of them."""
    places = (np.arange(pixels) + 0.5 - begin) / (end - begin) * cells
    distances = np.abs(np.clip(places, 0.5, cells - 0.5)[:, None] - (np.arange(cells) + 0.5)[None])
    weights = np.clip(1 - distances, 0, None)
    weights[(places < 0) | (places > cells)] = np.nan
    return weights.astype(np.float32)


def explanation_paths(sources: Sequence[ImageSource], directory: Path) -> list[Path]:
    """A file in ``directory`` for the explanation of each source: all different, and none of them a source itself."""
    taken = {_key(source.content) for source in sources if isinstance(source.content, Path)}
    tried: dict[str, int] = {}
    paths = []
    for source in sources:
        stem = "stdin" if source.name == "-" else (Path(source.name).stem or "picture")[:_STEM_LIMIT]
        while True:
            number = tried[stem.casefold()] = tried.get(stem.casefold(), 0) + 1
            path = directory / f"{stem}-explained{'' if number == 1 else f'-{number}'}.png"
            if _key(path) not in taken:
                break
        taken.add(_key(path))
        paths.append(path)
    return paths


def _key(path: Path) -> str:
    # Some file systems don't tell A from a.
    return str(path.parent.resolve() / path.name).casefold()


def prepare_directory(directory: Path) -> None:
    """Create ``directory`` where it is missing.

    Raises:
        InvalidValueError: when it is a file.
        StorageError: when the system refuses.
    """
    advice = " Choose another folder for `explain`."
    if directory.exists() and not directory.is_dir():
        raise invalid("explain", "takes a folder", directory, received=f"{directory}, which is a file")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(directory, error, advice) from error
    if not os.access(directory, os.W_OK):
        raise StorageError(directory, PermissionError("permission denied"), advice)


def _shown(picture: "Image", crop: str, view: np.ndarray) -> Shown:
    from PIL.Image import Resampling

    longest = max(picture.size)
    if longest > LARGEST_SHOWN:
        scale, resampling = LARGEST_SHOWN / longest, Resampling.LANCZOS
    else:
        # Whole pixels become whole squares.
        scale, resampling = -(-SMALLEST_SHOWN // longest), Resampling.NEAREST
    width, height = (max(1, round(scale * side)) for side in picture.size)
    across, down = width / picture.width, height / picture.height
    seen = seen_area(*picture.size, crop, len(view))
    area = Area(seen.left * across, seen.top * down, seen.right * across, seen.bottom * down)
    return Shown(np.asarray(picture.resize((width, height), resampling)), area, view)
