"""Score weights on the test images of a data source."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from cifarnet.choices import TTA
from cifarnet.data.dataset import LeftOut, Splits
from cifarnet.data.progress import Progress, silent
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import invalid, unknown_value
from cifarnet.evaluation.metrics import Metrics, accuracy, measure, ranking
from cifarnet.evaluation.scored import Scored
from cifarnet.evaluation.source import Source, find_source, refuse_other_classes
from cifarnet.files import StrPath, as_path
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import default_batch_size
from cifarnet.inference.tta import Averaged


@dataclass(frozen=True)
class Rounding:
    """What computing in less than float32 changes.

    Attributes:
        float32_accuracy: the accuracy in float32.
        changed: the number of images with another likeliest class than in float32.
    """

    float32_accuracy: float
    changed: int


@dataclass(frozen=True)
class Augmentation:
    """What test-time augmentation changes.

    Attributes:
        accuracy_by_tta: the accuracy by the name of the augmentation: from none to the one that was asked for.
        shifted_images: the number of images that have shifted views.
    """

    accuracy_by_tta: dict[str, float]
    shifted_images: int


@dataclass(frozen=True)
class Evaluation:
    """The scores of weights on the test images of a data source.

    Attributes:
        metrics: the scores.
        images_per_second: speed of the classification, without compilation.
        network: the network's name in prose, such as ``ResNet-20``.
        weights: the weight file.
        data: the data source.
        scored: the test images and their calibrated logits.
        left_out: counts of files in the data source that were not read.
        data_changed: whether the data have changed since the weights were trained on them; None where that is unknown,
            or where the caller chose the data.
        engine: the name of the engine that computed the logits.
        precision: the data type of the computation.
        rounding: what the precision changes; None in float32, and for an exported network in int8, which lacks the
            tensors in float32.
        tta: the test-time augmentation.
        augmentation: what it changes; None without it.
    """

    metrics: Metrics
    images_per_second: float
    network: str
    weights: Path
    data: str
    scored: Scored
    left_out: tuple[LeftOut, ...] = ()
    data_changed: bool | None = None
    engine: str = "keras"
    precision: str = "float32"
    rounding: Rounding | None = None
    tta: str = "none"
    augmentation: Augmentation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-ready data, as ``cifarnet evaluate --json`` prints them."""
        return {
            **self.metrics.to_dict(),
            "images_per_second": self.images_per_second,
            "engine": self.engine,
            "precision": self.precision,
            **({} if self.rounding is None else asdict(self.rounding)),
            "tta": self.tta,
            **({} if self.augmentation is None else asdict(self.augmentation)),
            "network": self.network,
            "weights": str(self.weights),
            "data": self.data,
            "data_changed": self.data_changed,
        }


def evaluate(
    weights_path: StrPath,
    data: StrPath | None = None,
    *,
    tta: str = "none",
    test_split: float | None = None,
    mirrors: Sequence[str] = (),
    skip_broken: bool = False,
    batch_size: int | None = None,
    report: Progress = silent,
    engine: str = "auto",
    precision: str | None = None,
    on_start: Callable[[str], object] = lambda engine: None,
) -> Evaluation:
    """Score weights on the test images of a data source.

    Loss and calibration error are those of the calibrated probabilities (``Weights.calibrated``). Their temperature is
    fitted to logits without test-time augmentation, whatever ``tta`` is. Weights and data are read and checked before
    the engine starts.

    Args:
        weights_path: a run directory, a weight file or a name of weights.
        data: the data source. By default the one that the weights record, or else CIFAR-10.
        tta: test-time augmentation, as in ``Classifier.logits``.
        test_split: fraction of the images to hold out as test images, as in ``load_data``. The data that the weights
            were trained on must be split as in the training, because other test images may be training images.
        mirrors: addresses to download from, as in ``load_data``.
        skip_broken: whether to leave out pictures that can't be read. If the training left them out, they are always
            left out.
        batch_size: images per batch. None means 250, or fewer large images.
        report: called with the progress.
        engine: the engine that computes the logits, as for ``Classifier``.
        precision: the data type of the computation, as for ``Classifier``. With bfloat16, the images are also
            classified in float32, and the result has the ``Rounding``.
        on_start: called with the engine's name before the engine starts.

    Raises:
        WeightsError: when there are no readable weights at ``weights_path``.
        DataError: when the data can't be read, when its classes differ from those of the weights or have another order,
            when the recorded source is missing, or when it has changed and test images were held out of it.
        InvalidValueError: for an invalid ``tta``, ``test_split``, ``batch_size`` or source, for a ``test_split`` that
            differs from that of the training, or when no source is given or recorded for classes other than CIFAR-10's.
    """
    source = find_source(as_path(weights_path, "weights_path"), None if data is None else source_name(data))
    return score(
        Classifier(source.weights, engine=engine, precision=precision, on_start=on_start),
        source,
        tta=tta,
        test_split=test_split,
        mirrors=mirrors,
        skip_broken=skip_broken,
        batch_size=batch_size,
        report=report,
    )


