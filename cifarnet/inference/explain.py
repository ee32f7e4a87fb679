"""Compute heat maps that show which places of a picture support its likeliest class.

The method is Grad-CAM, gradient-weighted class activation mapping (Selvaraju et al. 2017, arXiv:1610.02391), on the
feature maps of the network's base.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cifarnet.data.images import fit_square, padded_side
from cifarnet.errors import DataError, StorageError, invalid, unknown_value
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines.keras import KerasEngine
from cifarnet.inference.pictures import picture_sources
from cifarnet.inference.predict import ImageSource, Prediction, predict

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SHOWN, LARGEST_SHOWN = 256, 1200
"""The smallest and largest longer side in pixels of a shown picture. Other pictures are enlarged or shrunk."""

BATCH_SIZE = 16
"""Pictures per batch of ``predict`` with explanations. Two batches of ``Shown`` take at most 140 MB."""

# A character has at most 4 bytes, and file systems allow 255 bytes for a name with its suffix.
_STEM_LIMIT = 48


@dataclass(frozen=True)
class Explanation:
    """A picture, its prediction, and a heat map of the places that support the prediction.

    Attributes:
        prediction: the prediction.
        picture: the picture at the size at which it is shown, uint8 (height, width, 3).
        heat: the heat map of the picture, float32 (height, width). Values are relative to the map's maximum, which may
            lie in a margin outside the picture. They are all 0 when no place supports the class, and NaN in the parts
            of the picture that the network did not see.
        view: the network's input, uint8 (size, size, 3).
    """

    prediction: Prediction
    picture: np.ndarray
    heat: np.ndarray
    view: np.ndarray


class Area(NamedTuple):
    """A rectangle in pixels from the top left corner of a picture. It may extend beyond the picture."""

    left: float
    top: float
    right: float
    bottom: float


class Shown(NamedTuple):
    """A picture at the size at which it is shown, and the part of it that the network sees.

    Attributes:
        picture: the picture, uint8 (height, width, 3).
        area: the part of the picture that the network sees.
        view: the network's input, uint8 (size, size, 3).
    """

    picture: np.ndarray
    area: Area
    view: np.ndarray


class Explainer:
    """Explains predictions with Grad-CAM.

    Args:
        classifier: the classifier, whose engine must be ``keras``.
        crop: how pictures become square, one of ``cifarnet.choices.CROPS``.
    """

    def __init__(self, classifier: Classifier, crop: str):
        self.classifier = classifier
        self.weights = classifier.weights
        self.crop = crop

    def show(self, picture: "Image") -> Shown:
        """Return the decoded ``picture`` at the size at which it is shown, with the network's view, for ``explain``."""
        size = self.weights.spec.image_size
        return _shown(picture, self.crop, fit_square(picture, size, self.crop))

    def explain(self, prediction: Prediction, shown: Shown) -> Explanation:
        """Return the explanation of the likeliest class in ``prediction`` for the picture ``shown``.

        Raises:
            InvalidValueError: when the classifier's engine has no gradients.
        """
        label = self.weights.class_names.index(prediction.predictions[0][0])
        cells = self.class_map(shown.view, label)
        heat = spread(cells / (cells.max() or 1), shown.area, *shown.picture.shape[:2])
        return Explanation(prediction, shown.picture, heat, shown.view)

    def class_map(self, view: np.ndarray, label: int) -> np.ndarray:
        """Return the Grad-CAM map of the class ``label``, float32 (height, width).

        ``view`` is uint8 (size, size, 3).

        Raises:
            InvalidValueError: when the classifier's engine has no gradients.
        """
        engine = self.classifier.engine
        if not isinstance(engine, KerasEngine):
            raise unknown_value("engine", type(engine).__name__, ("keras",))
        features = engine.features(view[None], batch_size=1, compiled=False)
        gradients = engine.feature_gradients(features, np.array([label], np.int32))
        return grad_cam(features, gradients)[0]


def explain_picture(picture: object, classifier: Classifier, with_gradients: Classifier, crop: str) -> Explanation:
    """Return the explanation of the prediction of ``classifier`` for one ``picture``.

    Args:
        picture: the picture, as for ``Classifier.predict``.
        classifier: the classifier that predicts.
        with_gradients: one with the same weights, whose engine is ``keras``.
        crop: how the picture becomes square, one of ``cifarnet.choices.CROPS``.

    Raises:
        DataError: when the picture can't be read.
        InvalidValueError: for anything else than one picture, and for an unknown ``crop``.
    """
    groups, is_one = picture_sources(picture)
    if not is_one:
        raise invalid("picture", "must be one picture", picture, received=f"many, {picture!r:.80}")
    explainer = Explainer(with_gradients, crop)
    sources = [source for group in groups for source in group]
    (prediction,) = predict(sources, classifier, crop=crop, keep=lambda _, decoded: explainer.show(decoded))
    if prediction.error is not None:
        raise DataError(prediction.error)
    return explainer.explain(replace(prediction, kept=None), prediction.kept)


