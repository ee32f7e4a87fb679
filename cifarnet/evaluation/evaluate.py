"""Score weights on the test images of a data source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cifarnet.backend.select import use_backend
from cifarnet.choices import TTA
from cifarnet.data.dataset import LeftOut, Splits
from cifarnet.data.progress import Progress, silent
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import invalid, unknown_value
from cifarnet.evaluation.metrics import Metrics, measure
from cifarnet.evaluation.scored import Scored
from cifarnet.evaluation.source import Source, find_source, refuse_other_classes
from cifarnet.files import StrPath, as_path
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import BATCH_SIZE
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights


@dataclass(frozen=True)
class Evaluation:
    """What ``weights`` score on the test images of ``data``, and how fast (compilation excluded).

    ``scored`` has the images themselves, with their logits; ``left_out`` counts the files that are not read.
    ``data_changed`` is whether the data that the weights record have changed since the training; None where that is
    unknown, or other data were given.
    """

    metrics: Metrics
    images_per_second: float
    network: str
    weights: Path
    data: str
    scored: Scored
    left_out: tuple[LeftOut, ...] = ()
    data_changed: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-ready data: what ``cifarnet evaluate --json`` prints."""
        return {
            **self.metrics.to_dict(),
            "images_per_second": self.images_per_second,
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
    batch_size: int = BATCH_SIZE,
    report: Progress = silent,
    start_backend: Callable[[], object] = use_backend,
) -> Evaluation:
    """Score a run directory, weight file or named weights on the test images of ``data``.

    Everything is read and checked before ``start_backend`` imports the backend.

    Loss and calibration error are those of the calibrated probabilities (``Weights.calibrated``).

    Without ``data`` the source is the one that the weights record, or else CIFAR-10. The images that the weights were
    trained on are split as for the training: with another ``test_split`` most test images would be ones that they have
    learned. Broken pictures that the training left out are left out again, as with ``skip_broken``.
    ``test_split`` and ``mirrors`` are those of ``load_data``, ``tta`` and ``batch_size`` of ``Classifier.logits``.

    Raises:
        WeightsError: when there are no readable weights at ``weights_path``.
        DataError: when the data can't be read, its classes are not those of the weights, in their order, the recorded
            source is gone, or one that test images were held out of has changed.
        InvalidValueError: for a ``tta``, ``test_split`` or source that can't be meant, another ``test_split`` than in
            the training, or no source for weights that record none and have other classes than CIFAR-10.
    """
    source = find_source(as_path(weights_path, "weights_path"), None if data is None else source_name(data))
    return score(
        source,
        tta=tta,
        test_split=test_split,
        mirrors=mirrors,
        skip_broken=skip_broken,
        batch_size=batch_size,
        report=report,
        start_backend=start_backend,
    )


def score(
    source: Source,
    *,
    tta: str = "none",
    test_split: float | None = None,
    mirrors: Sequence[str] = (),
    skip_broken: bool = False,
    batch_size: int = BATCH_SIZE,
    report: Progress = silent,
    start_backend: Callable[[], object] = use_backend,
) -> Evaluation:
    """Score the weights of ``source`` on its test images; see ``evaluate``."""
    if tta not in TTA:
        raise unknown_value("tta", tta, TTA)
    if batch_size < 1:
        raise invalid("batch_size", "must be at least 1", batch_size)
    weights_file, weights = catalog.read(source.weights, load_weights)

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
    refuse_other_classes(source.name, test.class_names, weights_file, weights.class_names)
    classifier = Classifier(weights, start_backend)
    # The first batch compiles the network, which takes as long as thousands of images: it must not count as speed.
    classifier.logits(test.images[:batch_size], tta=tta, batch_size=batch_size)
    start = perf_counter()
    logits = classifier.logits(test.images, tta=tta, batch_size=batch_size, report=report)
    seconds = perf_counter() - start
    scored = Scored(test, weights.calibrated(logits))
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
    )
