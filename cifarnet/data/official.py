"""Reads the two layouts in which CIFAR-10 and CIFAR-100 are published: binary records and Python pickles."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.data.dataset import Dataset, Parts
from cifarnet.data.images import read_file, resize_images
from cifarnet.data.labels import as_class_names, as_labels
from cifarnet.data.official_names import OFFICIAL_SETS, OfficialSet, Wanted
from cifarnet.data.pickles import load_arrays
from cifarnet.data.progress import Progress
from cifarnet.data.tree import FILE_LIMIT, FileTree
from cifarnet.errors import DataError
from cifarnet.unpickling import RefusedPickleError, operations

# An image is stored as 3 planes (red, green, blue) of 32 rows of 32 pixels.
_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE

# The most bytes of the file with the class names, enough for 5,000 classes.
_META_LIMIT = 1 << 20


def is_binary(tree: FileTree, wanted: OfficialSet | None = None) -> bool:
    """Return whether ``tree`` has batches in the binary layout: of ``wanted``, or else of any official data set."""
    return _holds(tree, ".bin", wanted)


def is_python(tree: FileTree, wanted: OfficialSet | None = None) -> bool:
    """Return whether ``tree`` has batches in the Python layout: of ``wanted``, or else of any official data set."""
    return _holds(tree, "", wanted)


def _holds(tree: FileTree, suffix: str, wanted: OfficialSet | None) -> bool:
    found = _sets_in(tree, suffix)
    return wanted in found if wanted else bool(found)


def titles_in(tree: FileTree) -> list[str]:
    """Return the titles of the data sets whose batches are in ``tree``, in either layout."""
    return list(dict.fromkeys(official.title for suffix in (".bin", "") for official in _sets_in(tree, suffix)))


def _sets_in(tree: FileTree, suffix: str) -> list[OfficialSet]:
    """Return the data sets whose batches are in ``tree``."""

    def is_in_tree(official: OfficialSet) -> bool:
        present = [f"{batch}{suffix}" in tree.files for batch in official.batches]
        return all(present) if official.usual_names else any(present)

    return [official for official in OFFICIAL_SETS if is_in_tree(official)]


def _only_in(tree: FileTree, suffix: str) -> Wanted:
    """Return the data set whose batches are in ``tree``, with its first kind of labels."""
    found = _sets_in(tree, suffix)
    if len(found) > 1:
        titles = " and ".join(official.title for official in found)
        raise DataError(
            f"{tree.origin} holds {titles}. Put each into a folder of its own, and give that folder."
            f" Received: {tree.origin}"
        )
    return Wanted(found[0], found[0].labels[0])


def incomplete_batches(folder: Path, official: OfficialSet) -> list[str]:
    """Return the batches of ``official`` in the Python layout that are missing in ``folder`` or truncated."""
    return [batch for batch in official.batches if not _is_whole_pickle(folder / batch)]


def _is_whole_pickle(path: Path) -> bool:
    try:
        for _ in operations(BytesIO(read_file(path, str(path), FILE_LIMIT))):
            pass
    except RefusedPickleError:
        return True  # Reading the batch reports the cause.
    except (DataError, ValueError):
        return False
    return True


def read_binary(tree: FileTree, image_size: int, report: Progress, wanted: Wanted | None = None) -> Parts:
    """Read the training and test images of the binary layout: ``data_batch_1.bin``, ... or ``train.bin``, ``test.bin``.

    Without ``wanted``, the files tell the data set, and it has the first kind of its labels.

    Raises:
        DataError: when a batch is missing or does not consist of whole records, or files of several data sets are
            mixed.
    """
    wanted = wanted or _only_in(tree, ".bin")
    names, file = wanted.labels.class_names, wanted.labels.names_file
    if file in tree.files:
        lines = tree.read(file, _META_LIMIT).splitlines()
        names = as_class_names([line for line in lines if line.strip()], tree.display_name(file))
    return _read_splits(tree, ".bin", _binary_batch, wanted, names, image_size, report)


def read_python(tree: FileTree, image_size: int, report: Progress, wanted: Wanted | None = None) -> Parts:
    """Read the training and test images of the Python layout: the pickles ``data_batch_1``, ... or ``train``, ``test``.

    The pickles are parsed without running anything in them. Without ``wanted``, the files tell the data set,
    and it has the first kind of its labels.

    Raises:
        DataError: when a batch is missing, has anything but NumPy arrays and plain containers, or differs from the
            published form, or the files of several data sets are mixed.
    """
    wanted = wanted or _only_in(tree, "")
    names, file, key = wanted.labels.class_names, wanted.dataset.meta, wanted.labels.names_key
    if file in tree.files:
        held = _unpickled(tree, file, _META_LIMIT).get(key)
        if not isinstance(held, list):
            raise DataError(f"{tree.display_name(file)} must hold a list '{key}' of class names.")
        names = as_class_names(held, f"'{key}' of {tree.display_name(file)}")
    return _read_splits(tree, "", _python_batch, wanted, names, image_size, report)


def _read_splits(
    tree: FileTree,
    suffix: str,
    read_batch: Callable[[FileTree, str, Wanted], tuple[np.ndarray, np.ndarray]],
    wanted: Wanted,
    class_names: tuple[str, ...],
    image_size: int,
    report: Progress,
) -> Parts:
    title = wanted.dataset.title
    batches = [f"{batch}{suffix}" for batch in wanted.dataset.batches]
    if missing := [batch for batch in batches if batch not in tree.files]:
        left_out = "; ".join(f"{name} ({reason})" for reason, name in tree.left_out if name in missing)
        raise DataError(
            f"{tree.origin} lacks {', '.join(missing)}; {title} consists of {', '.join(batches)}."
            f"{f' Left out: {left_out}' if left_out else ''}"
        )
    read = []
    for done, batch in enumerate(batches):
        report("Reading batches", done, len(batches))
        planes, labels = read_batch(tree, batch, wanted)
        if labels.max() >= len(class_names):
            raise DataError(
                f"{tree.display_name(batch)} is damaged or not from {title}. Labels must be 0 to"
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

    enlarged = total if image_size > _SIDE else 0
    return Parts(joined(read[:-1]), joined(read[-1:]), enlarged=enlarged, official=wanted)


def _binary_batch(tree: FileTree, name: str, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes uint8 (n, 3072) and labels (n,) of a binary batch: records of labels and 3,072 pixels."""
    content = np.frombuffer(tree.read(name), np.uint8)
    kinds = len(wanted.dataset.labels)
    if not len(content) or len(content) % (kinds + _PIXELS):
        raise DataError(
            f"{tree.display_name(name)} is damaged or truncated: it must consist of records of {kinds + _PIXELS:,}"
            f" bytes. Received: {len(content):,} bytes"
        )
    records = content.reshape(-1, kinds + _PIXELS)
    return records[:, kinds:], records[:, wanted.labels.offset]


