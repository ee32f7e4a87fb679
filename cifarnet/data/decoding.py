"""Decodes image files to upright RGB pictures: formats, limits, bit depths and transparency."""

import importlib.util
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.data import tiff
from cifarnet.errors import DataError, FileAccessError
from cifarnet.installation import install_command

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Suffixes of the formats that are always supported, in lower case."""
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Suffixes of HEIC pictures, which need pillow-heif, in lower case."""

PIXEL_LIMIT = 100_000_000
"""The most pixels that are decoded. They take 400 MB in Pillow."""
JPEG_PIXEL_LIMIT = 250_000_000
"""The most pixels of a JPEG. One with more than ``PIXEL_LIMIT`` pixels is decoded at a fraction of its size.

Phone cameras have up to 200 million pixels. A baseline JPEG of that size takes 0.7 s and 30 MB at 1/8 of its size.
"""
# A progressive JPEG needs memory for all its coefficients, 2 bytes each, at any fraction of its size. 200 million
# pixels take 3.0 s and 600 MB with halved colours (4:2:0), 5.6 s and 1.2 GB without. This is what PIXEL_LIMIT pixels
# take without.
_COEFFICIENT_LIMIT = 6 * PIXEL_LIMIT
# A scan of a progressive JPEG takes 23 bytes, and 2.5 ns per pixel at any fraction of its size. libjpeg writes ten.
_SCANS = 20
_SCANNED_PIXELS = 400_000_000
BYTE_LIMIT = 256 << 20

# A TIFF of one kilobyte that claims 89 million pixels takes 7 s to read. A scanned empty page has 300 pixels per byte.
PIXELS_PER_BYTE = 2000
MANY_PIXELS = 10_000_000
LARGE_PIXELS = 25_000_000
"""Pictures with more pixels are decoded one at a time, others in parallel. Most cameras' pictures have fewer."""
_STRIP_PIXELS = 1_000_000
# Only these decoders are tried, so that a file can't reach Pillow's rarer ones; the one for EPS starts Ghostscript. The
# JPEG decoder also opens MPO, files of several JPEGs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_NAMES = "PNG, JPEG, WebP, BMP, GIF or TIFF"

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def heic_remedy() -> str:
    """Return the advice for a HEIC picture if pillow-heif is not installed."""
    return f"Install pillow-heif with: {install_command('pillow-heif')}; or save the picture as JPEG or PNG."


def has_heic() -> bool:
    """Return whether pillow-heif is installed, so that HEIC pictures can be read."""
    return importlib.util.find_spec("pillow_heif") is not None


def image_suffixes() -> frozenset[str]:
    """Return the suffixes of supported pictures in lower case, with HEIC's only if pillow-heif is installed."""
    return IMAGE_SUFFIXES | HEIC_SUFFIXES if has_heic() else IMAGE_SUFFIXES


one_large: AbstractContextManager[Any] = threading.Lock()
"""A lock for decoding large pictures. The worker processes that decode a data set share one."""


@contextmanager
def decoded(content: bytes, what: str, shorter: int) -> Iterator["Image"]:
    """Decode a picture to upright RGB. Use it inside ``pillow``.

    Of several frames or pages, the first is used. The EXIF orientation is applied, and transparent pixels are blended
    with white. A JPEG with more than ``PIXEL_LIMIT`` pixels is decoded at 1/2, 1/4 or 1/8 of its size, the smallest
    that keeps its shorter side at least ``shorter`` pixels long. Other pictures are decoded at full size.

    Args:
        content: the content of the file.
        what: the name of the picture in error messages.
        shorter: the minimum length of the shorter side of a reduced JPEG, in pixels.

    Raises:
        DataError: when the picture is too large, or its format is not supported.
        Exception: of nearly any kind when the picture is damaged. ``pillow`` turns it into a DataError.
    """
    from PIL import ImageOps

    with _opened(content, what) as image:
        full = image.width * image.height
        _refuse_many_scans(image, content, what)
        _shrink_on_load(image, shorter)
        decoded_pixels = _checked_pixels(image, content, what)
        with one_large if max(full, decoded_pixels) > LARGE_PIXELS else nullcontext():
            if image.format == "TIFF":
                tiff.prepare(image, what)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            yield _rgb(image, content, what)


def upright_rgb(picture: "Image | np.ndarray", what: str) -> "Image":
    """Return a picture that is in memory, or opened by Pillow, as upright RGB. The given one keeps its pixels.

    The rules are those for files: orientation, transparency, and depths of more than 8 bits. Limits on the number of
    pixels are Pillow's.

    Args:
        picture: an image of Pillow, or uint8 levels (height, width, 3) or (height, width).
        what: the name of the picture in error messages.

    Raises:
        DataError: when it has no pixels, can't be decoded, or has 32 bits per channel.
    """
    from PIL import Image, ImageOps

    if isinstance(picture, np.ndarray):
        if not picture.size:
            raise DataError(f"{what} has no pixels. Received: uint8 {picture.shape}")
        return Image.fromarray(picture).convert("RGB")
    with pillow(what):
        if not (picture.width and picture.height):
            raise DataError(f"{what} has no pixels. Received: {picture.width} x {picture.height}")
        with _one_opened:
            picture.load()
        if picture.format == "TIFF":  # Pillow turns it upright when it loads it, and a copy would lose its tags.
            return _rgb(picture, b"", what)
        upright = picture.copy()
        ImageOps.exif_transpose(upright, in_place=True)
        return _rgb(upright, b"", what)


