"""A picture of training images by class, before and after augmentation."""

from collections.abc import Sequence

import numpy as np

from cifarnet.plurals import counted
from cifarnet.printable import printable
from cifarnet.reports.figures.canvas import LINE, PAPER, enlarged, font, png, write

CELL = 64  # Side of an image in pixels.
MOST_CLASSES = 100

_MARGIN = 16
_GAP = 2
_NAME_LIMIT = 160  # Pixels.


def grid_png(
    class_names: Sequence[str], raw: Sequence[np.ndarray], augmented: Sequence[np.ndarray], recipe: str
) -> bytes:
    """Return a PNG file with a row for each class: its images on the left, the same images augmented on the right.

    At most ``MOST_CLASSES`` rows are drawn; a last line gives the number of the others.

    Args:
        class_names: the classes.
        raw: an array uint8 (n, size, size, 3) for each class.
        augmented: the same images after augmentation.
        recipe: the name of the recipe that augmented them.
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
        line = f"and {len(class_names) - drawn:,} more of {counted(len(class_names), 'class')}"
        write(draw, (left, bottom - LINE), line, 2 * block + _MARGIN)
    return png(canvas)
