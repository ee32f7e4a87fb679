"""Score weights on the test images of a data source."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from cifarnet.choices import TTA, WEIGHTS_PLACE
from cifarnet.data.dataset import LeftOut, Splits
from cifarnet.data.duplicates import nearest_training_images
from cifarnet.data.progress import Progress, silent
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import DataError, invalid, unknown_value
from cifarnet.evaluation.metrics import Metrics, accuracy, measure, ranking, wilson_interval
from cifarnet.evaluation.robustness import CorruptionErrors, corruption_errors
from cifarnet.evaluation.scored import Scored
from cifarnet.evaluation.source import Source, find_source
from cifarnet.fields import require_whole
from cifarnet.files import StrPath, as_path
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import default_batch_size
from cifarnet.inference.rejection import Rejection
from cifarnet.inference.tta import Averaged
from cifarnet.plurals import counted


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
class Rejected:
    """The test images that ``predict --reject`` would reject.

    Attributes:
        share: their share of the test images.
        score: by what they are rejected; see ``cifarnet.inference.rejection.Rejection``.
    """

    share: float
    score: str


@dataclass(frozen=True)
class FairScores:
    """The accuracy without the test images that have a near-duplicate among the training images.

    Attributes:
        accuracy: the accuracy on the other images.
        accuracy_interval: its 95 % interval (``wilson_interval``).
        near_duplicates: the number of images that are left out.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    near_duplicates: int

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-ready data, under the names of ``cifarnet evaluate --fair --json``."""
        return {
            "fair_accuracy": self.accuracy,
            "fair_accuracy_interval": list(self.accuracy_interval),
            "near_duplicates": self.near_duplicates,
        }


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
        rejected: the test images that ``predict --reject`` would reject; None for weights without a rejection
            threshold, and in bfloat16.
        fair: the scores without near-duplicates; None where they were not asked for.
        corruptions: the errors on corrupted images; None where they were not asked for.
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
    rejected: Rejected | None = None
    fair: FairScores | None = None
    corruptions: CorruptionErrors | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-ready data, as ``cifarnet evaluate --json`` prints them."""
        return {
            **self.metrics.to_dict(),
            **({} if self.fair is None else self.fair.to_dict()),
            **({} if self.corruptions is None else {"corruptions": self.corruptions.to_dict()}),
            "images_per_second": self.images_per_second,
            "engine": self.engine,
            "precision": self.precision,
            **({} if self.rounding is None else asdict(self.rounding)),
            "tta": self.tta,
            **({} if self.augmentation is None else asdict(self.augmentation)),
            **({} if self.rejected is None else {"rejected": asdict(self.rejected)}),
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
    fair: bool = False,
    corrupt: bool = False,
    corrupt_images: int | None = None,
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
        fair: whether to score also without the test images that have a near-duplicate among the training images of the
            data source (``cifarnet.data.duplicates``).
        corrupt: whether to score also on corrupted test images (``cifarnet.evaluation.corruptions``), which takes 75
            times as long.
        corrupt_images: the number of test images to corrupt, evenly spaced among all. None means all.
        report: called with the progress.
        engine: the engine that computes the logits, as for ``Classifier``.
        precision: the data type of the computation, as for ``Classifier``. With bfloat16, the images are also
            classified in float32, and the result has the ``Rounding``.
        on_start: called with the engine's name before the engine starts.

    Raises:
        WeightsError: when there are no readable weights at ``weights_path``.
        DataError: when the data can't be read, when its classes differ from those of the weights or have another order,
            when the recorded source is missing, when it has changed and test images were held out of it, or when
            ``fair`` would leave out all images.
        InvalidValueError: for an invalid ``tta``, ``test_split``, ``batch_size``, ``corrupt_images`` or source, for a
            ``test_split`` that differs from that of the training, or when no source is given or recorded for classes
            other than CIFAR-10's.
    """
    source = find_source(
        as_path(weights_path, "weights_path", taken=WEIGHTS_PLACE), None if data is None else source_name(data)
    )
    return score(
        Classifier(source.weights, engine=engine, precision=precision, on_start=on_start),
        source,
        tta=tta,
        test_split=test_split,
        mirrors=mirrors,
        skip_broken=skip_broken,
        batch_size=batch_size,
        fair=fair,
        corrupt=corrupt,
        corrupt_images=corrupt_images,
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
    fair: bool = False,
    corrupt: bool = False,
    corrupt_images: int | None = None,
    report: Progress = silent,
) -> Evaluation:
    """Score ``classifier`` on the test images of ``source``; see ``evaluate``."""
    weights_file = classifier.weights_file or source.weights
    weights = classifier.weights
    if tta not in TTA:
        raise unknown_value("tta", tta, TTA)
    if batch_size is not None:
        require_whole("batch_size", batch_size, low=1)
    if corrupt_images is not None:
        require_whole("corrupt_images", corrupt_images, low=1)
        if not corrupt:
            raise invalid("corrupt_images", "is for corrupted images", corrupt_images, remedy="Give `corrupt` too.")
    batch_size = default_batch_size(weights.spec) if batch_size is None else batch_size
    skip_broken = skip_broken or source.skips_broken

    def load(name: str, split: float | None) -> Splits:
        return load_data(
            name,
            test_split=split,
            mirrors=mirrors,
            image_size=weights.spec.image_size,
            skip_broken=skip_broken,
            report=report,
        )

    splits, changed = source.load(test_split, load)
    test = splits.test
    source.refuse_other_classes(test.class_names, weights.class_names, splits.note, test_split, skip_broken)
    chosen = _evenly_spaced(len(test), corrupt_images) if corrupt else None
    kept = _without_near_duplicates(splits, source.name, report) if fair else None
    rejection = Rejection.of(weights)
    if classifier.precision == "bfloat16":
        rejection = None  # Distances would be computed in float32, and take twice the time.
    by_distance = rejection is not None and rejection.by_distance
    classify_all = partial(classifier.averaged_logits, tta=tta, distances=by_distance, batch_size=batch_size)
    # The first batch compiles the network, which takes as long as thousands of images, so the time does not include it.
    classify_all(test.images[:batch_size])
    start = perf_counter()
    averaged = classify_all(test.images, report=report)
    seconds = perf_counter() - start
    scored = Scored(test, weights.calibrated(averaged.logits))
    metrics = measure(scored.logits, test.labels, test.class_names)

    def classify(images: np.ndarray) -> np.ndarray:
        return classifier.logits(images, tta=tta, batch_size=batch_size)

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
        rejected=None if rejection is None else _rejected(rejection, averaged),
        fair=None if kept is None else _fair_scores(scored, kept),
        corruptions=None if chosen is None else _corruption_errors(classify, scored, chosen, report),
    )


def _augmentation(averaged: Averaged, labels: np.ndarray) -> Augmentation:
    by_tta = {name: accuracy(logits, labels) for name, logits in averaged.by_tta.items()}
    return Augmentation(by_tta, averaged.shifted_images)


def _rejected(rejection: Rejection, averaged: Averaged) -> Rejected:
    return Rejected(float(rejection.rejected(averaged.logits, averaged.distances).mean()), rejection.score)


def _without_near_duplicates(splits: Splits, source: str, report: Progress) -> np.ndarray:
    """Return the rows of the test images without a near-duplicate among the training images.

    Raises:
        DataError: when there is none.
    """
    nearest = nearest_training_images(splits.test.images, splits.train.images, report)
    kept = np.flatnonzero(~nearest.near_duplicates)
    if not len(kept):
        raise DataError(
            f"Each of {counted(len(splits.test), 'test image')} of {source} has a near-duplicate among its training"
            f" images, so `fair` leaves none to score. Give other test images, or leave `fair` out. Received: {source}"
        )
    return kept


def _fair_scores(scored: Scored, kept: np.ndarray) -> FairScores:
    labels = scored.data.labels
    share = accuracy(scored.logits[kept], labels[kept])
    return FairScores(share, wilson_interval(share, len(kept)), len(labels) - len(kept))


def _evenly_spaced(total: int, count: int | None) -> np.ndarray:
    """Return ``count`` rows of ``total``, evenly spaced, so that images sorted by class keep their shares.

    Raises:
        InvalidValueError: when there are not as many.
    """
    if count is None:
        return np.arange(total)
    if count > total:
        raise invalid("corrupt_images", f"must be at most {total:,}, the number of test images", count, valid=total)
    return np.arange(count) * total // count


def _corruption_errors(
    classify: Callable[[np.ndarray], np.ndarray], scored: Scored, rows: np.ndarray, report: Progress
) -> CorruptionErrors:
    data = scored.data.take(rows)
    return corruption_errors(classify, data, 1 - accuracy(scored.logits[rows], data.labels), report)


def _rounding(classifier: Classifier, scored: Scored, tta: str, batch_size: int, report: Progress) -> Rounding:
    """Return what the precision of ``classifier`` changes, by classifying the images of ``scored`` in float32 too."""
    exact = Classifier(classifier.weights, engine=classifier.engine_name)
    logits = exact.logits(scored.data.images, tta=tta, batch_size=batch_size, report=report)
    changed = np.count_nonzero(ranking(logits, 1) != ranking(scored.logits, 1))
    return Rounding(accuracy(logits, scored.data.labels), int(changed))
