"""Score weights on the test images of a data source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cifarnet.data.progress import Progress, silent
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.evaluation.inference import BATCH_SIZE, TTA, Classifier
from cifarnet.evaluation.metrics import Metrics, measure
from cifarnet.evaluation.scored import Scored
from cifarnet.files import StrPath, as_path
from cifarnet.models.weights import load_weights
from cifarnet.runs import find_data_source, holds_out_others, split_of_run
from cifarnet.runtime import use_backend
from cifarnet.weights import catalog


@dataclass(frozen=True)
class Evaluation:
    """What ``weights`` score on the test images of ``data``, and how fast (compilation excluded).

    ``scored`` has the images themselves, with their logits.
    """

    metrics: Metrics
    images_per_second: float
    network: str
    weights: Path
    data: str
    scored: Scored

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-ready data: what ``cifarnet evaluate --json`` prints."""
        return {
            **self.metrics.to_dict(),
            "images_per_second": self.images_per_second,
            "network": self.network,
            "weights": str(self.weights),
            "data": self.data,
        }


def evaluate(
    weights_path: StrPath,
    data: StrPath | None = None,
    *,
    tta: str = "none",
    test_split: float | None = None,
    mirrors: Sequence[str] = (),
    batch_size: int = BATCH_SIZE,
    report: Progress = silent,
    start_backend: Callable[[], object] = use_backend,
) -> Evaluation:
    """Score a run directory, weight file or named weights on the test images of ``data``.

    Everything is read and checked before ``start_backend`` imports the backend.

    Loss and calibration error are those of the calibrated probabilities (``Weights.calibrated``).

    Without ``data`` the source is the one that the run recorded, or else CIFAR-10. A run's own source is split as the
    run split it: with another ``test_split`` most of the images would be those that it was trained on.
    ``test_split`` and ``mirrors`` are those of ``load_data``, ``tta`` and ``batch_size`` of ``Classifier.logits``.

    Raises:
        WeightsError: when there are no readable weights at ``weights_path``.
        DataError: when the data can't be read, its classes are not those of the weights, in their order, or a source
            that the run held its test images out of has changed.
        InvalidValueError: for a ``tta``, ``test_split`` or source that can't be meant, or another ``test_split`` than
            the run's.
    """
    weights_path = as_path(weights_path, "weights_path")
    data = None if data is None else source_name(data)
    if tta not in TTA:
        raise InvalidValueError(f"Test-time augmentation must be one of {', '.join(TTA)}. Received: {tta}")
    if batch_size < 1:
        raise InvalidValueError(f"The batch size must be at least 1. Received: {batch_size}")
    weights_file = catalog.find(weights_path)
    weights = load_weights(weights_file)
    source = (find_data_source(weights_path) or "cifar10") if data is None else data
    test_split = split_of_run(weights_path, source, test_split)
    splits = load_data(
        source, test_split=test_split, mirrors=mirrors, image_size=weights.spec.image_size, report=report
    )
    if holds_out_others(weights_path, source, splits.sha256):
        raise DataError(
            f"{source} does not hold the images any more that {weights_path} was trained on, so those that it held out"
            " to test on can't be told from those that it has learned. Put it back as it was, or give other images with"
            " --data."
        )
    test = splits.test
    if test.class_names != weights.class_names:
        raise DataError(
            f"{source} does not have the classes, in their order, that {weights_file} tells apart.\n"
            f"The weights: {', '.join(weights.class_names)}\nThe data: {', '.join(test.class_names)}\n"
            "Give the data that the weights were trained for with --data, or train them on this data with"
            " cifarnet train --freeze-base --weights."
        )
    classifier = Classifier(weights, start_backend)
    # The first batch compiles the network, which takes as long as thousands of images: it must not count as speed.
    classifier.logits(test.images[:batch_size], tta=tta, batch_size=batch_size)
    start = perf_counter()
    logits = classifier.logits(test.images, tta=tta, batch_size=batch_size, report=report)
    seconds = perf_counter() - start
    scored = Scored(test, weights.calibrated(logits))
    metrics = measure(scored.logits, test.labels, test.class_names)
    return Evaluation(metrics, len(test) / seconds, weights.spec.title, weights_file, source, scored)
