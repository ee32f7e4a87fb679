"""Fit the statistics by which ``--reject`` judges to weights that come with cifarnet."""

from dataclasses import replace

from cifarnet.data.dataset import Dataset, hold_out
from cifarnet.data.sources import load_data
from cifarnet.evaluation.calibration import with_distances
from cifarnet.inference.classifier import Classifier
from cifarnet.models.embeddings import fit_statistics
from cifarnet.runs.config import RunConfig
from cifarnet.weights.record import Weights


def with_statistics(weights: Weights, config: RunConfig, data: str, twin: Weights | None = None) -> Weights:
    """Return ``weights`` with the statistics of the images of ``data`` that they were trained on, and a threshold.

    The threshold is that of the images that the run with ``config`` held out. A run that held none out has that of its
    ``twin``, a run of the same recipe; without a twin the weights are returned as they are.
    """
    embeddings = Classifier(replace(weights, statistics=None, reject_beyond=None)).embeddings
    train, held_out = _parts(weights, config, data)
    if held_out is not None:
        return with_distances(weights, embeddings, train, held_out.images, count=len(train))
    if twin is None or twin.reject_beyond is None:
        return weights
    statistics = fit_statistics(embeddings(train.images), train.labels, weights.spec.classes)
    return replace(weights, statistics=statistics, reject_beyond=twin.reject_beyond)


def _parts(weights: Weights, config: RunConfig, data: str) -> tuple[Dataset, Dataset | None]:
    """Return the images of ``data`` that the run was trained on, and those that it held out."""
    splits = load_data(data, image_size=weights.spec.image_size, test_split=config.test_split)
    if splits.sha256() != config.data_sha256:
        raise SystemExit(f"{data} has other images than those of the run.")
    if config.validation_split is None:
        return splits.train, splits.validation
    return hold_out(splits.train, config.validation_split, config.seed)
