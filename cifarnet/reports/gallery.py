"""The images behind an evaluation's numbers, for a page: the confusion matrix whose cells open them, and the mistakes.

Plain data throughout: ``images`` uint8 (n, height, width, 3), ``labels`` and ``predicted`` integers (n,), and
``confidence`` (n,), the probability of the predicted class. The images that are shown lie in one JPEG, a sprite sheet.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np

from cifarnet.evaluation.metrics import surest_mistakes
from cifarnet.reports.page import text
from cifarnet.reports.text import percent, printable

MISTAKES = 50
_CELL_LIMIT = 100
# A matrix of more classes is too large for a page to show.
_CLASS_LIMIT = 40
# With more the page takes longer than a second to open on a phone; at 0.8 kB each they weigh some 2.5 MB.
_IMAGE_LIMIT = 3000
_COLUMNS = 50


@dataclass(frozen=True)
class Gallery:
    """Answers to show: see the module for the arrays; ``names`` are the classes'.

    ``files`` names the file of each image; without it images are named by their row, from 0.
    """

    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    names: Sequence[str]
    files: Sequence[str] | None = None

    @cached_property
    def _cells(self) -> dict[tuple[int, int], np.ndarray]:
        """All rows of every pair of true and predicted class that the matrix shows, the surest first."""
        order = np.lexsort((-self.confidence, self.predicted, self.labels))
        pairs = np.stack([self.labels[order], self.predicted[order]], axis=1)
        begins = np.flatnonzero(np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)])
        return {
            (int(pairs[begin][0]), int(pairs[begin][1])): rows
            for begin, rows in zip(begins, np.split(order, begins[1:]), strict=True)
            if {*pairs[begin].tolist()} <= {*self._classes}
        }

    @cached_property
    def _mistakes(self) -> np.ndarray:
        return surest_mistakes(self.labels, self.predicted, self.confidence, MISTAKES)

    @cached_property
    def _limit(self) -> int:
        """Images to show of a cell, so that all of them are not too many."""
        limit = _CELL_LIMIT
        while limit > 1 and sum(min(len(rows), limit) for rows in self._cells.values()) > _IMAGE_LIMIT:
            limit -= 1
        return limit

    @cached_property
    def _places(self) -> dict[int, int]:
        """The place in the sprite sheet of every row that is shown."""
        shown = np.concatenate([self._mistakes, *(rows[: self._limit] for rows in self._cells.values())])
        return {int(row): place for place, row in enumerate(dict.fromkeys(shown.tolist()))}

    @property
    def style(self) -> str:
        """The style sheet that holds the images; it must stand on the page once."""
        from PIL import Image

        height, width = self.images.shape[1:3]
        lines = -(-len(self._places) // _COLUMNS)
        sheet = np.zeros((lines * _COLUMNS, height, width, 3), np.uint8)
        sheet[: len(self._places)] = self.images[list(self._places)]
        sheet = sheet.reshape(lines, _COLUMNS, height, width, 3).swapaxes(1, 2)
        file = io.BytesIO()
        Image.fromarray(sheet.reshape(lines * height, _COLUMNS * width, 3)).save(
            file, "JPEG", quality=92, subsampling=0
        )
        data = base64.b64encode(file.getvalue()).decode()
        return (
            f"<style>.tile{{background-image:url(data:image/jpeg;base64,{data});"
            f"background-size:{100 * _COLUMNS}% {100 * lines}%}}</style>"
        )

    def _position(self, row: int) -> str:
        lines = -(-len(self._places) // _COLUMNS)
        line, column = divmod(self._places[row], _COLUMNS)
        return f"{100 * column / (_COLUMNS - 1):.4f}% {100 * line / max(1, lines - 1):.4f}%"

    def _name(self, row: int) -> str:
        return printable(self.files[row]) if self.files else f"image {row}"

    def mistakes(self) -> str:
        """The wrong answers that the network was surest of, as pictures."""
        if not len(self._mistakes):
            return "<p>There are none.</p>"
        return '<ul class="gallery">' + "".join(map(self._mistake, self._mistakes.tolist())) + "</ul>"

    def _mistake(self, row: int) -> str:
        true, said = (text(self.names[each]) for each in (self.labels[row], self.predicted[row]))
        sure, name = percent(float(self.confidence[row]), 1), text(self._name(row))
        return (
            f'<li><span class="tile" role="img" aria-label="{name}: {true}, taken for {said} at {sure}"'
            f' style="background-position:{self._position(row)}"></span>'
            f"<b>{said}</b> {sure}<br>is {true}<br>{name}</li>"
        )

    @cached_property
    def _classes(self) -> list[int]:
        """The classes that the matrix shows: all, or where they are too many those with the most wrong answers."""
        if len(self.names) <= _CLASS_LIMIT:
            return list(range(len(self.names)))
        wrong = np.bincount(self.labels[self.predicted != self.labels], minlength=len(self.names))
        return sorted(np.argsort(-wrong, kind="stable")[:_CLASS_LIMIT].tolist())

    def confusion(self) -> str:
        """The confusion matrix (rows: true, columns: predicted) as a table; a click on a count opens its images."""
        totals = np.bincount(self.labels, minlength=len(self.names))
        head = "".join(f'<th scope="col"><span>{text(self.names[said])}</span></th>' for said in self._classes)
        lines = []
        for true in self._classes:
            cells = "".join(self._cell(true, said, int(totals[true])) for said in self._classes)
            lines.append(f'<tr><th scope="row">{text(self.names[true])}</th>{cells}</tr>')
        some = ""
        if len(self._classes) < len(self.names):
            some = f" Of {len(self.names):,} classes, the {len(self._classes)} with the most wrong answers."
        opened = {
            f"{true},{said}": {
                "images": len(rows),
                "shown": [
                    [self._name(row), self._position(row), percent(float(self.confidence[row]), 1)]
                    for row in rows[: self._limit].tolist()
                ],
            }
            for (true, said), rows in self._cells.items()
        }
        # "<" could end the element: a class may have any name.
        data = json.dumps({"names": list(map(printable, self.names)), "cells": opened}).replace("<", "\\u003c")
        return (
            f"<p>Rows: true class, columns: predicted. A count opens its images.{some}</p>"
            f'<div class="wide"><table class="confusion"><thead><tr><td></td>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>"
            '<dialog id="images" aria-labelledby="images-title"><h3 id="images-title"></h3>'
            '<button type="button" class="close">Close</button><ul class="gallery"></ul></dialog>'
            f'<script type="application/json" id="images-data">{data}</script>'
        )

    def _cell(self, true: int, said: int, total: int) -> str:
        count = len(self._cells.get((true, said), ()))
        if not count:
            return "<td><span>·</span></td>"
        # By the root: errors are small shares, which a linear scale would leave blank.
        strength = sqrt(count / total)
        kind = "hit" if true == said else "miss"
        label = text(f"{self.names[true]} taken for {self.names[said]}: {count} images")
        return (
            f'<td><button type="button" class="{kind}{" strong" if strength > 0.6 else ""}" data-cell="{true},{said}"'
            f' style="--share:{100 * strength:.0f}%" aria-label="{label}">{count}</button></td>'
        )
