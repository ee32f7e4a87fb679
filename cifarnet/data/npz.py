"""Reads .npz files with x_train, y_train, x_test and y_test, like those of ``keras.datasets``."""

import io
import math

import numpy as np

from cifarnet.data.dataset import Dataset, LeftOut, Parts
from cifarnet.data.images import count_enlarged, resize_images
from cifarnet.data.labels import as_class_names, numbered, stored_labels
from cifarnet.data.progress import Progress
from cifarnet.data.tree import FileTree
from cifarnet.errors import DataError, nearest
from cifarnet.preprocessing import CIFAR10_CLASSES, pixel_moments

_NAMES = "class_names"
_SPLITS = {"train": ("train",), "test": ("test",), "validation": ("val", "valid", "validation", "dev")}
"""The names of each split's arrays after ``x_`` and ``y_``."""
_IMAGES_AND_LABELS = frozenset(f"{kind}_{end}" for kind in "xy" for ends in _SPLITS.values() for end in ends)
_KNOWN = _IMAGES_AND_LABELS | {_NAMES}

# Statistics of CIFAR-10's training images. After JPEG compression with quality 75 they are 120.69 and 63.86.
_CIFAR10_MOMENTS = (120.71, 64.15)

_RENAME = "Save them with np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)."
_GREY, _COLOUR = 1, 3


def is_npz(tree: FileTree) -> bool:
    """Return whether ``tree`` has the arrays of an .npz file, which is a zip of .npy files."""
    arrays = [name for name in tree.files if name.endswith(".npy") and "/" not in name]
    only_arrays = bool(arrays) and len(arrays) == len(tree.files)
    return only_arrays or any(_stem(name).lower() in _IMAGES_AND_LABELS for name in arrays)


def read_npz(tree: FileTree, image_size: int, report: Progress) -> Parts:
    """Read the images and labels of an .npz file, at ``image_size`` pixels. Its other arrays are left out.

    ``x_train``, ``x_test`` and ``x_val`` are images with levels 0 to 255, as uint8 or another type with integer values.
    Integers of 16 bits are refused, because their white may be 255 or 65,535.
    Shapes are (n, height, width, 3) or (n, 3, height, width), and for grey images (n, height, width),
    (n, height, width, 1) or (n, 1, height, width). ``y_train``, ``y_test`` and ``y_val`` are integers from 0, (n,) or
    (n, 1), one-hot (n, classes), or class names (n,). Array names are case-insensitive.

    Class names come from an array ``class_names``, by number, or from labels that are names, sorted. The images of
    CIFAR-10, recognized by counts and statistics, get CIFAR-10's names. Otherwise the names are 0, 1, 2, ... Every
    class needs a training image.

    Raises:
        DataError: when an array is missing, pickled, or of another type or shape; or a class has no training image or
            no name.
    """
    arrays = _Arrays(tree)
    images, labels = {}, {}
    for split, (x, y) in arrays.splits().items():
        report(f"Reading {x}", 0, None)
        images[split] = _images(arrays.read(x), f"{x} in {tree.origin}")
        labels[y] = stored_labels(arrays.read(y), len(images[split]), f"{y} in {tree.origin}")
    numbers, names = numbered(labels, arrays.class_names(), str(tree.origin))
    of_split = dict(zip(images, numbers.values(), strict=True))
    class_names = names or default_names(images["train"], of_split["train"])
    datasets = {
        split: Dataset(resize_images(part, image_size), of_split[split], class_names) for split, part in images.items()
    }
    unused = arrays.unused()
    left_out = (LeftOut("arrays with other names", len(unused), unused[:3]),) if unused else ()
    enlarged = count_enlarged(image_size, *images.values())
    return Parts(datasets["train"], datasets.get("test"), datasets.get("validation"), left_out, enlarged)


