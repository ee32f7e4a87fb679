"""Drawing with Pillow: a font, text that fits, PNG files and thumbnails.

Pictures of images are drawn with Pillow rather than matplotlib, which would resample their pixels.
"""

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifarnet.printable import printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

INK, FAINT, PAPER = "#222222", "#595959", "white"
TEXT_SIZE = 14
LINE = 20
"""Height of a line of text in pixels."""


@cache
def font(bold: bool = False, size: int = TEXT_SIZE) -> "FreeTypeFont":
    """Return DejaVu Sans, which comes with matplotlib, at ``size`` pixels."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    # The basic layout engine: Raqm, which not every Pillow has, draws other pixels.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def fitting(text: str, width: float, bold: bool = False) -> str:
    """Return ``text`` as one line, cut with an ellipsis where it is wider than ``width`` pixels."""
    text = printable(text)
    if font(bold).getlength(text) <= width:
        return text
    while text and font(bold).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def write(draw: "ImageDraw", place: tuple[float, float], text: str, width: float, *, bold: bool = False) -> None:
    """Write ``text`` into ``width`` pixels with its top left corner at ``place`` (x, y)."""
    draw.text(place, fitting(text, width, bold), fill=INK, font=font(bold))


def enlarged(pixels: np.ndarray, width: int, height: int) -> "Image":
    """Return uint8 ``pixels`` (height, width, 3) as a picture of ``width`` x ``height``, with pixels as rectangles.

    Pictures of more pixels are reduced.
    """
    from PIL import Image

    is_larger = pixels.shape[0] > height or pixels.shape[1] > width
    kind = Image.Resampling.LANCZOS if is_larger else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize((width, height), kind)


def png(picture: "Image") -> bytes:
    """Return the content of a PNG file of ``picture``."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def thumbnail(picture: "Image", longest: int = 224) -> bytes:
    """Return the content of a JPEG file of ``picture`` whose longer side has about ``longest`` pixels.

    Large pictures are shrunk; small ones are enlarged with pixels as squares.
    """
    from PIL.Image import Resampling

    scale = longest / max(picture.size)
    if scale < 1:
        picture = picture.resize([max(1, round(scale * side)) for side in picture.size], Resampling.LANCZOS)
    elif scale >= 2:
        picture = picture.resize([int(scale) * side for side in picture.size], Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
