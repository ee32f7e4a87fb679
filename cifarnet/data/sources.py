"""``--data SOURCE``: from its name or path to training and test images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifarnet.data import cifar10, folders, npz, official
from cifarnet.data.cache import DecodedSet
from cifarnet.data.dataset import Dataset, Splits, hold_out
from cifarnet.data.images import resize_images
from cifarnet.data.progress import Progress, silent
from cifarnet.data.synthetic import DEFAULT_SIZE, synthetic
from cifarnet.data.tree import FileTree, read_tree
from cifarnet.errors import DataError, InvalidValueError, did_you_mean_path

__all__ = ["Progress", "load_data"]

Parts = tuple[Dataset, Dataset | None]
"""Training and test images; None where a source has no test images."""


@dataclass(frozen=True)
class Layout:
    """One form in which data sets come: its name, how it is recognised, and what reads it."""

    name: str
    is_in: Callable[[FileTree], bool]
    read: Callable[[FileTree, int, Progress], Parts]
    decoded: bool = False
    """Whether reading decodes pictures, which takes long enough to keep the result."""


LAYOUTS = (
    Layout("the official binary layout (data_batch_1.bin, ...)", official.is_binary, official.read_binary),
    Layout("the official Python layout (data_batch_1, ...)", official.is_python, official.read_python),
    Layout("an .npz file (x_train, y_train, x_test, y_test)", npz.is_npz, npz.read_npz),
    Layout("an image folder (train/<class>/*.png)", folders.is_image_folder, folders.read_image_folder, decoded=True),
)


def load_data(
    source: str = "cifar10",
    *,
    test_split: float | None = None,
    mirrors: Sequence[str] = (),
    image_size: int = 32,
    seed: int = 0,
    report: Progress = silent,
) -> Splits:
    """Training and test images of ``source``, at ``image_size`` pixels.

    Args:
        source: ``cifar10`` (found on this machine or downloaded); ``synthetic`` or ``synthetic:N`` with N training
            images; or the path of a folder or archive in one of ``LAYOUTS``.
        test_split: fraction of every class to hold out as test images, for a source that has none.
        mirrors: addresses to try before the official one, for ``cifar10``.
        image_size: side of the images in pixels; others are cropped to a square and resized.
        seed: what ``synthetic`` and ``test_split`` draw from.
        report: told about the progress.

    Raises:
        InvalidValueError: when ``source`` or ``test_split`` can't be meant.
        DataError: when the source is missing, damaged, in no known layout, or has no test images.
        DownloadError: when CIFAR-10 is not on this machine and no address gives it.
    """
    if not source.strip():
        raise InvalidValueError("The data source is empty. Give cifar10, synthetic, synthetic:N or a path.")
    kind, _, argument = source.partition(":")
    if kind == "synthetic":
        train, test = _synthetic(source, argument, image_size, seed)
    else:
        path = cifar10.find_or_fetch(mirrors, report) if source == "cifar10" else Path(source)
        train, test = read_path(path.expanduser().absolute(), image_size, report)
    if test is not None:
        if test_split is not None:
            raise InvalidValueError(
                f"{source} has {len(test):,} test images of its own: --test-split is for a source without."
                f" Received: {test_split}"
            )
        return Splits(train, test)
    if test_split is None:
        raise DataError(
            f"{source} has no test images. Put a folder test/ beside train/, or hold some of every class out with"
            " --test-split 0.2"
        )
    return Splits(*hold_out(train, test_split, seed))


def read_path(path: Path, image_size: int, report: Progress) -> Parts:
    """Training and test images at the absolute ``path``, whose layout is found from its content.

    Raises:
        DataError: when there is nothing, nothing known, or something damaged.
    """
    if not path.exists():
        raise DataError(
            f"There is no file or folder {path}.{did_you_mean_path(path, ('cifar10', 'synthetic'))} A data source"
            " is cifar10, synthetic, synthetic:N (N training images) or the path of an image folder, an archive or an"
            f" .npz file. Received: {path}"
        )
    stored = DecodedSet(path, image_size)
    fingerprint = stored.fingerprint()
    if kept := stored.load(fingerprint):
        return kept
    report(f"Reading {path.name}", 0, None)
    tree = read_tree(path)
    layout = next((layout for layout in LAYOUTS if layout.is_in(tree)), None)
    if layout is None:
        known = "; ".join(layout.name for layout in LAYOUTS)
        raise DataError(f"{path} holds {len(tree.files):,} files in no known layout. Known are: {known}.")
    train, test = layout.read(tree, image_size, report)
    if layout.decoded:
        stored.store(fingerprint, train, test)
    return train, test


def _synthetic(source: str, argument: str, image_size: int, seed: int) -> Parts:
    if argument and not argument.isdecimal():
        raise InvalidValueError(f"After synthetic: comes the number of training images. Received: {source}")
    splits = synthetic(int(argument or DEFAULT_SIZE), seed)
    train, test = (
        Dataset(resize_images(part.images, image_size), part.labels, part.class_names)
        for part in (splits.train, splits.test)
    )
    return train, test
