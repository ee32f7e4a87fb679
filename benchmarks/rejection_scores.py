"""Scores by which pictures of none of the classes could be rejected, from logits and embeddings; see ``unknown.py``.

All are larger for pictures of the classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cifarnet.models.embeddings import fit_statistics, unit_length

NEIGHBOURS = 5
"""The rank of the training image whose similarity counts, among every tenth training image."""


class Outputs(NamedTuple):
    """Logits, float (n, classes), and embeddings, float (n, size), of images."""

    logits: np.ndarray
    embeddings: np.ndarray


Score = Callable[[Outputs], np.ndarray]


def scores(train: Outputs, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray, temperature: float) -> dict:
    """Return the scores by name.

    Args:
        train: the outputs for training images.
        labels: their classes, int (n,).
        kernel: the weights of the classifier, (size, classes).
        bias: its bias, (classes,).
        temperature: the temperature that calibrates the logits.
    """
    statistics = fit_statistics(train.embeddings, labels, train.logits.shape[1])
    clip = np.quantile(train.embeddings, 0.9)
    found: dict[str, Score] = {
        "largest logit (Hendrycks 2022)": lambda x: x.logits.max(axis=1),
        "largest probability, calibrated": lambda x: (
            (x.logits / temperature).max(axis=1) - _energy(x.logits / temperature)
        ),
        "energy (Liu 2020)": lambda x: _energy(x.logits),
        "energy, calibrated": lambda x: _energy(x.logits / temperature),
        "energy, embedding clipped at 90 % (ReAct, Sun 2021)": lambda x: _energy(
            np.minimum(x.embeddings, clip) @ kernel + bias
        ),
        "length of the embedding": lambda x: np.linalg.norm(x.embeddings, axis=1),
        "distance from the nearest class mean": _distance(train.embeddings, labels),
        "cosine with the nearest class mean": _cosine(train.embeddings, labels),
        "cosine with the 5th of 5,000 training images": _neighbours(train.embeddings),
        "Mahalanobis (Lee 2018)": _mahalanobis(train.embeddings, labels, relative=False),
        "relative Mahalanobis (Ren 2021)": _mahalanobis(train.embeddings, labels, relative=True),
        "Mahalanobis, unit length (Müller 2025)": lambda x: -statistics.distances(x.embeddings),
    }
    for dimension in (12, 16, 32):
        residual, scale = _residual(train, kernel, bias, dimension)
        found[f"residual outside {dimension} directions"] = lambda x, r=residual: -r(x)
        found[f"ViM, {dimension} directions (Wang 2022)"] = lambda x, r=residual, s=scale: _energy(x.logits) - s * r(x)
    return found


def _energy(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(axis=1, keepdims=True)
    return largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))


def _means(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([embeddings[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def _distance(embeddings: np.ndarray, labels: np.ndarray) -> Score:
    means = _means(embeddings, labels)
    return lambda x: -np.stack([np.linalg.norm(x.embeddings - mean, axis=1) for mean in means]).min(axis=0)


def _cosine(embeddings: np.ndarray, labels: np.ndarray) -> Score:
    means = unit_length(_means(embeddings, labels))
    return lambda x: (unit_length(x.embeddings) @ means.T).max(axis=1)


def _neighbours(embeddings: np.ndarray) -> Score:
    some = unit_length(embeddings[::10])
    return lambda x: np.sort(unit_length(x.embeddings) @ some.T, axis=1)[:, -NEIGHBOURS]


def _mahalanobis(embeddings: np.ndarray, labels: np.ndarray, *, relative: bool) -> Score:
    means, whole = _means(embeddings, labels), embeddings.mean(axis=0)
    around = embeddings - means[labels]
    within, of_all = (np.linalg.inv(x.T @ x / len(x)) for x in (around, embeddings - whole))

    def square(x: np.ndarray, mean: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        return np.einsum("ni,ij,nj->n", x - mean, inverse, x - mean)

    def score(x: Outputs) -> np.ndarray:
        nearest = np.stack([square(x.embeddings, mean, within) for mean in means]).min(axis=0)
        return (square(x.embeddings, whole, of_all) if relative else 0) - nearest

    return score


def _residual(
    train: Outputs, kernel: np.ndarray, bias: np.ndarray, dimension: int
) -> tuple[Callable[[Outputs], np.ndarray], float]:
    """Return the length outside the main ``dimension`` directions of the embeddings, and its scale in ViM."""
    origin = -np.linalg.pinv(kernel.T) @ bias
    centred = train.embeddings - origin
    _, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    rest = directions[:, : kernel.shape[0] - dimension]

    def residual(x: Outputs) -> np.ndarray:
        return np.linalg.norm((x.embeddings - origin) @ rest, axis=1)

    return residual, float(train.logits.max(axis=1).mean() / residual(train).mean())