# Two threads must not load the same image of a caller.
_one_opened = threading.Lock()


class _PillowSettings:
    """Changes Pillow's global settings while at least one thread is inside.

    Pillow's warnings (odd metadata, large pictures) are ignored, its pixel limit is replaced by those above, and every
    TIFF is read by libtiff. Pillow's own TIFF reader mixes up the channels of 16-bit RGB in separate planes, and can't
    read subsampled YCbCr.

    The settings are shared by all threads. So the first thread to enter sets them, and the last one to leave restores
    them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restoring = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._set()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restoring.close()

    def _set(self) -> None:
        from PIL import Image, TiffImagePlugin

        self._restoring.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")
        self._replace(Image, "MAX_IMAGE_PIXELS", None)
        self._replace(TiffImagePlugin, "READ_LIBTIFF", True)
        self._replace(TiffImagePlugin, "OPEN_INFO", tiff.kinds())

    def _replace(self, module: Any, name: str, value: object) -> None:
        self._restoring.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)


_PILLOW_SETTINGS = _PillowSettings()


@contextmanager
def pillow(what: str) -> Iterator[None]:
    """Apply the Pillow settings, and turn any exception into a DataError about the picture ``what``.

    Raises:
        FileAccessError: when memory runs out, so that the picture may be intact.
        DataError: after any other exception.
    """
    try:
        with _PILLOW_SETTINGS:
            yield
    except DataError:
        raise
    except MemoryError as error:
        raise FileAccessError(
            f"{what} can't be decoded: this machine has too little free memory. Close other programs, then try again."
            " If it happens again, remove the picture."
        ) from error
    except Exception as error:
        # Damaged files make decoders raise nearly anything: OSError, SyntaxError, struct.error, ValueError, ...
        raise DataError(f"{what} is a damaged or truncated image: {str(error) or type(error).__name__}") from error


@cache
def _register_heic() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _formats(content: bytes) -> tuple[str, ...]:
    """Return Pillow's names of the formats that ``content`` may have.

    HEIC's reader is imported for the first picture that may need it, because that takes 50 ms.
    """
    if content[4:8] != b"ftyp" or not has_heic():
        return _FORMATS
    _register_heic()
    return (*_FORMATS, "HEIF")


@contextmanager
def _opened(content: bytes, what: str) -> Iterator[Any]:
    """Open a picture and read its header, without its pixels.

    Raises:
        DataError: when its format is not supported.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content), formats=_formats(content))
    except Exception as error:
        # KeyError: a TIFF compression that Pillow does not know.
        if isinstance(error, UnidentifiedImageError | KeyError):
            raise DataError(_why_not_opened(content, what)) from error
        raise
    with image:
        yield image


