"""Average the logits, and the distances, of several views of each image: test-time augmentation."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from cifarnet.data.progress import Progress
from cifarnet.evaluation.metrics import softmax

UNSURE = 0.25
"""The fraction of the images that have shifted views with ``"shift-unsure"``."""

_SHIFTS = (-1, 1)
"""Pixels, of both axes, by which an image is shifted: up and left, and down and right."""

Compute = Callable[[np.ndarray, Progress | None], np.ndarray]
"""Returns outputs of uint8 images (n, size, size, 3), and reports its progress.

Outputs are the logits and perhaps, in one more column, the distances, float32 (n, classes) or (n, classes + 1).
"""


@dataclass(frozen=True)
class Averaged:
    """Mean logits and distances of the views of images.

    Attributes:
        by_tta: logits, float32 (n, classes), by the name of the test-time augmentation: the one that was asked for
            last, and before it those of fewer views, which are computed on the way.
        shifted_images: the number of images that have shifted views.
        distances: mean distances, float32 (n,), with the views and weights of ``logits``; None where not computed.
    """

    by_tta: dict[str, np.ndarray]
    shifted_images: int = 0
    distances: np.ndarray | None = None

    @property
    def logits(self) -> np.ndarray:
        """The logits of the test-time augmentation that was asked for."""
        return next(reversed(self.by_tta.values()))


def average_views(
    compute: Compute,
    images: np.ndarray,
    tta: str,
    *,
    batch_size: int,
    classes: int,
    calibrated: Callable[[np.ndarray], np.ndarray],
    report: Progress | None = None,
) -> Averaged:
    """Return the mean logits, and distances, of the views of ``images`` that ``tta`` names.

    ``"flip"`` has an image and its mirror image. ``"shift"`` has also two copies of the image, one shifted up and left
    and one shifted down and right, by one pixel, and their mirror images. The two views that are not shifted have a
    weight of 1/4 each, the four others of 1/8 each (Jordan 2024, arXiv:2404.00498, section 3.5, multi-crop).
    ``"shift-unsure"`` is ``"shift"`` for the quarter of the images whose largest probability after ``"flip"`` is
    smallest, rounded up, and ``"flip"`` for the others. Of images with equal probabilities the first are taken.

    Args:
        compute: computes the outputs of a view.
        images: the images, uint8 (n, size, size, 3).
        tta: one of ``cifarnet.choices.TTA``.
        batch_size: images per batch. Shifted views are made in memory, a batch at a time.
        classes: the number of classes.
        calibrated: returns the calibrated logits of logits, as ``Weights.calibrated``.
        report: called with the progress.
    """
    by_tta = {"none": compute(images, report)}
    if tta == "none":
        return _averaged(by_tta, classes)
    flip = by_tta["flip"] = (by_tta["none"] + compute(images[:, :, ::-1], report)) / 2
    if tta == "flip":
        return _averaged(by_tta, classes)
    rows = np.arange(len(images))
    if tta == "shift-unsure":
        rows = least_confident(softmax(calibrated(flip[:, :classes])), ceil(UNSURE * len(images)))
    averaged = by_tta[tta] = flip.copy()
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        # Engines compile for the shape of a batch, so this one has that of the batches above, with rows repeated.
        shifted = _shifted_outputs(compute, images[np.resize(batch, min(batch_size, len(images)))])
        averaged[batch] = (flip[batch] + shifted[: len(batch)]) / 2
        if report:
            report("Classifying shifted images", start + len(batch), len(rows))
    return _averaged(by_tta, classes, len(rows))


def _averaged(by_tta: dict[str, np.ndarray], classes: int, shifted_images: int = 0) -> Averaged:
    """Return mean outputs by the name of the augmentation, the one that was asked for last, as ``Averaged``."""
    last = next(reversed(by_tta.values()))
    logits = {name: outputs[:, :classes] for name, outputs in by_tta.items()}
    return Averaged(logits, shifted_images, last[:, classes] if last.shape[1] > classes else None)


def least_confident(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Return the rows, in ascending order, of the ``count`` images whose largest probability is smallest.

    ``probabilities`` are float (n, classes). Of images with equal probabilities the first are taken.
    """
    return np.sort(np.argsort(probabilities.max(axis=1), kind="stable")[:count])


def shift(images: np.ndarray, pixels: int) -> np.ndarray:
    """Return ``images`` (n, height, width, channels) shifted down and right, or up and left by negative ``pixels``.

    The space that becomes free shows the image's reflection, without the pixels of the edge.
    """
    margin = abs(pixels)
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    first = margin - pixels
    return padded[:, first : first + height, first : first + width]


def _shifted_outputs(compute: Compute, images: np.ndarray) -> np.ndarray:
    """Return the mean outputs of the shifted views of ``images`` and of their mirror images."""
    shifted = [shift(images, pixels) for pixels in _SHIFTS]
    views = [*shifted, *(view[:, :, ::-1] for view in shifted)]
    mean: np.ndarray = np.mean([compute(view, None) for view in views], axis=0)
    return mean