def grad_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return Grad-CAM maps, float32 (batch, height, width), with values of at least 0.

    A map is the ReLU of the weighted sum of the channels. A channel's weight is the mean of its gradient over all
    positions (Selvaraju et al. 2017, equations 1 and 2).

    Args:
        features: the output of the network's base, float32 (batch, height, width, channels).
        gradients: the gradients of one logit per image with respect to ``features``, in the same shape.
    """
    importance = gradients.mean(axis=(1, 2), keepdims=True)
    return np.maximum((features * importance).sum(axis=-1), 0)


def seen_area(width: int, height: int, crop: str, size: int) -> Area:
    """Return the part of a picture of ``width`` x ``height`` pixels that the network's view shows.

    The view has ``size`` x ``size`` pixels. With ``crop="pad"`` the area extends beyond the picture.
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
    """Return where the view, ``size`` pixels long, begins and ends along a ``side`` of a picture, in its pixels."""
    # Both numbers are whole pixels of the view, each of which may be hundreds of the picture's.
    filled = padded_side(side, longest, size)
    begin = -round((size - filled) / 2) * side / filled
    return begin, begin + size * side / filled


def spread(cells: np.ndarray, area: Area, height: int, width: int) -> np.ndarray:
    """Return the values of a map at every pixel of a picture, float32 (height, width).

    Values are interpolated bilinearly between the centres of the cells. They are NaN in pixels whose centre lies
    outside ``area``.

    Args:
        cells: the map, float (rows, columns).
        area: the part of the picture that the map covers.
        height: height of the picture in pixels.
        width: width of the picture in pixels.
    """
    rows = _interpolation(height, area.top, area.bottom, cells.shape[0])
    columns = _interpolation(width, area.left, area.right, cells.shape[1])
    return rows @ cells.astype(np.float32) @ columns.T


def _interpolation(pixels: int, begin: float, end: float, cells: int) -> np.ndarray:
    """Return weights (pixels, cells) that interpolate cells between ``begin`` and ``end``; NaN outside these."""
    places = (np.arange(pixels) + 0.5 - begin) / (end - begin) * cells
    distances = np.abs(np.clip(places, 0.5, cells - 0.5)[:, None] - (np.arange(cells) + 0.5)[None])
    weights = np.clip(1 - distances, 0, None)
    weights[(places < 0) | (places > cells)] = np.nan
    return weights.astype(np.float32)


def explanation_paths(sources: Sequence[ImageSource], directory: Path) -> list[Path]:
    """Return a new file in ``directory`` for the heat map of each source.

    All differ, also where a file system ignores case. Where a name is taken, by the map of another source or by
    anything that is in ``directory`` already, the next free number is added to it.
    """
    taken: set[str] = set()
    tried: dict[str, int] = {}
    paths = []
    for source in sources:
        stem = "stdin" if source.name == "-" else (Path(source.name).stem or "picture")[:_STEM_LIMIT]
        while True:
            number = tried[stem.casefold()] = tried.get(stem.casefold(), 0) + 1
            path = directory / f"{stem}-explained{'' if number == 1 else f'-{number}'}.png"
            if path.name.casefold() not in taken and not os.path.lexists(path):
                break
        taken.add(path.name.casefold())
        paths.append(path)
    return paths


def prepare_directory(directory: Path) -> None:
    """Create ``directory`` if it is missing, and check that files can be written into it.

    Raises:
        InvalidValueError: when it is a file.
        StorageError: when it can't be created or written to.
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
        # An integer factor turns every pixel into a square of equal size.
        scale, resampling = -(-SMALLEST_SHOWN // longest), Resampling.NEAREST
    width, height = (max(1, round(scale * side)) for side in picture.size)
    across, down = width / picture.width, height / picture.height
    seen = seen_area(*picture.size, crop, len(view))
    area = Area(seen.left * across, seen.top * down, seen.right * across, seen.bottom * down)
    return Shown(np.asarray(picture.resize((width, height), resampling)), area, view)
