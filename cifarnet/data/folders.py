"""Reads image folders: ``train/<class>/*.jpg`` with optional ``test/`` and ``val/``, or only class folders."""

from collections.abc import Mapping

import numpy as np

from cifarnet.data.arrangement import Classes, arrange, without_outer_folders
from cifarnet.data.dataset import Dataset, LeftOut, Parts, require_same_classes
from cifarnet.data.images import read_images
from cifarnet.data.leftovers import Leftovers
from cifarnet.data.progress import Progress
from cifarnet.data.tree import FileTree
from cifarnet.errors import DataError
from cifarnet.plurals import counted

UNREADABLE = "pictures that can't be read"
"""The ``LeftOut.reason`` of pictures that ``skip_broken`` leaves out."""

# The most broken pictures that a message lists.
_NAMED = 10

_ACTIVITIES = {
    "train": "Decoding training images",
    "test": "Decoding test images",
    "validation": "Decoding validation images",
}


def read_image_folder(tree: FileTree, image_size: int, report: Progress, skip_broken: bool = False) -> Parts:
    """Read the training images of an image folder, and its test and validation images if it has any.

    ``arrange`` finds the splits and classes. Classes are sorted by name.

    Args:
        tree: the folder or archive.
        image_size: side of the images in pixels.
        report: receives the progress.
        skip_broken: leave out pictures that can't be read.

    Raises:
        DataError: when pictures can't be read (the message lists the first ten), a class has no readable pictures, the
            splits differ in classes, or the folders have no valid arrangement.
    """
    left_out = Leftovers()
    tree = without_outer_folders(tree, left_out)
    for reason, name in tree.left_out:
        left_out.add(reason, name)
    splits = arrange(tree, left_out)
    for split, classes in splits.items():
        require_same_classes(tuple(splits["train"]), tuple(classes), split.capitalize())
    datasets: dict[str, Dataset] = {}
    broken: dict[str, str] = {}
    enlarged = 0
    for split, classes in splits.items():
        datasets[split], messages, smaller = _decoded(tree, classes, image_size, report, _ACTIVITIES[split])
        broken |= messages
        enlarged += smaller
    if broken and not skip_broken:
        total = sum(len(names) for classes in splits.values() for names in classes.values())
        raise DataError(_broken_message(broken, total))
    for split, dataset in datasets.items():
        _require_all_classes(dataset, split, broken)
    skipped = (LeftOut(UNREADABLE, len(broken), tuple(list(broken)[:_NAMED])),) if broken else ()
    listed = (*skipped, *left_out.summary())
    return Parts(datasets["train"], datasets.get("test"), datasets.get("validation"), listed, enlarged)


def skips_pictures(parts: Parts) -> bool:
    """Return whether pictures of ``parts`` were left out because of ``skip_broken``."""
    return any(left.reason == UNREADABLE for left in parts.left_out)


def _decoded(
    tree: FileTree, classes: Classes, image_size: int, report: Progress, activity: str
) -> tuple[Dataset, dict[str, str], int]:
    """Return the pictures of ``classes`` that can be read, error messages of the others, and how many were enlarged.

    Messages are by name.
    """
    names = [name for pictures in classes.values() for name in pictures]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(pictures) for pictures in classes.values()])
    files = [(tree.display_name(name), tree.files[name]) for name in names]
    images, broken, enlarged = read_images(files, image_size, report, activity)
    rows = {row for row, _ in broken}
    read = tuple(name for row, name in enumerate(names) if row not in rows)
    dataset = Dataset(images, np.delete(labels, list(rows)), tuple(classes), read)
    return dataset, {names[row]: message for row, message in broken}, enlarged


def _broken_message(broken: Mapping[str, str], total: int) -> str:
    messages = list(broken.values())
    if len(messages) > _NAMED:
        messages[_NAMED:] = [f"... and {len(messages) - _NAMED:,} more."]
    return "\n".join(
        [
            f"{len(broken):,} of {counted(total, 'picture')} can't be read:",
            *messages,
            "Repair or remove them, or leave them out with `skip_broken`.",
        ]
    )


def _require_all_classes(dataset: Dataset, split: str, broken: Mapping[str, str]) -> None:
    lost = [name for name, count in zip(dataset.class_names, dataset.counts(), strict=True) if not count]
    if lost:
        raise DataError(
            f"Every class needs a picture that can be read. Received: none of {', '.join(lost)} among the {split}"
            f" images, {counted(len(broken), 'picture')} that can't be read, such as:\n{next(iter(broken.values()))}"
        )
