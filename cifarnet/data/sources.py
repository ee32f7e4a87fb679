"""Loads data sources by name or path: the option ``--data``."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import places
from cifarnet.data import folders, npz, official
from cifarnet.data.arrangement import holds_images, picture_in_folder
from cifarnet.data.cache import DecodedSet
from cifarnet.data.copies import torchvision_copy
from cifarnet.data.dataset import Parts, Splits, hold_out, require_fraction
from cifarnet.data.named import FORMS, NAMED, find_named, other_labels
from cifarnet.data.official_names import OFFICIAL_SETS, Wanted
from cifarnet.data.progress import Progress, silent
from cifarnet.data.tree import FileTree, read_tree
from cifarnet.errors import DataError, InvalidValueError, did_you_mean_path
from cifarnet.fields import IMAGE_SIZES, require_whole
from cifarnet.files import StrPath, as_path, neither_file_nor_folder
from cifarnet.paths import typed
from cifarnet.plurals import alternatives, counted

__all__ = ["Progress", "load_data"]


@dataclass(frozen=True)
class Layout:
    """A file layout of image arrays: its name, how it is recognized, and the function that reads it."""

    name: str
    is_in: Callable[[FileTree], bool]
    read: Callable[[FileTree, int, Progress], Parts]


LAYOUTS = (
    Layout("the official binary layout (data_batch_1.bin, ...)", official.is_binary, official.read_binary),
    Layout("the official Python layout (data_batch_1, ...)", official.is_python, official.read_python),
    Layout("an .npz file (x_train, y_train, x_test, y_test)", npz.is_npz, npz.read_npz),
)
_IMAGE_FOLDER = "an image folder (train/<class>/*.png)"

_ARCHIVE_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip", ".npz")


def load_data(
    source: StrPath = "cifar10",
    *,
    test_split: float | None = None,
    mirrors: Sequence[str] = (),
    image_size: int = 32,
    seed: int = 0,
    skip_broken: bool = False,
    report: Progress = silent,
) -> Splits:
    """Return the training and test images of ``source``, and its validation images if it has any.

    Args:
        source: ``"cifar10"``, ``"cifar100"`` (100 classes) or ``"cifar100-coarse"`` (20 classes), found on this machine
            or downloaded; one of these with a colon and the path of its files, such as ``"cifar100-coarse:PATH"``;
            ``"synthetic"`` or ``"synthetic:N"`` with N training images, 50 to 100,000; or the path of an image folder,
            or of a folder or archive in one of ``LAYOUTS``. Without ``cifar100-coarse``, files of CIFAR-100 are read
            with 100 classes.
        test_split: fraction of every class to hold out as test images, for a source without test images.
        mirrors: addresses to try before the official one, for a data set that is given by its name alone.
        image_size: side of the images in pixels. Images of other sizes are cropped to a square and resized.
        seed: the seed for ``synthetic`` and ``test_split``.
        skip_broken: leave out unreadable pictures of an image folder instead of raising a DataError. Other sources hold
            no pictures to leave out: a damaged one always raises a DataError.
        report: receives the progress.

    Raises:
        InvalidValueError: when ``source`` or ``test_split`` is invalid, or ``mirrors`` are given for a source that is
            not downloaded.
        DataError: when the source is missing, damaged, in an unknown layout, or has no test images.
        DownloadError: when the named data set is not on this machine and can't be downloaded.
    """
    source = source_name(source)
    require_whole("image_size", image_size)
    IMAGE_SIZES.require("image_size", image_size)
    named = find_named(source)
    if test_split is not None:
        require_fraction("test_split", test_split)
        if named:  # Checked before anything is downloaded or read.
            raise _split_of_split_data(source, test_split)
    if mirrors and not (named and named[0].wanted and not named[1]):
        raise _mirrors_of_other_data(source)
    found: Parts | Path = Path(source)
    if named:
        kind, argument = named
        found = kind.open(argument, image_size, seed, mirrors, report)
    note = ""
    if not isinstance(found, Path):
        parts = found
    elif named and named[0].wanted:
        remedy = "Give the path alone" if named[1] else "Delete it to download the data set again"
        parts = _read_wanted(typed(found), named[0].wanted, remedy, image_size, report)
    else:
        parts = read_path(typed(found), image_size, report, skip_broken)
        note = _note(source, parts)
    train, test = parts.train, parts.test
    if test is not None and test_split is not None:
        raise _split_of_split_data(source, test_split)
    if test is None:
        if test_split is None:
            remedy = "Add x_test and y_test" if _is_npz_file(source) else "Put a folder test/ beside train/"
            raise DataError(
                f"{source} has no test images. {remedy}, or hold some of every class out with `test_split` 0.2"
            )
        train, test = hold_out(train, test_split, seed)
    return Splits(train, test, parts.validation, parts.left_out, parts.enlarged, note)


def _note(path: str, parts: Parts) -> str:
    """Return how the files at ``path`` were read, if they are an official data set with several kinds of labels."""
    if parts.official is None or not (others := other_labels(parts.official)):
        return ""
    choices = ", ".join(f"{name}:{path} has {len(other.class_names or ())}" for name, other in others.items())
    return f"read as {parts.official.dataset.title} with {counted(len(parts.train.class_names), 'class')}; {choices}"


def _is_npz_file(source: str) -> bool:
    return source.lower().endswith(".npz") and typed(Path(source)).is_file()


def source_name(source: StrPath) -> str:
    """Return ``source`` as text. A ``Path`` that looks like a name gets the prefix ``./``.

    Raises:
        InvalidValueError: when it is empty, or neither text nor a path.
    """
    if isinstance(source, str):
        if not source.strip():
            raise InvalidValueError(f"The data source is empty. Give {FORMS} or a path. Received: an empty text")
        if (named := find_named(source)) and named[0].wanted and source.endswith(":"):
            raise InvalidValueError(
                f"After the colon, the path of the files of {named[0].wanted.dataset.title} is needed. Give it, or the"
                f" name without a colon. Received: {source}"
            )
        return source
    path = str(as_path(source, "source", "The data source"))
    return os.path.join(os.curdir, path) if places.is_name(path) else path


def _split_of_split_data(source: str, test_split: float) -> InvalidValueError:
    return InvalidValueError(
        f"{source} has test images. `test_split` is only for sources without them. Received: {test_split}"
    )


def _mirrors_of_other_data(source: str) -> InvalidValueError:
    names = alternatives([name for name, kind in NAMED.items() if kind.wanted])
    # Without the addresses, which may hold a password.
    return InvalidValueError(
        f"`mirrors` are addresses to download {names} from. Leave them out for other data. Received: {source}"
    )


def read_path(path: Path, image_size: int, report: Progress, skip_broken: bool = False) -> Parts:
    """Read the images at the absolute ``path``. The layout is recognized by the content.

    Raises:
        DataError: when ``path`` is missing, damaged, or in an unknown layout, and when it holds data in two layouts.
    """
    _require_file_or_folder(path)
    if path.is_dir() and (copy := _torchvision_copy(path)):
        _refuse_pictures_beside(read_tree(path), str(copy), copy.name)
        path = copy
    stored = DecodedSet(path, image_size)
    fingerprint = stored.fingerprint()
    kept = stored.load(fingerprint)
    if kept and (skip_broken or not folders.skips_pictures(kept)):
        return kept
    report(f"Reading {path.name}", 0, None)
    tree = read_tree(path)
    for level in _levels(tree):
        for layout in LAYOUTS:
            if layout.is_in(level):
                _refuse_pictures_beside(level, f"data in {layout.name}")
                return layout.read(level, image_size, report)
    if not holds_images(tree):
        raise DataError(_unknown_layout(tree))
    parts = folders.read_image_folder(tree, image_size, report, skip_broken)
    stored.store(fingerprint, parts)
    # Large images are in a file without a name. The copy in the cache makes it superfluous.
    return (stored.load(fingerprint) or parts) if isinstance(parts.train.images, np.memmap) else parts


def _require_file_or_folder(path: Path) -> None:
    if not os.path.exists(path):
        raise DataError(
            f"There is no file or folder {path}.{did_you_mean_path(path, NAMED)} A data source is"
            f" {FORMS} or the path of an image folder, an archive or an"
            f" .npz file. Received: {path}"
        )
    if not (path.is_dir() or path.is_file()):
        raise DataError(neither_file_nor_folder(path))


def _read_wanted(path: Path, wanted: Wanted, remedy: str, image_size: int, report: Progress) -> Parts:
    """Read the official data set ``wanted`` at the absolute ``path``.

    Raises:
        DataError: when the path is missing, damaged, or holds something else. The message has the ``remedy``.
    """
    _require_file_or_folder(path)
    official_set = wanted.dataset
    if path.is_dir():
        path = torchvision_copy(official_set, path) or path
    report(f"Reading {path.name}", 0, None)
    found: list[str] = []
    for level in _levels(read_tree(path)):
        if official.is_binary(level, official_set):
            return official.read_binary(level, image_size, report, wanted)
        if official.is_python(level, official_set):
            return official.read_python(level, image_size, report, wanted)
        found += official.titles_in(level)
    raise DataError(
        f"{path} must hold {official_set.title}. {remedy}. Received: {' and '.join(found) or 'other files'}"
    )


def _torchvision_copy(root: Path) -> Path | None:
    copies = {each.title: copy for each in OFFICIAL_SETS if (copy := torchvision_copy(each, root))}
    if len(copies) > 1:
        raise DataError(
            f"{root} holds {' and '.join(copies)}. Give {' or '.join(map(str, copies.values()))}. Received: {root}"
        )
    return next(iter(copies.values()), None)


def _refuse_pictures_beside(tree: FileTree, found: str, folder: str = "") -> None:
    """Raise a DataError if ``tree`` holds pictures in folders besides what was ``found``, which may be in ``folder``.

    They may be the images that the user means.
    """
    if picture := picture_in_folder(tree, folder):
        raise DataError(
            f"{tree.origin} holds {found}, and pictures in folders, such as {picture}. Give the path of one of them, or"
            f" move one of them to another folder. Received: {tree.origin}"
        )


def _levels(tree: FileTree) -> Iterator[FileTree]:
    """Yield ``tree``, then the trees inside outer folders that contain everything (``cifar-10-batches-bin/``)."""
    yield tree
    while len(tops := tree.top_folders()) == 1:
        tree = tree.inside(tops[0])
        yield tree


def _unknown_layout(tree: FileTree) -> str:
    known = "; ".join([*(layout.name for layout in LAYOUTS), _IMAGE_FOLDER])
    archives = [name for name in tree.files if name.lower().endswith(_ARCHIVE_SUFFIXES)]
    hint = f" To read an archive in it, give its path: {tree.display_name(archives[0])}" if archives else ""
    if tree.left_out:
        reason, name = tree.left_out[0]
        hint += f" Left out: {name} ({reason}), one of {len(tree.left_out):,}."
    return f"{tree.origin} holds {counted(len(tree.files), 'file')} in no known layout. Known are: {known}.{hint}"
