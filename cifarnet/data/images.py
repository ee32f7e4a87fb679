"""Reads image files as square uint8 RGB arrays, for data sets and for ``predict``."""

import errno
import os
import signal
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cifarnet.backend.devices import worker_count
from cifarnet.data import arrays, decoding
from cifarnet.data.decoding import BYTE_LIMIT, decoded, pillow
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import DataError, FileAccessError
from cifarnet.files import StrPath, as_path
from cifarnet.plurals import counted

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event, Lock

    from PIL.Image import Image

# The padding colour: the mean level of CIFAR-10's training images. Normalization makes it zero, the padding of random
# crops in training.
_GREY = (121, 121, 121)
# The errors of a path, such as that of a broken link, and not of a device. A fingerprint covers them.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

# A very large JPEG is decoded to at least this many times the target size. For 108 and 200 million pixels at 32 x 32,
# levels differ from a full decode by at most 1, or 2 where the centre falls between two pixels.
_MARGIN = 4
# The shorter side of a displayed picture, in pixels. Reports and explanations reduce it to 1,200 pixels or fewer.
_SHOWN = 1200

# A small file can hold millions of tiny images, and weights from a stranger can have a large image size. Enlarged
# images take at most so many bytes, or so many times their former bytes: 224 x 224 is 49 times 32 x 32.
_RESIZED_LIMIT = 4 << 30
_ENLARGED_LIMIT = 50
_ENLARGED_MILLIONS_LIMIT = 8

# For fewer pictures, starting worker processes takes longer than decoding.
_PARALLEL_FROM = 1000
_CHUNK = 256

NamedFile = tuple[str, Path | bytes]
"""The name of a picture in messages, and its file or content."""

Broken = tuple[int, str]
"""A picture that can't be read: its index among the files, and the error message."""


class Decoded(NamedTuple):
    """The readable images, uint8 (n, size, size, 3), the unreadable pictures, and the number of enlarged ones."""

    images: np.ndarray
    broken: list[Broken]
    enlarged: int


def read_image(source: StrPath | bytes, size: int = 32, *, name: str | None = None, crop: str = "center") -> np.ndarray:
    """Read one picture as uint8 (size, size, 3) RGB.

    The formats are PNG, JPEG, WebP, BMP, GIF and TIFF, and HEIC if pillow-heif is installed. Of several frames, the
    first is used. The EXIF orientation is applied. More than 8 bits per channel are scaled to 8. Transparent pixels are
    blended with white. ``crop`` makes the picture square, and Lanczos resampling brings it to ``size``. A picture that
    already has that size keeps its pixels. A JPEG with more than ``decoding.PIXEL_LIMIT`` pixels is decoded at a
    fraction of its size.

    Args:
        source: the path of a file, or the content of one as bytes.
        size: side of the result in pixels.
        name: the name of the picture in error messages; by default its path.
        crop: one of ``cifarnet.choices.CROPS``.

    Raises:
        DataError: when the file is missing, empty, damaged, not a picture, or too large.
    """
    return _read(source, size, name, crop)[0]


def _read(source: StrPath | bytes, size: int, name: str | None, crop: str = "center") -> tuple[np.ndarray, bool]:
    """Return a picture as ``read_image`` does, and whether it was enlarged."""
    if isinstance(source, bytes):
        what, content = name or "The image", source
    else:
        path = as_path(source, "source", "read_image")
        what = name or str(path)
        content = read_file(path, what)
    with open_picture(content, what, size) as image:
        return fit_square(image, size, crop), min(image.size) < size


def read_images(
    files: Sequence[NamedFile],
    size: int = 32,
    report: Progress = silent,
    activity: str = "Decoding images",
) -> Decoded:
    """Read pictures as uint8 (n, size, size, 3) RGB, and list those that can't be read.

    A thousand or more pictures are read by one process per core. A script that calls this therefore needs the usual
    ``if __name__ == "__main__":`` guard.

    Args:
        files: the pictures.
        size: side of the results in pixels.
        report: receives the progress.
        activity: the name of the work in ``report``.

    Returns:
        The images of the readable files, in their order; for each unreadable file its index in ``files`` and the error
        message; and the number of images that are smaller in their files.

    Raises:
        FileAccessError: when the system can't read a file now, so that it may be intact.
        DataError: when a worker process dies.
    """
    images = arrays.empty((len(files), size, size, 3))
    broken: list[Broken] = []
    enlarged = 0
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    done = read = 0
    for chunk, part in zip(
        chunks, _in_parallel(chunks, size) if len(files) >= _PARALLEL_FROM else _in_turn(chunks, size), strict=True
    ):
        images[read : read + len(part.images)] = part.images
        broken += [(done + index, message) for index, message in part.broken]
        enlarged += part.enlarged
        read += len(part.images)
        done += len(chunk)
        report(activity, done, len(files))
    return Decoded(images[:read], broken, enlarged)


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Crop and resample uint8 (n, height, width, 3) images to (n, size, size, 3), like ``read_image``.

    Images that already have this size are returned without a copy.

    Raises:
        DataError: when the enlarged images would take too much memory.
    """
    if images.shape[1:3] == (size, size):
        return images
    factor = _ENLARGED_LIMIT if len(images) <= 1_000_000 else _ENLARGED_MILLIONS_LIMIT
    if (needed := len(images) * size * size * 3) > max(_RESIZED_LIMIT, factor * images.nbytes):
        height, width = images.shape[1:3]
        raise DataError(
            f"{counted(len(images), 'image')} of {height} x {width} pixels must not be enlarged to {size} x {size}:"
            f" they would take {needed:,} bytes. Choose a smaller `image_size`, or fewer images. Received: {size}"
        )
    from PIL import Image

    resized = arrays.empty((len(images), size, size, 3))
    for row, image in enumerate(images):
        resized[row] = fit_square(Image.fromarray(image), size, "center")
    return resized


def count_enlarged(size: int, *images: np.ndarray) -> int:
    """Return how many of the uint8 (n, height, width, 3) ``images`` are smaller than ``size`` pixels."""
    return sum(len(each) for each in images if min(each.shape[1:3]) < size)


def read_file(path: Path, what: str, limit: int = BYTE_LIMIT, advice: str = " Save it at a smaller size.") -> bytes:
    """Return the content of a file, which may be a picture.

    Args:
        path: the file.
        what: the name of the file in error messages.
        limit: the most bytes that are read.
        advice: the remedy for a larger file.

    Raises:
        FileAccessError: when the system can't read the file, though it is there.
        DataError: when it is missing, is a device, pipe or socket, or has more than ``limit`` bytes.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise DataError(f"{what} is not a file.")
        if state.st_size > limit:
            raise DataError(f"{what} has more than {limit >> 20} MiB.{advice} Received: {state.st_size:,} bytes")
        return path.read_bytes()
    except OSError as error:
        kind = DataError if error.errno in _MISSING else FileAccessError
        raise kind(f"{what} can't be read: {error.strerror}.") from error


