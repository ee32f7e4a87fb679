"""Samples of the training images, before and after augmentation."""

from dataclasses import dataclass

import numpy as np

from cifarnet.backend.select import use_backend
from cifarnet.data.dataset import Dataset
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import Recipe


@dataclass(frozen=True)
class Samples:
    """Images by class, in the order of the class names.

    Attributes:
        raw: for each class an array uint8 (n, size, size, 3). Classes with few images have a smaller n, which may be 0.
        augmented: the same images after augmentation.
    """

    raw: tuple[np.ndarray, ...]
    augmented: tuple[np.ndarray, ...]


def training_samples(data: Dataset, recipe: Recipe, per_class: int = 6, seed: int = 0) -> Samples:
    """Return the first images of every class in the first epoch of a run.

    They are augmented with the same random numbers as in the run. They have full size, also if the recipe begins with
    smaller images.

    Args:
        data: the training images.
        recipe: the recipe of the run.
        per_class: number of images per class.
        seed: the seed of the run.
    """
    use_backend()
    from cifarnet.data.augmentation import training_images
    from cifarnet.training.model import epoch_order

    rows, draws = epoch_order(recipe, seed, 0, len(data))
    labels = data.labels[rows]
    places = [np.flatnonzero(labels == label)[:per_class] for label in range(len(data.class_names))]
    chosen = np.concatenate(places)
    raw = data.images[rows[chosen]]
    normalization = Normalization.of(data.images)
    seen = np.asarray(training_images(raw, draws[chosen], recipe, normalization))
    pixels = np.clip(np.rint(normalization.invert(seen)), 0, 255).astype(np.uint8)
    ends = np.cumsum([len(each) for each in places])[:-1]
    return Samples(tuple(np.split(raw, ends)), tuple(np.split(pixels, ends)))
