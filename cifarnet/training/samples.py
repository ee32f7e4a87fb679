"""Some training images as they are and as training shows them, for looking at."""

from dataclasses import dataclass

import numpy as np

from cifarnet.backend.select import use_backend
from cifarnet.data.dataset import Dataset
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import Recipe


@dataclass(frozen=True)
class Samples:
    """Images by class, in the order of the class names.

    ``raw`` and ``augmented`` hold an array uint8 (n, size, size, 3) for each class, of the same n images; n is smaller,
    down to 0, where the class has fewer.
    """

    raw: tuple[np.ndarray, ...]
    augmented: tuple[np.ndarray, ...]


def training_samples(data: Dataset, recipe: Recipe, per_class: int = 6, seed: int = 0) -> Samples:
    """The first ``per_class`` images of every class that a run of ``recipe`` with ``seed`` trains on, in its order.

    They are augmented with the very numbers that the run's first epoch draws, and shown at full size also where the
    recipe begins with images that are shrunk.
    """
    use_backend()
    from cifarnet.data.augmentation import augment, hide_squares, normalize
    from cifarnet.training.model import epoch_order

    rows, draws = epoch_order(recipe, seed, 0, len(data))
    labels = data.labels[rows]
    places = [np.flatnonzero(labels == label)[:per_class] for label in range(len(data.class_names))]
    chosen = np.concatenate(places)
    raw = data.images[rows[chosen]]
    normalization = Normalization.of(data.images)
    moved = augment(normalize(raw, normalization), draws[chosen], recipe)
    seen = np.asarray(hide_squares(moved, draws[chosen], recipe.cutout))
    pixels = np.clip(np.rint(seen * normalization.std + normalization.mean), 0, 255).astype(np.uint8)
    ends = np.cumsum([len(each) for each in places])[:-1]
    return Samples(tuple(np.split(raw, ends)), tuple(np.split(pixels, ends)))
