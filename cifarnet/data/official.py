"""Reads the two layouts in which CIFAR-10 is published: binary records and Python pickles."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.data.dataset import Dataset, Parts
from cifarnet.data.images import read_file, resize_images
from cifarnet.data.labels import as_class_names, as_labels
from cifarnet.data.pickles import load_arrays
from cifarnet.data.progress import Progress
from cifarnet.data.tree import FILE_LIMIT, FileTree
from cifarnet.errors import DataError
from cifarnet.preprocessing import CIFAR10_CLASSES
from cifarnet.unpickling import RefusedPickleError, operations

TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
# An image is stored as 3 planes (red, green, blue) of 32 rows of 32 pixels.
_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE

# The most bytes of the file with the class names, enough for 5,000 classes.
_META_LIMIT = 1 << 20

# CIFAR-100 is recognized, so that the error can name it.
_CIFAR100_BATCHES = ("train", "test")
_CIFAR100_LABELS = "fine_labels"


def is_binary(tree: FileTree) -> bool:
    """Return whether ``tree`` has a batch in the binary layout, of CIFAR-10 or CIFAR-100."""
    return any(f"{batch}.bin" in tree.files for batch in (*TRAIN_BATCHES, TEST_BATCH)) or _is_cifar100(tree, ".bin")


def is_python(tree: FileTree) -> bool:
    """Return whether ``tree`` has a batch in the Python layout, of CIFAR-10 or CIFAR-100."""
    return any(batch in tree.files for batch in (*TRAIN_BATCHES, TEST_BATCH)) or _is_cifar100(tree, "")


def _is_cifar100(tree: FileTree, suffix: str) -> bool:
    return all(f"{batch}{suffix}" in tree.files for batch in _CIFAR100_BATCHES)


def _cifar100_message(what: str) -> str:
    expected = "CIFAR-10 consists of data_batch_1 to data_batch_5 and test_batch."
    return f"{what} is CIFAR-100, which is not supported; {expected}"


def incomplete_batches(folder: Path) -> list[str]:
    """Return the batches of the Python layout that are missing in ``folder`` or truncated."""
    return [batch for batch in (*TRAIN_BATCHES, TEST_BATCH) if not _is_whole_pickle(folder / batch)]


def _is_whole_pickle(path: Path) -> bool:
    try:
        for _ in operations(BytesIO(read_file(path, str(path), FILE_LIMIT))):
            pass
    except RefusedPickleError:
        return True  # Reading the batch reports the cause.
    except (DataError, ValueError):
        return False
    return True


def read_binary(tree: FileTree, image_size: int, report: Progress) -> Parts:
    """Read the training and test images in ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.

    Raises:
        DataError: when a batch is missing or does not consist of whole records.
    """
    names: tuple[str, ...] = CIFAR10_CLASSES
    if "batches.meta.txt" in tree.files:
        lines = tree.read("batches.meta.txt", _META_LIMIT).splitlines()
        names = as_class_names([line for line in lines if line.strip()], tree.display_name("batches.meta.txt"))
    return _read_splits(tree, ".bin", _binary_batch, names, image_size, report)


def read_python(tree: FileTree, image_size: int, report: Progress) -> Parts:
    """Read the training and test images in the pickles ``data_batch_1`` to ``data_batch_5`` and ``test_batch``.

    The pickles are parsed without running anything in them.

    Raises:
        DataError: when a batch is missing, has anything but NumPy arrays and plain containers, or differs from the
            published form.
    """
    names: tuple[str, ...] = CIFAR10_CLASSES
    if "batches.meta" in tree.files:
        held = _unpickled(tree, "batches.meta", _META_LIMIT).get("label_names")
        if not isinstance(held, list):
            raise DataError(f"{tree.display_name('batches.meta')} must hold a list 'label_names' of class names.")
        names = as_class_names(held, f"'label_names' of {tree.display_name('batches.meta')}")
    return _read_splits(tree, "", _python_batch, names, image_size, report)


def _read_splits(
    tree: FileTree,
    suffix: str,
    read_batch: Callable[[FileTree, str], tuple[np.ndarray, np.ndarray]],
    class_names: tuple[str, ...],
    image_size: int,
    report: Progress,
) -> Parts:
    batches = [f"{batch}{suffix}" for batch in (*TRAIN_BATCHES, TEST_BATCH)]
    if missing := [batch for batch in batches if batch not in tree.files]:
        if _is_cifar100(tree, suffix):
            raise DataError(_cifar100_message(str(tree.origin)))
        left_out = "; ".join(f"{name} ({reason})" for reason, name in tree.left_out if name in missing)
        raise DataError(
            f"{tree.origin} lacks {', '.join(missing)}; CIFAR-10 consists of {', '.join(batches)}."
            f"{f' Left out: {left_out}' if left_out else ''}"
        )
    read = []
    for done, batch in enumerate(batches):
        report("Reading batches", done, len(batches))
        planes, labels = read_batch(tree, batch)
        if labels.max() >= len(class_names):
            raise DataError(
                f"{tree.display_name(batch)} is damaged or not from CIFAR-10. Labels must be 0 to"
                f" {len(class_names) - 1}, one per class of {', '.join(class_names)}. Received: {labels.max()} in"
                f" record {labels.argmax()}"
            )
        read.append((planes, labels))
    report("Reading batches", len(batches), len(batches))

    total = sum(len(labels) for _, labels in read)

    def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> Dataset:
        planes = np.concatenate([planes for planes, _ in parts])  # (n, 3072)
        images = np.ascontiguousarray(planes.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
        labels = np.concatenate([labels for _, labels in parts]).astype(np.int32)
        return Dataset(resize_images(images, image_size), labels, class_names)

    return Parts(joined(read[:-1]), joined(read[-1:]), enlarged=total if image_size > _SIDE else 0)


def _binary_batch(tree: FileTree, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes uint8 (n, 3072) and labels (n,) of a binary batch: records of a label and 3,072 pixels."""
    content = np.frombuffer(tree.read(name), np.uint8)
    if not len(content) or len(content) % (1 + _PIXELS):
        raise DataError(
            f"{tree.display_name(name)} is damaged or truncated: it must consist of records of {1 + _PIXELS:,} bytes."
            f" Received: {len(content):,} bytes"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _python_batch(tree: FileTree, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes uint8 (n, 3072) and labels (n,) of a pickled batch, a dict with ``data`` and ``labels``."""
    batch = _unpickled(tree, name)
    if _CIFAR100_LABELS in batch:
        raise DataError(_cifar100_message(tree.display_name(name)))
    planes = batch.get("data")
    if not (
        isinstance(planes, np.ndarray) and planes.dtype == np.uint8 and planes.shape[1:] == (_PIXELS,) and len(planes)
    ):
        raise DataError(f"{tree.display_name(name)} must hold 'data': a uint8 array of shape (n, {_PIXELS}).")
    return planes, as_labels(batch.get("labels"), len(planes), f"'labels' of {tree.display_name(name)}")


def _unpickled(tree: FileTree, name: str, limit: int = FILE_LIMIT) -> dict[str, Any]:
    what = tree.display_name(name)
    try:
        content = load_arrays(tree.read(name, limit))
    except RefusedPickleError as error:
        raise DataError(
            f"{what} is refused: it asks for {error}, which no CIFAR-10 batch needs. Nothing in it was run."
        ) from error
    except DataError:
        raise
    except Exception as error:
        # Damaged pickles make the unpickler raise nearly anything: EOFError, IndexError, UnicodeDecodeError, ...
        raise DataError(f"{what} is damaged or not a pickle: {error!s:.200}") from error
    if not isinstance(content, dict):
        raise DataError(f"{what} must hold a dictionary. Received: {type(content).__name__}")
    # Strings that Python 2 wrote are bytes.
    return {key.decode(errors="replace") if isinstance(key, bytes) else key: value for key, value in content.items()}
