"""Image files in, uint8 RGB squares out: the one way in which data sets and ``predict`` read pictures."""

import io
import signal
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifarnet.data.progress import Progress, silent
from cifarnet.errors import DataError
from cifarnet.runtime import usable_cores

if TYPE_CHECKING:
    from PIL.Image import Image

# What pads: the mean level of CIFAR-10's training images, which normalization makes zero, as random crops have it in
# training.
_GREY = (121, 121, 121)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
PIXEL_LIMIT = 100_000_000  # 300 MB once decoded; a decompression bomb has more, hardly any camera does.
BYTE_LIMIT = 256 << 20

# A TIFF of one kilobyte that claimed 89 million pixels took 7 s to read; an empty page, scanned, has 300 a byte.
PIXELS_A_BYTE = 2000
MANY_PIXELS = 10_000_000
# Only these decoders are tried, so that a file can't reach Pillow's rarer ones (EPS starts Ghostscript).
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

# Below this, starting worker processes takes longer than decoding.
_PARALLEL_FROM = 1000
_CHUNK = 256

NamedFile = tuple[str, Path | bytes]
"""What messages call a picture, and its file or content."""


def read_image(source: Path | bytes, size: int = 32, *, name: str | None = None, crop: str = "center") -> np.ndarray:
    """Read one picture as uint8 (size, size, 3) RGB.

    PNG, JPEG, WebP, BMP, GIF and TIFF (of several frames the first); the EXIF orientation is applied, 16-bit
    grey scaled to 8 bits, and transparency put on white, the ground that cut-out pictures are made for. A
    picture that is not square is made so as ``crop`` says; one whose side is not ``size`` is then resampled. One
    that is (size, size) already comes back as decoded, pixel for pixel.

    Args:
        source: a file, or a file's content.
        size: side of the result in pixels.
        name: what error messages call the picture; by default its path.
        crop: one of ``cifarnet.choices.CROPS``.

    Raises:
        DataError: when the file is missing, empty, truncated, no picture, or unreasonably large.
    """
    told = name or (str(source) if isinstance(source, Path) else "The image")
    content = source if isinstance(source, bytes) else read_file(source, told)
    if not content:
        raise DataError(f"{told} is empty.")
    with _decoding(told):
        return _decode(content, size, told, crop)


def read_images(
    files: Sequence[NamedFile],
    size: int = 32,
    report: Progress = silent,
    activity: str = "Decoding images",
) -> np.ndarray:
    """Read pictures as uint8 (n, size, size, 3) RGB.

    ``activity`` is what ``report`` is told. From a thousand pictures on they are read in one process per core; a
    script that calls this therefore needs the usual ``if __name__ == "__main__":`` guard.

    Raises:
        DataError: for the first picture that ``read_image`` refuses.
    """
    images = np.empty((len(files), size, size, 3), np.uint8)
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    done = 0
    for decoded in _in_parallel(chunks, size) if len(files) >= _PARALLEL_FROM else _in_turn(chunks, size):
        images[done : done + len(decoded)] = decoded
        done += len(decoded)
        report(activity, done, len(files))
    return images


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Bring uint8 (n, height, width, 3) images to (n, size, size, 3) as ``read_image`` does; no copy if they are."""
    if images.shape[1:3] == (size, size):
        return images
    from PIL import Image

    resized = np.empty((len(images), size, size, 3), np.uint8)
    for row, image in enumerate(images):
        resized[row] = _fitted(Image.fromarray(image), size, "center")
    return resized


def read_file(path: Path, told: str) -> bytes:
    """The content of a picture's file; ``told`` is what the user calls it.

    Raises:
        DataError: when it can't be read, is no file or too large.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise DataError(f"{told} is not a file.")
        if state.st_size > BYTE_LIMIT:
            raise DataError(f"{told} has more than {BYTE_LIMIT >> 20} MiB. Save it at a smaller size.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{told} can't be read: {error.strerror}.") from error


