"""An .npz file with x_train, y_train, x_test and y_test, as ``keras.datasets`` arranges them."""

import io
import tokenize

import numpy as np

from cifarnet.data.dataset import Dataset, Parts
from cifarnet.data.images import resize_images
from cifarnet.data.labels import as_labels
from cifarnet.data.progress import Progress
from cifarnet.data.tree import FileTree
from cifarnet.errors import DataError
from cifarnet.models.spec import CIFAR10_CLASSES


def is_npz(tree: FileTree) -> bool:
    """Whether ``tree`` holds the arrays of an .npz file, which is a zip of .npy files."""
    return "x_train.npy" in tree.files


def read_npz(tree: FileTree, image_size: int, report: Progress) -> Parts:
    """Training and test images; the latter None without ``x_test``.

    ``x_*`` are uint8 (n, height, width, 3), or (n, height, width) in grey; ``y_*`` whole numbers, (n,) or (n, 1).
    Classes are named by an array ``class_names`` if there is one. Otherwise ten classes of 32 x 32 colour images
    are taken for CIFAR-10's, since this is the layout of ``keras.datasets.cifar10``; others are called 0, 1, 2, ...

    Raises:
        DataError: when an array is missing, of another type or shape, or pickled.
    """
    train = _split(tree, "train", report)
    test = _split(tree, "test", report) if "x_test.npy" in tree.files else None
    names = _class_names(tree, *train)

    def dataset(images: np.ndarray, labels: np.ndarray) -> Dataset:
        return Dataset(resize_images(images, image_size), labels, names)

    return Parts(dataset(*train), dataset(*test) if test else None)


def _split(tree: FileTree, split: str, report: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, height, width, 3) and labels int32 (n,)."""
    report(f"Reading x_{split}", 0, None)
    images = _array(tree, f"x_{split}")
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise DataError(
            f"x_{split} in {tree.origin} must be uint8 (n, height, width, 3), with levels of 0 to 255."
            f" Received: {images.dtype} {images.shape}"
        )
    return images, as_labels(_array(tree, f"y_{split}"), len(images), f"y_{split} in {tree.origin}")


def _class_names(tree: FileTree, images: np.ndarray, labels: np.ndarray) -> tuple[str, ...]:
    if "class_names.npy" in tree.files:
        return tuple(str(name) for name in _array(tree, "class_names").reshape(-1))
    classes = 1 + int(labels.max())
    if classes == len(CIFAR10_CLASSES) and images.shape[1:] == (32, 32, 3):
        return CIFAR10_CLASSES
    return tuple(str(label) for label in range(classes))


def _array(tree: FileTree, name: str) -> np.ndarray:
    if f"{name}.npy" not in tree.files:
        held = ", ".join(file.removesuffix(".npy") for file in tree.files)
        raise DataError(
            f"{tree.origin} lacks {name}; an .npz file holds x_train, y_train, x_test and y_test, not {held}."
        )
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(tree.read(f"{name}.npy")), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, SyntaxError, tokenize.TokenError, TypeError, OverflowError) as error:
        raise DataError(f"{name} in {tree.origin} can't be read: {error}") from error
    return array
