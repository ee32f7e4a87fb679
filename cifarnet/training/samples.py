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
    from cifarnet.data.mixing import mixed, own_weights
    from cifarnet.training.model import epoch_order

    rows, draws = epoch_order(recipe, seed, 0, len(data))
    labels = data.labels[rows]
    places = [np.flatnonzero(labels == label)[:per_class] for label in range(len(data.class_names))]
    chosen = np.concatenate(places)
    raw = data.images[rows[chosen]]
    normalization = Normalization.of(data.images)
    seen = training_images(raw, draws[chosen], recipe, normalization)
    if recipe.mixes_images:
        following = _following(chosen, recipe.batch_size, len(rows))
        others = training_images(data.images[rows[following]], draws[following], recipe, normalization)
        seen = mixed(seen, others, own_weights(draws[chosen], recipe, data.images.shape[1]))
    seen = np.asarray(seen)
    pixels = np.clip(np.rint(normalization.invert(seen)), 0, 255).astype(np.uint8)
    ends = np.cumsum([len(each) for each in places])[:-1]
    return Samples(tuple(np.split(raw, ends)), tuple(np.split(pixels, ends)))


def _following(places: np.ndarray, batch_size: int, images: int) -> np.ndarray:
    """Return the place after each of ``places`` in an epoch of ``images``; after the last of a batch, its first."""
    begins = places // batch_size * batch_size
    counts = np.minimum(batch_size, images - begins)
    return begins + (places - begins + 1) % counts