@contextmanager
def open_picture(content: bytes, what: str, size: int, *, to_show: bool = False) -> Iterator["Image"]:
    """Decode a picture, upright and in RGB, neither cut nor resampled; use it inside the ``with`` block.

    A JPEG of more than ``decoding.PIXEL_LIMIT`` pixels is decoded at a fraction of its size. Of several pictures with
    many pixels, one is held at a time.

    Args:
        content: the content of the file.
        what: the name of the picture in error messages.
        size: side in pixels of the squares to make of it (``fit_square``), which a very large JPEG must suffice for.
        to_show: decode a very large JPEG with a shorter side of at least 1,200 pixels, to show the picture as well.

    Raises:
        DataError: when the picture can't be read, or is too large.
    """
    if not content:
        raise DataError(f"{what} is empty.")
    with pillow(what), decoded(content, what, max(_MARGIN * size, _SHOWN if to_show else 0)) as image:
        yield image


def fit_square(image: "Image", size: int, crop: str) -> np.ndarray:
    """Return ``image`` cut by ``crop`` (one of ``cifarnet.choices.CROPS``) and resampled: uint8 (size, size, 3)."""
    from PIL import Image
    from PIL.Image import Resampling

    # Lanczos keeps the most detail of Pillow's filters. Pillow scales it with the reduction, so that it anti-aliases.
    if crop == "pad" and image.width != image.height:
        width, height = (padded_side(side, max(image.size), size) for side in image.size)
        padded = Image.new("RGB", (size, size), _GREY)
        corner = round((size - width) / 2), round((size - height) / 2)
        padded.paste(image.resize((width, height), Resampling.LANCZOS), corner)
        return np.array(padded)
    if crop == "center" and image.width != image.height:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Resampling.LANCZOS)
    return np.array(image)


def padded_side(side: int, longest: int, size: int) -> int:
    """Return how many of the ``size`` pixels of a padded view show a ``side`` of a picture: at least one.

    ``ImageOps.pad`` rounds down to none, and then shows no picture, or fails before Pillow 12.
    """
    return max(1, round(side / longest * size))


# In a worker process: set when its pictures are no longer needed.
_stop: "Event | None" = None


def _read_chunk(chunk: Sequence[NamedFile], size: int) -> Decoded:
    images, broken, enlarged = [], [], 0
    for index, (name, file) in enumerate(chunk):
        if _stop and _stop.is_set():
            break
        try:
            image, is_enlarged = _read(file, size, name)
            images.append(image)
            enlarged += is_enlarged
        except FileAccessError:
            # The picture may be intact, so that it is not left out like broken ones, now and in the cache.
            raise
        except DataError as error:
            broken.append((index, str(error)))
    return Decoded(np.array(images, np.uint8).reshape(-1, size, size, 3), broken, enlarged)


def _in_turn(chunks: Sequence[Sequence[NamedFile]], size: int) -> Iterator[Decoded]:
    return (_read_chunk(chunk, size) for chunk in chunks)


def _in_parallel(chunks: Sequence[Sequence[NamedFile]], size: int) -> Iterator[Decoded]:
    # Processes, not threads: on two cores the 60,000 JPEG files of CIFAR-10 take 7.8 s in one thread, 14 s in two and
    # 16 s in four (small pictures mostly wait for the interpreter), but 5.7 s in two processes, including their start.
    # Spawned, not forked: TensorFlow's threads don't survive a fork.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    workers = min(worker_count(), len(chunks), 61)  # Windows allows 61.
    context = multiprocessing.get_context("spawn")
    stop, one_large = context.Event(), context.Lock()
    with ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(stop, one_large)) as pool:
        try:
            with _interrupts_blocked():
                results = pool.map(_read_chunk, chunks, [size] * len(chunks))
            yield from results
        except BrokenProcessPool as error:
            raise DataError(
                "The processes that decode images died. A script must load data below"
                ' `if __name__ == "__main__":`; otherwise memory may have run out.'
            ) from error
        finally:
            # Leaving the pool waits for chunks in progress. After Ctrl-C or an error they are not needed.
            stop.set()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT for the processes started in the block, since Ctrl-C reaches the whole process group.

    The parent handles an interrupt when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(stop: "Event", one_large: "Lock") -> None:
    global _stop
    _stop = stop
    decoding.one_large = one_large
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # For Windows, where no signal can be blocked.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Otherwise workers whose parent was killed would wait for chunks forever.
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
