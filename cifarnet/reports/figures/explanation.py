"""The picture of an explanation: the Grad-CAM map over the picture, the network's view and its answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cifarnet.reports.figures.canvas import FAINT, INK, LINE, PAPER, enlarged, fitting, font, png, write
from cifarnet.reports.text import percent

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

VIEW_SIDE = 256
MOST_CLASSES = 10
_MARGIN = 16
_BAR = 6  # Height of a bar in pixels.
_OPACITY = 0.6


def explanation_png(
    name: str,
    predictions: Sequence[tuple[str, float]],
    picture: np.ndarray,
    heat: np.ndarray,
    view: np.ndarray,
) -> bytes:
    """Return a PNG file of a picture with its map, and the network's view and answer beside or below it.

    Args:
        name: the name of the picture.
        predictions: (class, probability) pairs, the likeliest first; at most ``MOST_CLASSES`` are written.
        picture: uint8 (height, width, 3).
        heat: the map, float (height, width), from 0 to 1; NaN where the network does not see the picture.
        view: what the network sees, uint8 (size, size, 3).
    """
    from PIL import Image, ImageDraw

    predictions = predictions[:MOST_CLASSES]
    height, width = heat.shape
    below = width >= 2 * height
    answer_height = (2 * len(predictions) + 4) * LINE
    side = VIEW_SIDE + LINE + _MARGIN
    right = 2 * VIEW_SIDE + _MARGIN if below else VIEW_SIDE
    column = max(side, answer_height) if below else side + answer_height
    top = _MARGIN + LINE + _MARGIN // 2
    if below:
        size = max(width, right) + 2 * _MARGIN, top + height + _MARGIN + column + _MARGIN
        view_at = _MARGIN, top + height + _MARGIN
        answer_at = view_at[0] + VIEW_SIDE + _MARGIN, view_at[1]
    else:
        size = width + right + 3 * _MARGIN, top + max(height, column) + _MARGIN
        view_at = width + 2 * _MARGIN, top
        answer_at = view_at[0], view_at[1] + side
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    write(draw, (_MARGIN, _MARGIN), name, size[0] - 2 * _MARGIN, bold=True)
    canvas.paste(overlay(picture, heat), (_MARGIN, top))
    canvas.paste(enlarged(view, VIEW_SIDE, VIEW_SIDE), view_at)
    caption = f"What the network sees: {view.shape[1]} x {view.shape[0]}"
    write(draw, (view_at[0], view_at[1] + VIEW_SIDE + 4), caption, VIEW_SIDE)
    _draw_answer(canvas, draw, answer_at, predictions, bool(np.nanmax(heat, initial=0) > 0))
    return png(canvas)


def overlay(picture: np.ndarray, heat: np.ndarray) -> "Image":
    """Return ``picture`` uint8 (height, width, 3) with ``heat`` (height, width) in colours over it.

    Where ``heat`` is NaN, the picture has its own colours, and a line surrounds the rest.
    """
    from PIL import Image, ImageDraw

    seen = ~np.isnan(heat)
    colours = _colours(np.where(seen, heat, 0))
    blended = (1 - _OPACITY) * picture + _OPACITY * colours
    pixels = np.where(seen[..., None], np.rint(blended).astype(np.uint8), picture)
    image = Image.fromarray(pixels)
    if not seen.all() and seen.any():
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
        ImageDraw.Draw(image).rectangle(box, outline="white", width=2)
    return image


def _colours(heat: np.ndarray) -> np.ndarray:
    """Return ``heat`` (...) of 0 to 1 as colours, float (..., 3) of 0 to 255, from dark to bright.

    Colour-blind people can tell them apart.
    """
    import matplotlib

    return 255 * matplotlib.colormaps["inferno"](heat)[..., :3]


def _draw_answer(
    canvas: "Image",
    draw: "ImageDraw",
    place: tuple[int, int],
    predictions: Sequence[tuple[str, float]],
    found: bool,
) -> None:
    """Draw the classes with their probabilities, and the legend of the map."""
    left, y = place
    for row, (name, share) in enumerate(predictions):
        probability = percent(share, 1)
        text_width = font(row == 0).getlength(probability)
        write(draw, (left, y), name, VIEW_SIDE - text_width - _MARGIN, bold=row == 0)
        draw.text((left + VIEW_SIDE - text_width, y), probability, fill=INK, font=font(row == 0))
        bar = y + LINE + 2
        draw.rectangle((left, bar, left + VIEW_SIDE - 1, bar + _BAR), fill="#e6e6e6")
        if filled := round(share * VIEW_SIDE):
            draw.rectangle((left, bar, left + filled - 1, bar + _BAR), fill="#0072B2")
        y += 2 * LINE
    y += LINE // 2
    if not found:
        for line in ("No part of the picture", fitting(f"supports {predictions[0][0]}.", VIEW_SIDE)):
            draw.text((left, y), line, fill=FAINT, font=font())
            y += LINE
        return
    draw.text((left, y), fitting(f"Grad-CAM for {predictions[0][0]}", VIEW_SIDE), fill=FAINT, font=font())
    scale = np.broadcast_to(_colours(np.linspace(0, 1, VIEW_SIDE)), (12, VIEW_SIDE, 3)).astype(np.uint8)
    canvas.paste(enlarged(scale, VIEW_SIDE, 12), (left, y + LINE + 2))
    most = "most support"
    draw.text((left, y + LINE + 16), "no support", fill=FAINT, font=font())
    draw.text((left + VIEW_SIDE - font().getlength(most), y + LINE + 16), most, fill=FAINT, font=font())