def default_names(images: np.ndarray, labels: np.ndarray) -> tuple[str, ...]:
    """Return names for classes that a file only numbers: CIFAR-10's for CIFAR-10, otherwise 0, 1, 2, ...

    Args:
        images: the training images, uint8 (n, height, width, 3).
        labels: their class numbers, (n,).
    """
    counts = np.bincount(labels)
    # Other sets also have ten classes and 32 x 32 pixels: digits (SVHN), clothes (padded Fashion-MNIST).
    if images.shape == (50_000, 32, 32, 3) and counts.tolist() == [5_000] * len(CIFAR10_CLASSES):
        moments = zip(pixel_moments(images), _CIFAR10_MOMENTS, strict=True)
        if all(abs(found - known) < 1 for found, known in moments):
            return CIFAR10_CLASSES
    return tuple(str(label) for label in range(len(counts)))


class _Arrays:
    """The arrays of an .npz file by their case-insensitive names."""

    def __init__(self, tree: FileTree):
        self._tree = tree
        self._stored: dict[str, str] = {}
        for file in tree.files:
            name = _stem(file).lower()
            if not file.endswith(".npy") or "/" in file:
                continue
            if name in self._stored and name in _KNOWN:
                raise DataError(
                    f"{tree.origin} must hold one array {name}. Received: {_stem(self._stored[name])} and {_stem(file)}"
                )
            self._stored[name] = file

    def splits(self) -> dict[str, tuple[str, str]]:
        """Return the names of the image and label arrays of each split in the file.

        Raises:
            DataError: when the training split or one array of a split is missing, or a split occurs twice.
        """
        found = {}
        for split, ends in _SPLITS.items():
            held = [end for end in ends if {f"x_{end}", f"y_{end}"} & self._stored.keys()]
            if len(held) > 1:
                raise DataError(
                    f"{self._tree.origin} must hold one set of {split} images. Received: x_{' and x_'.join(held)}"
                )
            if held or split == "train":
                end = held[0] if held else ends[0]
                found[split] = (self._present(f"x_{end}"), self._present(f"y_{end}"))
        return found

    def unused(self) -> tuple[str, ...]:
        """Return the names of the arrays that are not images, labels or class names."""
        return tuple(_stem(file) for name, file in self._stored.items() if name not in _KNOWN)

    def class_names(self) -> tuple[str, ...] | None:
        """Return the class names by number; None if the file has none.

        Raises:
            DataError: when the array is not a list of texts, or a name is empty or occurs twice.
        """
        if _NAMES not in self._stored:
            return None
        what, names = f"{_NAMES} in {self._tree.origin}", self.read(_NAMES)
        # (k,), (k, 1) or (1, k).
        if names.dtype.kind not in "USiu" or names.ndim not in (1, 2) or names.size != max(names.shape):
            raise DataError(f"{what} must be a list of texts. Received: {names.dtype} {names.shape}")
        return as_class_names(names.reshape(-1).tolist(), what)

    def read(self, name: str) -> np.ndarray:
        """Return the array ``name``.

        Raises:
            DataError: when it is damaged or pickled.
        """
        try:
            content = io.BytesIO(self._tree.read(self._stored[name]))
            _require_content(content)
            array: np.ndarray = np.lib.format.read_array(content, allow_pickle=False)
        except Exception as error:
            # NumPy evaluates the header: SyntaxError, RecursionError, tokenize.TokenError, MemoryError, ...
            advice = ". Save arrays of numbers or text: y.astype(str)" if "pickle" in str(error) else ""
            raise DataError(f"{name} in {self._tree.origin} can't be read: {error!s:.300}{advice}") from error
        return array

    def _present(self, name: str) -> str:
        if name in self._stored:
            return name
        held = [_stem(file) for file in self._stored.values()]
        near = nearest(name, [each for each in held if each.lower() not in _KNOWN])
        meant = f" Is {near} meant?" if near else ""
        raise DataError(
            f"{self._tree.origin} lacks {name}; an .npz file holds x_train, y_train, x_test and y_test, not"
            f" {', '.join(held)}.{meant} {_RENAME}"
        )


