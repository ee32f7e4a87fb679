"""Turn what Python callers pass as pictures into sources: paths, contents of files, Pillow's images and arrays."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import DataError, InvalidValueError, invalid
from cifarnet.files import as_path
from cifarnet.inference.predict import BATCH_SIZE, ImageSource, find_images

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | os.PathLike[str] | bytes | Image | np.ndarray

ONE = "picture"
"""The name of a picture that has no file and is the only one."""

# Pictures of an iterator that are held at once. Each may be an open file, and systems allow 1,024 or fewer.
_HELD = 4 * BATCH_SIZE

_VALID = "a path, a PIL image, a uint8 array, the content of a file as bytes, or several of these"
_ALL = "`pictures`"


def picture_sources(pictures: Any) -> tuple[Iterable[list[ImageSource]], bool]:
    """Return the sources of ``pictures`` in groups, and whether ``pictures`` is one picture.

    A path is read as by ``find_images``, except that ``-`` is a file. A folder and a pattern stand for many pictures.

    Args:
        pictures: a path, a PIL image, a uint8 array (height, width, 3) or (height, width), or the content of a file as
            bytes; or many of them as a list, another iterable, or a uint8 array (n, height, width, 3).

    Raises:
        InvalidValueError: for anything else, and for no pictures. For an iterable it is raised by the groups.
    """
    if isinstance(pictures, str | os.PathLike):
        found = _at_path(pictures)
        return [found], _is_one(pictures, found)
    pictures = _as_array(pictures)
    if isinstance(pictures, np.ndarray):
        if pictures.ndim == 1 and pictures.dtype.kind in "OUT":  # Of paths.
            pictures = pictures.tolist()
        elif pictures.ndim == 4:
            _require_levels(pictures, _ALL, dimensions=(4,))
            pictures = list(pictures)
    if _is_content(pictures):
        return [_sources(pictures, ONE)], True
    # An open file is an iterable of its lines.
    if isinstance(pictures, Mapping) or _is_open_file(pictures) or not isinstance(pictures, Iterable):
        raise _refused(pictures, _ALL)
    return _groups(pictures), False


def _groups(pictures: Iterable[Any]) -> Iterator[list[ImageSource]]:
    """Yield all sources of a sequence at once, and those of another iterable in groups."""
    remaining, done = iter(pictures), 0
    size = len(pictures) if isinstance(pictures, Sequence) else _HELD
    while group := list(islice(remaining, size)):
        yield [source for index, each in enumerate(group, done) for source in _sources(each, f"pictures[{index}]")]
        done += len(group)
    if not done:
        raise invalid("pictures", "must have at least one picture", pictures, received="no pictures")


def _sources(picture: Any, name: str) -> list[ImageSource]:
    """Return the sources of one item: one, or those of the pictures in a folder."""
    if isinstance(picture, str | os.PathLike):
        return _at_path(picture)
    picture, what = _as_array(picture), _ALL if name == ONE else f"`{name}`"
    if not _is_content(picture):
        raise _refused(picture, what)
    if isinstance(picture, np.ndarray):
        _require_levels(picture, what)
    return [ImageSource(name, picture)]


def _as_array(value: Any) -> Any:
    """Return an array or tensor of another library as NumPy's, and other values as they are."""
    if isinstance(value, bytes | Sequence) or _is_content(value) or not hasattr(value, "__array__"):
        return value
    return np.asarray(value)


def _is_content(value: object) -> bool:
    from PIL.Image import Image

    return isinstance(value, bytes | np.ndarray | Image)


def _is_open_file(value: object) -> bool:
    # Python's named temporary files are no io.IOBase.
    return hasattr(value, "readline")


def _require_levels(array: np.ndarray, what: str, dimensions: tuple[int, ...] = (2, 3)) -> None:
    """Check the type and the shape of the levels of a picture, or of several along a first axis.

    Raises:
        InvalidValueError: when it has another type or shape.
    """
    if array.dtype == np.uint8 and array.ndim in dimensions and (array.ndim == 2 or array.shape[-1] == 3):
        return
    remedy = ""
    if array.dtype != np.uint8:
        remedy = "Levels from 0 to 1 become uint8 with (255 * array).round().astype('uint8')."
    elif array.ndim == 3 and array.shape[-1] == 4:
        remedy = "PIL.Image.fromarray makes an image of an array with transparency."
    elif array.ndim in (3, 4) and array.shape[-3] == 3:
        remedy = "np.moveaxis(array, -3, -1) puts the channels last."
    many = ", or for many (n, height, width, 3)" if what == _ALL else ""
    raise invalid(
        "pictures",
        f"takes uint8 arrays of shape (height, width, 3) or (height, width){many}",
        array,
        remedy=remedy,
        received=f"{array.dtype} {array.shape}",
        what=what,
    )


def _refused(value: object, what: str) -> InvalidValueError:
    remedy = "Give the content of the open file, which its read() returns." if _is_open_file(value) else ""
    return invalid(
        "pictures", f"takes {_VALID}", value, valid=_VALID, remedy=remedy, received=f"{value!r:.80}", what=what
    )


def _at_path(path: "str | os.PathLike[str]") -> list[ImageSource]:
    text = str(as_path(path, "pictures"))
    return find_images([os.path.join(os.curdir, text) if text == "-" else text], _no_stdin)


def _no_stdin() -> bytes:
    raise AssertionError("standard input is named by - alone")


def _is_one(path: "str | os.PathLike[str]", found: Sequence[ImageSource]) -> bool:
    """Return whether ``path`` is that of one file, or of nothing that could be read."""
    if len(found) > 1:
        return False
    return isinstance(found[0].content, DataError) or (os.path.lexists(path) and not os.path.isdir(path))