def _python_batch(tree: FileTree, name: str, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes uint8 (n, 3072) and labels (n,) of a pickled batch, a dict with ``data`` and the labels."""
    batch = _unpickled(tree, name)
    for other in OFFICIAL_SETS:
        if other != wanted.dataset and any(kind.key in batch for kind in other.labels):
            raise DataError(
                f"{tree.display_name(name)} is {other.title}, not {wanted.dataset.title}. Unpack the archive of"
                f" {wanted.dataset.title} again, and give that folder. Received: {tree.origin}"
            )
    planes, key = batch.get("data"), wanted.labels.key
    if not (
        isinstance(planes, np.ndarray) and planes.dtype == np.uint8 and planes.shape[1:] == (_PIXELS,) and len(planes)
    ):
        raise DataError(f"{tree.display_name(name)} must hold 'data': a uint8 array of shape (n, {_PIXELS}).")
    return planes, as_labels(batch.get(key), len(planes), f"'{key}' of {tree.display_name(name)}")


def _unpickled(tree: FileTree, name: str, limit: int = FILE_LIMIT) -> dict[str, Any]:
    what = tree.display_name(name)
    try:
        content = load_arrays(tree.read(name, limit))
    except RefusedPickleError as error:
        raise DataError(
            f"{what} is refused: it asks for {error}, which no CIFAR batch needs. Nothing in it was run."
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
