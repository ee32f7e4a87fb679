"""Training images by class, as they are and as training shows them, side by side in one picture."""

from collections.abc import Sequence

import numpy as np

from cifarnet.reports.figures.canvas import LINE, PAPER, enlarged, font, png, write
from cifarnet.reports.text import printable

CELL = 64  # side of an image, pixels
MOST_CLASSES = 100

_MARGIN = 16
_GAP = 2
_NAME_LIMIT = 160  # pixels


def grid_png(
    class_names: Sequence[str], raw: Sequence[np.ndarray], augmented: Sequence[np.ndarray], recipe: str
) -> bytes:
    """A PNG file with a row of images for each class: ``raw`` ones left, the same ones ``augmented`` right.

    Both hold an array uint8 (n, size, size, 3) for each class; ``recipe`` is the name of what augmented them. Only the
    first ``MOST_CLASSES`` are drawn, and a last line tells how many there are.
    """
    from PIL import Image, ImageDraw

    drawn = min(len(class_names), MOST_CLASSES)
    name_width = min(_NAME_LIMIT, max(font().getlength(printable(name)) for name in class_names[:drawn]))
    columns = max(1, *(len(images) for images in raw[:drawn]))
    block = columns * (CELL + _GAP) - _GAP
    left = round(_MARGIN + name_width + _MARGIN)
    right = left + block + _MARGIN
    top = _MARGIN + LINE + _GAP
    bottom = top + drawn * (CELL + _GAP) - _GAP + (LINE + _GAP if drawn < len(class_names) else 0)
    canvas = Image.new("RGB", (right + block + _MARGIN, bottom + _MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    write(draw, (left, _MARGIN), "Raw", block, bold=True)
    write(draw, (right, _MARGIN), f"Augmented: {recipe}", block, bold=True)
    for row in range(drawn):
        y = top + row * (CELL + _GAP)
        write(draw, (_MARGIN, y + (CELL - LINE) // 2), class_names[row], name_width)
        for x, images in ((left, raw[row]), (right, augmented[row])):
            for column, image in enumerate(images):
                canvas.paste(enlarged(image, CELL, CELL), (x + column * (CELL + _GAP), y))
    if drawn < len(class_names):
        told = f"and {len(class_names) - drawn:,} more of {len(class_names):,} classes"
        write(draw, (left, bottom - LINE), told, 2 * block + _MARGIN)
    return png(canvas)
