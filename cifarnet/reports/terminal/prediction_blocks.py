"""Predictions as blocks of a table for a terminal, and as rows of CSV."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from cifarnet.plurals import counted
from cifarnet.printable import printable, printable_lines
from cifarnet.reports.text import REJECTION, percent

_BAR_LIMIT = 20
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_LEAST_NAME, _NAME_LIMIT = 10, 60
_CLASS_LIMIT = 20
_NAMED_CLASSES = 10
_GAP = 2
_SHARE = 7  # Such as "100.0 %".

Pairs = Sequence[tuple[str, float]]
"""(class, probability), likeliest first."""


@dataclass(frozen=True)
class Columns:
    """Widths in terminal columns, which all blocks of an output share.

    Blocks are printed before the last prediction is known, so the widths are computed from the names alone.
    """

    name: int
    class_name: int
    bar: int

    @classmethod
    def fitting(cls, names: Iterable[str], class_names: Iterable[str], width: int) -> Self:
        """Return the widths with which blocks of pictures of these ``names`` fit ``width`` columns.

        Longer names are folded. On a narrow terminal first the bars become shorter and vanish, then the names of
        classes are cut. At 30 columns a class still has 9 of them, and its percentage.
        """
        class_name = min(_CLASS_LIMIT, _longest(class_names), max(1, width - _LEAST_NAME - _SHARE - 2 * _GAP))
        rest = width - class_name - _SHARE - 3 * _GAP
        name = max(_LEAST_NAME, min(_longest(names), _NAME_LIMIT, rest - _BAR_LIMIT))
        return cls(name, class_name, max(0, min(_BAR_LIMIT, rest - name)))


def _longest(texts: Iterable[str]) -> int:
    return max((cell_len(printable(text)) for text in texts), default=1)


def network_line(name: str, title: str, class_names: Sequence[str]) -> str:
    """Return the line that names the network: ``resnet20 (ResNet-20), 10 classes: airplane, ...``.

    ``name`` is the user's name of the weights and ``title`` the network's name. At most ten classes are named.
    """
    named = ", ".join(class_names[:_NAMED_CLASSES]) + (", ..." if len(class_names) > _NAMED_CLASSES else "")
    return printable(f"{name} ({title}), {counted(len(class_names), 'class')}: {named}")


def prediction_block(image: str, predictions: Pairs, columns: Columns, rejected: bool | None = None) -> Table:
    """Return the block of a picture: its name, whether it is ``rejected``, and a line with a bar for each class."""
    block = Table.grid(padding=(0, _GAP), pad_edge=False)
    block.add_column(width=columns.name, overflow="fold")
    # A line that wrapped would move the lines below it away from their classes.
    block.add_column(width=columns.class_name, overflow="ellipsis", no_wrap=True)
    cells = [Text("\n".join(printable(name) for name, _ in predictions))]
    if columns.bar:
        block.add_column(width=columns.bar, no_wrap=True)
        cells.append(Text("\n".join(bar(share, columns.bar) for _, share in predictions), style="cyan"))
    block.add_column(width=_SHARE, justify="right", no_wrap=True)
    cells.append(Text("\n".join(percent(share, 1) for _, share in predictions)))
    name = Text(printable(image), style="bold")
    if rejected:
        name.append(f"\n{REJECTION}", style="not bold yellow")
    block.add_row(name, *cells)
    return block


def bar(share: float, width: int) -> str:
    """Return a bar for a ``share`` of 0 to 1, of at most ``width`` columns, exact to an eighth of a column."""
    full, eighths = divmod(round(share * width * 8), 8)
    return "█" * full + _EIGHTHS[eighths]


def csv_header(top_k: int, reject: bool = False) -> list[str]:
    """Return the columns of ``cifarnet predict --csv``.

    They are image, class_1, probability_1, ..., rejected (with ``reject``) and error.
    """
    classes = [f"{column}_{k}" for k in range(1, top_k + 1) for column in ("class", "probability")]
    return ["image", *classes, *(["rejected"] if reject else []), "error"]


def csv_row(image: str, predictions: Pairs, rejected: Sequence[str], error: str | None, top_k: int) -> list[str]:
    """Return the row of a picture under ``csv_header``; fields without a value are empty.

    ``rejected`` is the value of that column, or empty where there is no such column. Characters that are not printable
    are escaped, except line breaks, which CSV quotes.
    """
    values = [value for name, share in predictions for value in (name, f"{share:.6f}")] or [""] * (2 * top_k)
    return [printable_lines(value) for value in (image, *values, *rejected, error or "")]
