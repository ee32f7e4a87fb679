"""Compare the probabilities of an exported network with those of the weights that it was made from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cifarnet.data.progress import Progress
from cifarnet.errors import ExportError
from cifarnet.evaluation.metrics import ranking, softmax
from cifarnet.inference.classifier import Classifier
from cifarnet.models.batches import in_batches
from cifarnet.plurals import counted
from cifarnet.weights.record import Weights

Probabilities = Callable[[np.ndarray], np.ndarray]
"""A function from uint8 images (batch, size, size, 3) to probabilities, float32 (batch, classes)."""


@dataclass(frozen=True)
class Comparison:
    """How the probabilities of an exported network differ from those of its weights.

    Attributes:
        images: the number of images that were compared.
        source: where they are from.
        engine: the engine that computed the probabilities of the weights.
        largest_difference: the largest difference of a probability.
        changed: the number of images with another likeliest class.
        near_ties: how many of these have two classes whose probabilities differ by less than twice the tolerance.
    """

    images: int
    source: str
    engine: str
    largest_difference: float
    changed: int
    near_ties: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready data."""
        return asdict(self)


def reference(
    weights: Weights,
    images: np.ndarray,
    engine: str,
    batch_size: int,
    on_start: Callable[[str], object],
    report: Progress,
) -> np.ndarray:
    """Return the probabilities (n, classes) that ``weights`` give for ``images`` with ``engine``."""
    logits = Classifier(weights, engine=engine, on_start=on_start).logits(images, batch_size=batch_size, report=report)
    return softmax(weights.calibrated(logits))


def probabilities_of(
    network: Probabilities, images: np.ndarray, classes: int, batch_size: int, report: Progress
) -> np.ndarray:
    """Return the probabilities (n, classes) that an exported ``network`` gives for ``images``.

    The last batch may have another size than the others, which shows that the batch is free.
    """
    return in_batches(network, images, batch_size, (classes,), report)


def compare(found: np.ndarray, expected: np.ndarray, source: str, engine: str, tolerance: float) -> Comparison:
    """Return how the probabilities ``found`` differ from those ``expected``, both (n, classes)."""
    if found.shape != expected.shape:
        raise ExportError(
            f"The exported network must give {expected.shape[1]} probabilities for each image."
            f" Received: an output of shape {found.shape}"
        )
    first, second = ranking(found, 1)[:, 0], ranking(expected, 1)[:, 0]
    changed = np.flatnonzero(first != second)
    margins = expected[changed, second[changed]] - expected[changed, first[changed]]
    difference = float(np.abs(found - expected).max())
    return Comparison(
        len(found), source, engine, difference, len(changed), int(np.count_nonzero(margins < 2 * tolerance))
    )


def require_equal(comparison: Comparison, tolerance: float, title: str) -> None:
    """Check that an exported network gives the probabilities and the likeliest classes of its weights.

    Raises:
        ExportError: when a probability differs by more than ``tolerance`` or is not a number, or when an image has
            another likeliest class, unless two classes are equally likely within the tolerance.
    """
    # Not a number is not at most the tolerance.
    if not comparison.largest_difference <= tolerance or comparison.changed > comparison.near_ties:
        raise ExportError(
            f"The {title} file does not give the probabilities of the weights, and was not kept: the largest difference"
            f" may be {tolerance:g}, and the likeliest classes must be the same. Report this as a fault of cifarnet."
            f" Received: a difference of {comparison.largest_difference:.3g}, and another"
            f" class for {comparison.changed:,} of {counted(comparison.images, 'image')}"
        )
