"""The images of an evaluation for a page: the confusion matrix whose cells open their images, and the mistakes.

The images that a page shows lie in one JPEG, a sprite sheet, of which each tile shows a part.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from cifarnet.data.images import resize_images
from cifarnet.printable import printable
from cifarnet.reports.text import percent

MISTAKES = 50
"""The number of mistakes that a page shows."""
_CELL_LIMIT = 100
# A matrix of more classes is too large for a page.
_CLASS_LIMIT = 40
# With more images, a phone needs longer than a second to open the page. At 0.8 kB each, they take about 2.5 MB.
_IMAGE_LIMIT = 3000
_COLUMNS = 50
# The side of a tile in page.css, in pixels.
_TILE = 96


class Tile(NamedTuple):
    """An image: its name, classes and confidence as text, and its position in the sprite sheet."""

    name: str
    true: str
    predicted: str
    confidence: str
    position: str


class Cell(NamedTuple):
    """A cell of the confusion matrix with images; ``key`` is its name in ``Gallery.opened``.

    ``strength`` of the colour is in percent.
    """

    key: str
    predicted: str
    images: int
    strength: int
    style: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: names of the columns, and for each row its name and cells (None where empty)."""

    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell | None]]]


@dataclass(frozen=True)
class Gallery:
    """Images with a network's answers.

    Attributes:
        images: uint8 (n, height, width, 3).
        labels: the true classes, integers (n,).
        predicted: the predicted classes, integers (n,).
        confidence: the probabilities of the predicted classes, (n,).
        mistaken: rows of the wrong answers to show, the most confident first; at most ``MISTAKES`` are shown.
        names: the names of the classes.
        files: the file of each image; without it, images are named by their row, from 0.
    """

    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    mistaken: np.ndarray
    names: Sequence[str]
    files: Sequence[str] | None = None

    @cached_property
    def _cells(self) -> dict[tuple[int, int], np.ndarray]:
        """Rows of each pair of true and predicted class in the matrix, the most confident first."""
        order = np.lexsort((-self.confidence, self.predicted, self.labels))
        pairs = np.stack([self.labels[order], self.predicted[order]], axis=1)
        begins = np.flatnonzero(np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)])
        return {
            (int(pairs[begin][0]), int(pairs[begin][1])): rows
            for begin, rows in zip(begins, np.split(order, begins[1:]), strict=True)
            if {*pairs[begin].tolist()} <= {*self._classes}
        }

    @cached_property
    def _limit(self) -> int:
        """The most images of a cell, so that the cells together have at most ``_IMAGE_LIMIT``."""
        limit = _CELL_LIMIT
        while limit > 1 and sum(min(len(rows), limit) for rows in self._cells.values()) > _IMAGE_LIMIT:
            limit -= 1
        return limit

    @cached_property
    def _places(self) -> dict[int, int]:
        """The place in the sprite sheet of each row that is shown."""
        shown = np.concatenate([self.mistaken[:MISTAKES], *(rows[: self._limit] for rows in self._cells.values())])
        return {int(row): place for place, row in enumerate(dict.fromkeys(shown.tolist()))}

    @property
    def _lines(self) -> int:
        return -(-len(self._places) // _COLUMNS)

    @property
    def style(self) -> str:
        """CSS that gives tiles the sprite sheet as their background."""
        from PIL import Image

        shown = self.images[list(self._places)]
        if max(shown.shape[1:3]) > _TILE:  # Larger ones would make the page as large as the data.
            shown = resize_images(shown, _TILE)
        height, width = shown.shape[1:3]
        lines = self._lines
        sheet = np.zeros((lines * _COLUMNS, height, width, 3), np.uint8)
        sheet[: len(shown)] = shown
        sheet = sheet.reshape(lines, _COLUMNS, height, width, 3).swapaxes(1, 2)
        file = io.BytesIO()
        Image.fromarray(sheet.reshape(lines * height, _COLUMNS * width, 3)).save(
            file, "JPEG", quality=92, subsampling=0
        )
        data = base64.b64encode(file.getvalue()).decode()
        return (
            f".tile{{background-image:url(data:image/jpeg;base64,{data});"
            f"background-size:{100 * _COLUMNS}% {100 * lines}%}}"
        )

    def _position(self, row: int) -> str:
        line, column = divmod(self._places[row], _COLUMNS)
        return f"{100 * column / (_COLUMNS - 1):.4f}% {100 * line / max(1, self._lines - 1):.4f}%"

    def _name(self, row: int) -> str:
        return printable(self.files[row]) if self.files else f"image {row}"

    def mistakes(self) -> list[Tile]:
        """Return the tiles of the wrong answers with the highest confidence."""
        return [
            Tile(
                self._name(row),
                self.names[self.labels[row]],
                self.names[self.predicted[row]],
                percent(float(self.confidence[row]), 1),
                self._position(row),
            )
            for row in self.mistaken[:MISTAKES].tolist()
        ]

    @cached_property
    def _classes(self) -> list[int]:
        """The classes in the matrix: all, or the ``_CLASS_LIMIT`` classes with the most wrong answers.

        Of classes with equally many, those with the most images come first.
        """
        if len(self.names) <= _CLASS_LIMIT:
            return list(range(len(self.names)))
        wrong = np.bincount(self.labels[self.predicted != self.labels], minlength=len(self.names))
        images = np.bincount(self.labels, minlength=len(self.names))
        return sorted(np.lexsort((-images, -wrong))[:_CLASS_LIMIT].tolist())

    def matrix(self) -> Matrix:
        """Return the confusion matrix (rows: true class, columns: predicted class)."""
        totals = np.bincount(self.labels, minlength=len(self.names))
        names = [self.names[label] for label in self._classes]
        rows = [
            (name, [self._cell(true, predicted, int(totals[true])) for predicted in self._classes])
            for true, name in zip(self._classes, names, strict=True)
        ]
        return Matrix(names, rows)

    def _cell(self, true: int, predicted: int, total: int) -> Cell | None:
        count = len(self._cells.get((true, predicted), ()))
        if not count:
            return None
        # The square root makes small shares visible: on a linear scale most errors would be blank.
        strength = sqrt(count / total)
        style = ("hit" if true == predicted else "miss") + (" strong" if strength > 0.6 else "")
        return Cell(f"{true},{predicted}", self.names[predicted], count, round(100 * strength), style)

    def opened(self) -> dict[str, Any]:
        """Return the names of the classes and the images of each cell, as data for the page's script."""
        cells = {
            f"{true},{predicted}": {
                "images": len(rows),
                "shown": [
                    [self._name(row), self._position(row), percent(float(self.confidence[row]), 1)]
                    for row in rows[: self._limit].tolist()
                ],
            }
            for (true, predicted), rows in self._cells.items()
        }
        return {"names": list(map(printable, self.names)), "cells": cells}