def _require_content(file: io.BytesIO) -> None:
    """Check that an .npy ``file`` is as long as its header states, before NumPy allocates memory.

    Raises:
        ValueError: when it is shorter.
        Exception: of several kinds when the header is damaged.
    """
    numpy_format = np.lib.format
    version = numpy_format.read_magic(file)
    # Version 3 differs from version 2 only in the encoding of field names.
    read = numpy_format.read_array_header_1_0 if version == (1, 0) else numpy_format.read_array_header_2_0
    shape, _, dtype = read(file)
    held = len(file.getbuffer()) - file.tell()
    # Empty texts take no bytes, so their number is unlimited.
    if not dtype.hasobject and math.prod(shape) * max(1, dtype.itemsize) > held:
        raise ValueError(f"it has {held:,} bytes for {dtype} {shape}")
    file.seek(0)


def _stem(file: str) -> str:
    return file.removesuffix(".npy")


def _images(array: np.ndarray, what: str) -> np.ndarray:
    """Return ``array`` as uint8 (n, height, width, 3).

    Raises:
        DataError: when its shape or levels are ambiguous or not those of images.
    """
    received = f"Received: {array.dtype} {array.shape}"
    wanted = f"{what} must be uint8 (n, height, width, 3), with levels of 0 to 255."
    if not array.size:
        raise DataError(f"{wanted} It has no images. {received}")
    if array.ndim == 3:
        array = array[..., None]
    if advice := _shape_advice(array):
        raise DataError(f"{wanted} {advice} {received}")
    if advice := _levels_advice(array):
        levels = f", levels {array.min()} to {array.max()}" if array.dtype.kind in "biuf" else ""
        raise DataError(f"{wanted} {advice} {received}{levels}")
    if array.shape[3] not in (_GREY, _COLOUR):
        array = array.transpose(0, 2, 3, 1)
    pixels = array.astype(np.uint8, copy=False)
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == _GREY else np.ascontiguousarray(pixels)


def _shape_advice(array: np.ndarray) -> str | None:
    """Return why a shape is not accepted, with the remedy; None if the channels are the first or last axis."""
    if array.ndim == 2:
        return "The height and width of flat rows of pixels are unknown: reshape them."
    if array.ndim != 4:
        return "It must have 3 or 4 axes."
    first, last = (array.shape[axis] in (_GREY, _COLOUR) for axis in (1, 3))
    if first and last:
        return "Its first or its last axis may be the channels: the images are too small to decide."
    if first or last:
        return None
    if 4 in (array.shape[1], array.shape[3]):
        return "Four channels are ambiguous: blend transparency with a background, or drop it (x[..., :3])."
    if array.shape[2] in (_GREY, _COLOUR):
        return "The images are along its last axis: x.transpose(3, 0, 1, 2) puts them along the first."
    return "It has neither 1 nor 3 channels."


def _levels_advice(array: np.ndarray) -> str | None:
    """Return why the values of ``array`` are not levels 0 to 255, with the remedy; None if they are."""
    if array.dtype == np.uint8:
        # All zeros may be intended.
        return "Black and white must be 0 and 255: x * 255." if array.max() == 1 else None
    if array.dtype.kind == "b":
        return "Black and white must be 0 and 255: x.astype('uint8') * 255."
    if array.dtype.kind not in "iuf":
        return "It must hold numbers."
    if array.dtype.itemsize == 2 and array.dtype.kind != "f":
        return (
            "16 bits must become 8: (x // 257).astype('uint8') where white is 65535, x.astype('uint8') where it is 255."
        )
    lowest, highest = float(array.min()), float(array.max())
    if not np.isfinite([lowest, highest]).all():
        return "Some levels are not finite."
    if lowest >= 0 and highest <= 1:
        return "Levels of 0 to 1 must become 0 to 255: (x * 255).round().astype('uint8')."
    if lowest >= -1 and highest <= 1:
        return "Levels of -1 to 1 must become 0 to 255: ((x + 1) * 127.5).round().astype('uint8')."
    if lowest < 0 or highest > 255:
        return "Images must not be normalized: save the original levels."
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        return "Fractions must be rounded: x.round().astype('uint8')."
    return None
