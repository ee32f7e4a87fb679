"""Image folders: ``train/<class>/*.jpg`` with ``test/`` beside it, or the class folders alone."""

from pathlib import PurePosixPath

import numpy as np

from cifarnet.data.dataset import Dataset
from cifarnet.data.images import IMAGE_SUFFIXES, read_images
from cifarnet.data.progress import Progress
from cifarnet.data.tree import FileTree
from cifarnet.errors import DataError


def is_image_folder(tree: FileTree) -> bool:
    """Whether any picture lies in a folder of ``tree``."""
    return any("/" in name and _is_image(name) for name in tree.files)


def read_image_folder(tree: FileTree, image_size: int, report: Progress) -> tuple[Dataset, Dataset | None]:
    """Training and test images of an image folder, the latter None when it has no ``test/``.

    Classes are the sorted names of the class folders; pictures count at any depth below theirs, other files are
    ignored.

    Raises:
        DataError: for a class folder without pictures, fewer than two classes, or a picture that can't be read.
    """
    if "train" in tree.folders:
        test = _read_split(tree, "test", image_size, report) if "test" in tree.folders else None
        return _read_split(tree, "train", image_size, report), test
    if "test" in tree.folders:
        raise DataError(f"{tree.origin} has a folder test/ but no train/ beside it.")
    return _read_split(tree, "", image_size, report), None


def _read_split(tree: FileTree, folder: str, image_size: int, report: Progress) -> Dataset:
    """The images of the class folders in ``folder``, the root's if it is empty."""
    prefix = f"{folder}/" if folder else ""
    inside = [name.removeprefix(prefix) for name in tree.folders if name.startswith(prefix)]
    classes: dict[str, list[str]] = {name: [] for name in sorted(inside) if "/" not in name}
    for name in tree.files:
        class_name, _, rest = name.removeprefix(prefix).partition("/")
        if name.startswith(prefix) and rest and _is_image(rest):
            classes[class_name].append(name)
    if len(classes) < 2:
        raise DataError(
            f"{tree.told(folder)} needs a folder of pictures for each of at least 2 classes."
            f" Received: {', '.join(classes) or 'no folders'}"
        )
    for class_name, names in classes.items():
        if not names:
            raise DataError(f"The class folder {tree.told(prefix + class_name)} holds no pictures.")
    listed = tuple(name for members in classes.values() for name in members)
    files = [(tree.told(name), tree.files[name]) for name in listed]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(members) for members in classes.values()])
    activity = "Decoding test images" if folder == "test" else "Decoding training images"
    return Dataset(read_images(files, image_size, report, activity), labels, tuple(classes), listed)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