def _why_not_opened(content: bytes, what: str) -> str:
    brand = content[8:12] if content[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS:
        return f"{what} is a damaged HEIC image." if has_heic() else f"{what} is a HEIC image. {heic_remedy()}"
    if brand in _AVIF_BRANDS:
        return f"{what} is an AVIF image, which is not supported. Save it as PNG or JPEG."
    if tiff.is_tiff(content) and (reason := tiff.refusal(content, what)):
        return reason
    return f"{what} is not a {_NAMES} image."


def _shrink_on_load(image: Any, shorter: int) -> None:
    """Make Pillow decode a JPEG with too many pixels at a fraction of its size."""
    if image.format not in ("JPEG", "MPO") or not PIXEL_LIMIT < image.width * image.height <= JPEG_PIXEL_LIMIT:
        return
    if image.info.get("progressive") and _coefficient_bytes(image) > _COEFFICIENT_LIMIT:
        return
    # Half the size is always within the limit.
    side = min(shorter, min(image.size) // 2)
    image.draft(None, (side, side))


def _coefficient_bytes(image: Any) -> float:
    """Return the bytes that libjpeg needs for the coefficients of a progressive JPEG."""
    factors = [(across, down) for _, across, down, _ in image.layer]  # The sampling factors of each channel.
    samples = sum(across * down for across, down in factors)
    unit = max(across for across, _ in factors) * max(down for _, down in factors)
    return 2 * image.width * image.height * samples / unit


def _checked_pixels(image: Any, content: bytes, what: str) -> int:
    """Return the number of pixels to decode.

    Raises:
        DataError: when the picture has too many pixels, in total or for the size of its file.
    """
    width, height = tiff.decoded_size(image) if image.format == "TIFF" else image.size
    pixels = width * height
    if pixels > PIXEL_LIMIT:
        limit = f"{PIXEL_LIMIT:,}"
        if image.format in ("JPEG", "MPO"):
            limit += f" ({JPEG_PIXEL_LIMIT:,} in a baseline JPEG)"
        raise DataError(
            f"{what} has too many pixels: more than {limit} are refused. Save it at a smaller size."
            f" Received: {width} x {height} pixels"
        )
    if pixels > max(MANY_PIXELS, PIXELS_PER_BYTE * len(content)):
        raise DataError(
            f"{what} claims {width} x {height} pixels in {len(content):,} bytes: it is damaged, or a"
            " decompression bomb."
        )
    return int(pixels)


def _refuse_many_scans(image: Any, content: bytes, what: str) -> None:
    """Raise a DataError if a JPEG has so many scans that a small file takes minutes."""
    if image.format not in ("JPEG", "MPO"):
        return
    # Compressed data have a zero byte after 0xFF.
    scans = content.count(b"\xff\xda")
    if scans > _SCANS and scans * image.width * image.height > _SCANNED_PIXELS:
        raise DataError(
            f"{what} has too many scans for its size: more than {_SCANS} are refused in a large JPEG. Save it again."
            f" Received: {scans:,} scans of {image.width} x {image.height} pixels"
        )


def _rgb(image: Any, content: bytes, what: str) -> "Image":
    """Return the decoded ``image`` as 8-bit RGB, with transparent pixels blended with white."""
    if image.mode.startswith("I;16"):
        return _from_deep_grey(image)
    if image.mode in ("I", "F"):
        raise DataError(f"{what} has 32 bits per channel, whose range is not defined. Save it with 8 or 16 bits.")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.format == "PNG" and image.mode in ("L", "RGB") and "transparency" in image.info:
        return _from_keyed_png(image, content)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    # 32-bit BMP files, and TIFF files with an unnamed fourth sample, often leave the fourth channel empty.
    doubtful = image.format == "BMP" or (image.format == "TIFF" and tiff.has_doubtful_alpha(image))
    if doubtful and "A" in image.getbands() and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return _on_white(image)


def _from_deep_grey(image: Any) -> "Image":
    """Return a grey image of 10 to 16 bits scaled to 8 bits. Pillow's own conversion clips at 255."""
    from PIL import Image

    if image.format == "TIFF":
        levels, largest = tiff.grey_levels(image)
    else:
        levels, largest = np.asarray(image), 65535
    key = image.info.get("transparency")
    scaled = np.empty(levels.shape, np.uint8)
    for rows in _strips(image):
        strip = levels[rows].astype(np.uint32)
        scaled[rows] = (strip * 255 + largest // 2) // largest
        if key is not None:
            scaled[rows][strip == key] = 255
    del levels
    return Image.fromarray(scaled).convert("RGB")


def _from_lab(image: Any) -> "Image":
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # It is None only where the picture is converted in place.
    return converted


def _from_keyed_png(image: Any, content: bytes) -> "Image":
    """Return a PNG that has one transparent level or colour, given at the file's bit depth."""
    depth, key = content[24], image.info["transparency"]
    if depth == 16:
        return _on_white(_keyed_16_bit_rgb(image, content, key))
    image.info["transparency"] = key * 255 // ((1 << depth) - 1) if image.mode == "L" else key
    return _on_white(image.convert("RGBA"))


def _keyed_16_bit_rgb(image: Any, content: bytes, key: tuple[int, int, int]) -> "Image":
    """Return a 16-bit RGB image with the transparent colour ``key`` as RGBA. ``image`` has the upper 8 bits."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=("PNG",)) as lower:
        # Read as little-endian, the lower 8 bits take the place of the upper ones.
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        lower.load()
        ImageOps.exif_transpose(lower, in_place=True)
        opaque = np.empty((image.height, image.width), bool)
        for rows in _strips(image):
            box = (0, rows.start, image.width, rows.stop)
            levels = np.asarray(image.crop(box)).astype(np.uint16) << 8 | np.asarray(lower.crop(box))
            opaque[rows] = (levels != np.array(key, np.uint16)).any(axis=-1)
    rgba = image.convert("RGB")
    rgba.info.pop("transparency", None)
    rgba.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return rgba


def _on_white(image: "Image") -> "Image":
    """Return an ``image`` of any mode with transparency as RGB, blended with white."""
    from PIL import Image

    on_white = Image.new("RGB", image.size)
    for rows in _strips(image):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        # Pillow can't convert La to RGBA.
        rgba = strip.convert("LA").convert("RGBA") if strip.mode == "La" else strip.convert("RGBA")
        on_white.paste(
            Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"), (0, rows.start)
        )
    return on_white


def _strips(image: "Image") -> Iterator[slice]:
    """Yield slices of rows of about a million pixels, so that intermediate results stay small."""
    step = max(1, _STRIP_PIXELS // image.width)
    return (slice(top, min(top + step, image.height)) for top in range(0, image.height, step))
