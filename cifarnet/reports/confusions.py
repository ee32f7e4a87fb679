"""The most frequent errors of a confusion matrix (rows: true class, columns: predicted class)."""

from collections.abc import Sequence

from cifarnet.printable import printable
from cifarnet.reports.text import percent


def worst_confusions(matrix: Sequence[Sequence[int]], count: int = 3) -> list[tuple[int, int, int]]:
    """Return the ``count`` most frequent errors that occur, as (true class, predicted class, images).

    The error with the most images comes first; ties are in the order of the classes.
    """
    errors = [
        (true, predicted, int(images))
        for true, row in enumerate(matrix)
        for predicted, images in enumerate(row)
        if images and true != predicted
    ]
    return sorted(errors, key=lambda error: -error[2])[:count]


def worst_errors(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[str]:
    """Return a sentence for each of the three most frequent errors, the most frequent first."""
    return [
        f"{printable(names[true])} taken for {printable(names[predicted])}:"
        f" {images:,} of {sum(matrix[true]):,} ({percent(images / sum(matrix[true]), 1)})"
        for true, predicted, images in worst_confusions(matrix)
    ] or ["No image is taken for one of another class."]
