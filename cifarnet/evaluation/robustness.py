"""Score a classifier on corrupted images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarnet.data.dataset import Dataset
from cifarnet.data.progress import Progress, silent
from cifarnet.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from cifarnet.evaluation.metrics import ranking

_ACTIVITY = "Classifying corrupted images"
# Images of 32x32 pixels that are corrupted at a time, which takes 100 MB; fewer of larger ones.
_BLOCK_PIXELS = 500 * 32**2


@dataclass(frozen=True)
class CorruptionErrors:
    """The errors of a classifier on corrupted images.

    An error is the fraction of images that are classified wrongly, 0 to 1. Means are plain: nothing is divided by the
    errors of another network, as the mCE of ImageNet-C is.

    Attributes:
        errors: the error at each severity, from 1 on, by the name of the corruption.
        clean_error: the error on the same images without corruption.
        images: the number of images, each of which was corrupted in every way.
    """

    errors: Mapping[str, tuple[float, ...]]
    clean_error: float
    images: int

    @property
    def mean_error(self) -> float:
        """The mean error over all corruptions and severities."""
        return float(np.mean(list(self.errors.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return the errors as JSON-ready data, under the names of ``cifarnet evaluate --corrupt --json``."""
        return {
            "mean_error": self.mean_error,
            "clean_error": self.clean_error,
            "images": self.images,
            "per_corruption": [
                {"corruption": name, "mean_error": float(np.mean(errors)), "errors": list(errors)}
                for name, errors in self.errors.items()
            ],
        }


def corruption_errors(
    classify: Callable[[np.ndarray], np.ndarray], data: Dataset, clean_error: float, report: Progress = silent
) -> CorruptionErrors:
    """Return the errors on the images of ``data`` under all ``CORRUPTIONS`` at all severities.

    Every image is classified 75 times. The random numbers of the corruptions depend on the places of the images in
    ``data`` only.

    Args:
        classify: returns logits (n, classes) of uint8 images (n, size, size, 3).
        data: the images.
        clean_error: the error on the images without corruption.
        report: called with the progress.
    """
    size, total = data.images.shape[1], len(CORRUPTIONS) * SEVERITIES * len(data)
    block = max(1, _BLOCK_PIXELS // size**2)
    errors, done = {}, 0
    for name in CORRUPTIONS:
        wrong = [0] * SEVERITIES
        for severity in range(1, SEVERITIES + 1):
            for start in range(0, len(data), block):
                rows = slice(start, start + block)
                logits = classify(corrupt(data.images[rows], name, severity, seed=start))
                wrong[severity - 1] += int((ranking(logits, 1)[:, 0] != data.labels[rows]).sum())
                done += len(logits)
                report(_ACTIVITY, done, total)
        errors[name] = tuple(count / len(data) for count in wrong)
    return CorruptionErrors(errors, clean_error, len(data))
