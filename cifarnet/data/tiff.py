"""Corrects how Pillow reads TIFF images, and explains why some are not supported (TIFF revision 6.0)."""

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import DataError

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

_WHITE_IS_ZERO = 0
_UNSIGNED = 1
_CMYK_INKS = 1
# Tag numbers.
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 258, 259, 262, 277
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_COLOUR_MAP, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 320, 332, 338, 339
_UNSPECIFIED = 999  # Pillow treats such an extra sample as alpha.

_REMEDY = "Save it as TIFF or PNG with 8 or 16 bits per channel, in grey or RGB."


@cache
def kinds() -> dict[Any, Any]:
    """Return Pillow's table of TIFF kinds, extended by grey images of 12 and 16 bits for libtiff's decoder."""
    from PIL import TiffImagePlugin

    grey = {
        (order, photometric, (1,), fill_order, (bits,), ()): mode
        for order, words in ((b"II", "I;16"), (b"MM", "I;16B"))
        for photometric in (0, 1)
        for fill_order in (1, 2)
        # Samples of 12 bits are packed the same way in either byte order.
        for bits, mode in ((12, ("I;16", "I;12")), (16, (words, words)))
    }
    return TiffImagePlugin.OPEN_INFO | grey


def is_tiff(content: bytes) -> bool:
    """Return whether ``content`` begins like a TIFF or BigTIFF file."""
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def refusal(content: bytes, what: str) -> str | None:
    """Return why the TIFF ``content`` is not supported; None if its kind is supported, so that it must be damaged."""
    from PIL import TiffImagePlugin

    try:
        tags: Any = TiffImagePlugin.ImageFileDirectory_v2(content[: 8 if b"*" in content[2:4] else 16])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        bits = tags.get(_BITS, (1,))
        compression = tags.get(_COMPRESSION, 1)
        photometric = tags[_PHOTOMETRIC]
    except Exception:  # Damaged tags make Pillow raise nearly anything.
        return None
    received = (
        f"{', '.join(map(str, bits))} bits per sample, SampleFormat {tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0]},"
        f" SamplesPerPixel {tags.get(_SAMPLES, 1)}, PhotometricInterpretation {photometric},"
        f" Compression {compression}"
    )
    return f"{what} is a TIFF image of a kind that can't be read. {_REMEDY} Received: {received}"


def decoded_size(image: "TiffImageFile") -> tuple[int, int]:
    """Return the width and height that need the most memory when decoding ``image``: its own, or those of a tile."""
    width, height = (image.tag_v2.get(tag) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    if isinstance(width, int) and isinstance(height, int):
        return max(image.size, (width, height), key=lambda size: size[0] * size[1])
    return image.size


def prepare(image: "TiffImageFile", what: str) -> None:
    """Correct ``image`` before its pixels are decoded.

    Raises:
        DataError: when its samples are signed or inks other than CMYK.
    """
    tags: Any = image.tag_v2
    if set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED} and image.mode != "F":
        raise DataError(
            f"{what} has signed samples, whose range is not defined. {_REMEDY}"
            f" Received: SampleFormat {tags[_SAMPLE_FORMAT][0]}"
        )
    if tags.get(_INK_SET, _CMYK_INKS) != _CMYK_INKS:
        raise DataError(
            f"{what} has inks other than cyan, magenta, yellow and black. {_REMEDY} Received: InkSet {tags[_INK_SET]}"
        )
    # Some programs write palette colours as 0 to 255 instead of 0 to 65535. libtiff's tools use the same test.
    if image.mode in ("P", "PA") and max(tags[_COLOUR_MAP], default=0) < 256:
        from PIL import ImagePalette

        image.palette = ImagePalette.raw("RGB;L", bytes(tags[_COLOUR_MAP]))


def grey_levels(image: "TiffImageFile") -> tuple[np.ndarray, int]:
    """Return the samples of a grey ``image`` of more than 8 bits, uint16 with 0 for black, and their maximum."""
    tags: Any = image.tag_v2
    levels, largest = np.asarray(image), (1 << tags[_BITS][0]) - 1
    # Pillow inverts only pictures of up to 8 bits.
    return (largest - levels if tags.get(_PHOTOMETRIC, 0) == _WHITE_IS_ZERO else levels), largest


def has_doubtful_alpha(image: "TiffImageFile") -> bool:
    """Return whether Pillow treats a fourth sample as alpha although the file does not declare it."""
    return bool(set(image.tag_v2.get(_EXTRA_SAMPLES, (_UNSPECIFIED,))) == {_UNSPECIFIED})