class _PillowWarningsOff:
    """Silences Pillow while any thread is inside.

    ``warnings.catch_warnings`` swaps a global: threads that overlap in it would restore each other's filters. So
    the first one in enters it and the last one out leaves it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restoring = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._restoring.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restoring.close()


_PILLOW_WARNINGS_OFF = _PillowWarningsOff()


@contextmanager
def _decoding(told: str) -> Iterator[None]:
    """Turn whatever Pillow raises into a DataError and drop its warnings (odd metadata, large pictures)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _PILLOW_WARNINGS_OFF:
            yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{told} is not a PNG, JPEG, WebP, BMP, GIF or TIFF image.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{told} has too many pixels: more than {PIXEL_LIMIT:,} are refused.") from error
    except Exception as error:
        # Damaged files make decoders raise nearly anything: OSError, SyntaxError, struct.error, ValueError, ...
        raise DataError(f"{told} is a damaged or truncated image: {error}") from error


def open_picture(content: bytes, told: str) -> "Image":
    """A picture that ``read_image`` accepts, upright and in RGB as there, but neither cut nor resampled.

    ``told`` is what the user calls it.

    Raises:
        DataError: when it can't be read, or is too large.
    """
    with _decoding(told):
        return _upright(content, told)


def _decode(content: bytes, size: int, told: str, crop: str) -> np.ndarray:
    return _fitted(_upright(content, told), size, crop)


def _upright(content: bytes, told: str) -> "Image":
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise DataError(
                f"{told} has {image.width} x {image.height} pixels; more than {PIXEL_LIMIT:,} are refused."
                " Save it at a smaller size."
            )
        if image.width * image.height > max(MANY_PIXELS, PIXELS_A_BYTE * len(content)):
            raise DataError(
                f"{told} claims {image.width} x {image.height} pixels in {len(content):,} bytes: it is damaged, or a"
                " decompression bomb."
            )
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, told)


def _rgb(image: "Image", told: str) -> "Image":
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow's own conversion clips at 255, which turns 16-bit pictures white.
        levels = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise DataError(f"{told} has 32 bits per channel, whose range is not defined. Save it with 8 or 16 bits.")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def _fitted(image: "Image", size: int, crop: str) -> np.ndarray:
    from PIL import ImageOps
    from PIL.Image import Resampling

    # Lanczos: Pillow widens its support by the reduction, which is the anti-aliasing, and of Pillow's filters it keeps
    # the most detail, of which 32 pixels hold little enough.
    if crop == "pad" and image.width != image.height:
        return np.array(ImageOps.pad(image, (size, size), Resampling.LANCZOS, color=_GREY))
    if crop == "center" and image.width != image.height:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Resampling.LANCZOS)
    return np.array(image)


def _read_chunk(chunk: Sequence[NamedFile], size: int) -> np.ndarray:
    return np.stack([read_image(file, size, name=name) for name, file in chunk])


def _in_turn(chunks: Sequence[Sequence[NamedFile]], size: int) -> Iterator[np.ndarray]:
    return (_read_chunk(chunk, size) for chunk in chunks)


def _in_parallel(chunks: Sequence[Sequence[NamedFile]], size: int) -> Iterator[np.ndarray]:
    # Processes, not threads: the 60,000 JPEG files of CIFAR-10 take 7.8 s in one thread on two cores, 14 s in two
    # and 16 s in four (at this size they mostly wait for the interpreter), 5.7 s in two processes, which includes
    # starting them. Spawned, not forked: TensorFlow's threads don't survive a fork.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    workers = min(usable_cores(), len(chunks), 61)  # 61 is Windows' limit.
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        # Ctrl-C reaches the whole process group; the parent alone answers it.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    with pool:
        try:
            yield from pool.map(_read_chunk, chunks, [size] * len(chunks))
        except BrokenProcessPool as error:
            raise DataError(
                "The processes that decode images died. A script must load data below"
                ' `if __name__ == "__main__":`; otherwise memory may have run out.'
            ) from error