def score(
    classifier: Classifier,
    source: Source,
    *,
    tta: str = "none",
    test_split: float | None = None,
    mirrors: Sequence[str] = (),
    skip_broken: bool = False,
    batch_size: int | None = None,
    report: Progress = silent,
) -> Evaluation:
    """Score ``classifier`` on the test images of ``source``; see ``evaluate``."""
    weights_file = classifier.weights_file or source.weights
    weights = classifier.weights
    if tta not in TTA:
        raise unknown_value("tta", tta, TTA)
    if batch_size is not None and batch_size < 1:
        raise invalid("batch_size", "must be at least 1", batch_size)
    batch_size = default_batch_size(weights.spec) if batch_size is None else batch_size

    def load(name: str, split: float | None) -> Splits:
        return load_data(
            name,
            test_split=split,
            mirrors=mirrors,
            image_size=weights.spec.image_size,
            skip_broken=skip_broken or source.skips_broken,
            report=report,
        )

    splits, changed = source.load(test_split, load)
    test = splits.test
    refuse_other_classes(source.name, test.class_names, weights_file, weights.class_names, splits.note)
    # The first batch compiles the network, which takes as long as thousands of images, so the time does not include it.
    classifier.logits(test.images[:batch_size], tta=tta, batch_size=batch_size)
    start = perf_counter()
    averaged = classifier.averaged_logits(test.images, tta=tta, batch_size=batch_size, report=report)
    seconds = perf_counter() - start
    scored = Scored(test, weights.calibrated(averaged.logits))
    metrics = measure(scored.logits, test.labels, test.class_names)
    return Evaluation(
        metrics,
        len(test) / seconds,
        weights.spec.title,
        weights_file,
        source.name,
        scored,
        left_out=splits.left_out,
        data_changed=changed,
        engine=classifier.engine_name,
        precision=classifier.precision,
        rounding=_rounding(classifier, scored, tta, batch_size, report) if classifier.precision == "bfloat16" else None,
        tta=tta,
        augmentation=None if tta == "none" else _augmentation(averaged, test.labels),
    )


def _augmentation(averaged: Averaged, labels: np.ndarray) -> Augmentation:
    by_tta = {name: accuracy(logits, labels) for name, logits in averaged.by_tta.items()}
    return Augmentation(by_tta, averaged.shifted_images)


def _rounding(classifier: Classifier, scored: Scored, tta: str, batch_size: int, report: Progress) -> Rounding:
    """Return what the precision of ``classifier`` changes, by classifying the images of ``scored`` in float32 too."""
    exact = Classifier(classifier.weights, engine=classifier.engine_name)
    logits = exact.logits(scored.data.images, tta=tta, batch_size=batch_size, report=report)
    changed = np.count_nonzero(ranking(logits, 1) != ranking(scored.logits, 1))
    return Rounding(accuracy(logits, scored.data.labels), int(changed))
