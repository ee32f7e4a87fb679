"""Curves of two series, drawn with braille characters or in ASCII."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

TRAINING, HELD_OUT = "cyan", "yellow"

# The bit of each dot of a braille character, by row (from the top) and column; U+2800 has no dots.
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def curve(
    training: Sequence[float | None],
    held_out: Sequence[float | None],
    width: int,
    height: int,
    *,
    logarithmic: bool = False,
    ascii_only: bool,
    coloured: bool,
) -> tuple[list[Text], float, float]:
    """Return ``height`` lines of ``width`` cells, and the values at the bottom and at the top.

    The series have one value for each epoch. Values that are None, not finite or, on a logarithmic scale, not positive
    are left out. Without colours, the held-out series is drawn as circles.
    """
    scale = math.log if logarithmic else float
    both = [
        [(at, scale(value)) for at, value in _points(series) if value > 0 or not logarithmic]
        for series in (training, held_out)
    ]
    values = [value for points in both for _, value in points]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    last = max(1, len(training) - 1, len(held_out) - 1)
    across, down = (1, 1) if ascii_only else (2, 4)
    dots = [_line(points, last, low, high, width * across, height * down) for points in both]
    lines = []
    for y in range(height):
        line = Text()
        for x in range(width):
            mine, other = (_bits(series, x, y, across, down) for series in dots)
            style = (HELD_OUT if other else TRAINING) if coloured else ""
            line.append(_character(mine, other, ascii_only, coloured), style)
        lines.append(line)
    return (lines, math.exp(low), math.exp(high)) if logarithmic else (lines, low, high)


def _points(series: Sequence[float | None]) -> list[tuple[int, float]]:
    return [(at, value) for at, value in enumerate(series) if value is not None and math.isfinite(value)]


def _line(
    points: list[tuple[int, float]], last: int, low: float, high: float, width: int, height: int
) -> set[tuple[int, int]]:
    """Return the dots (column, row from the top) of the line through ``points`` in ``width`` x ``height`` dots."""
    span = high - low
    places = [
        (at / last * (width - 1), (high - value) / span * (height - 1) if span else (height - 1) / 2)
        for at, value in points
    ]
    dots = {(round(x), round(y)) for x, y in places[:1]}
    for (x0, y0), (x1, y1) in pairwise(places):
        steps = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0))))
        for step in range(steps + 1):
            dots.add((round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)))
    return dots


def _bits(dots: set[tuple[int, int]], x: int, y: int, across: int, down: int) -> int:
    return sum(
        _BRAILLE[row][column]
        for row in range(down)
        for column in range(across)
        if (x * across + column, y * down + row) in dots
    )


def _character(training: int, held_out: int, ascii_only: bool, coloured: bool) -> str:
    if held_out and (ascii_only or not coloured):
        return "o"
    if ascii_only:
        return "." if training else " "
    bits = training | held_out
    return chr(0x2800 + bits) if bits else " "
