"""Predictions as blocks of a table, printed as they come, and as CSV rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from cifarnet.reports.text import percent, printable, printable_lines

_BAR = 20
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_NAME_LIMIT = 60
_CLASS_LIMIT = 20
_OTHER_COLUMNS = 2 + 2 + _BAR + 2 + 7  # two blanks between columns; a percentage such as " 93.1 %".

Pairs = Sequence[tuple[str, float]]
"""(class, probability), likeliest first."""


@dataclass(frozen=True)
class Columns:
    """Widths that all blocks of one output share, in terminal columns: they are printed before the last is known."""

    name: int
    class_name: int

    @classmethod
    def fitting(cls, names: Iterable[str], class_names: Iterable[str], width: int) -> Self:
        """Widths for pictures of these ``names`` so that blocks fit ``width`` columns; longer names are folded."""
        class_name = min(_CLASS_LIMIT, _longest(class_names))
        return cls(max(10, min(_longest(names), _NAME_LIMIT, width - class_name - _OTHER_COLUMNS)), class_name)


def _longest(texts: Iterable[str]) -> int:
    return max((cell_len(printable(text)) for text in texts), default=1)


REJECTION = "none of these, probably"


_NAMED_CLASSES = 10


def network_line(name: str, title: str, class_names: Sequence[str]) -> str:
    """Return the line on the network that answers: ``resnet20 (ResNet-20), 10 classes: airplane, ...``.

    ``name`` is the user's name of the weights and ``title`` the network's name. At most ten classes are named.
    """
    named = ", ".join(class_names[:_NAMED_CLASSES]) + (", ..." if len(class_names) > _NAMED_CLASSES else "")
    return printable(f"{name} ({title}), {len(class_names)} classes: {named}")


def prediction_block(image: str, predictions: Pairs, columns: Columns, rejected: bool | None = None) -> Table:
    """One picture: its name, whether it is ``rejected``, and a line with a bar per class."""
    block = Table.grid(padding=(0, 2), pad_edge=False)
    block.add_column(width=columns.name, overflow="fold")
    block.add_column(width=columns.class_name, overflow="ellipsis", no_wrap=True)
    block.add_column(width=_BAR)
    block.add_column(width=7, justify="right")
    classes = Text("\n".join(printable(name) for name, _ in predictions))
    bars = Text("\n".join(bar(share, _BAR) for _, share in predictions), style="cyan")
    shares = Text("\n".join(percent(share, 1) for _, share in predictions))
    name = Text(printable(image), style="bold")
    if rejected:
        name.append(f"\n{REJECTION}", style="not bold yellow")
    block.add_row(name, classes, bars, shares)
    return block


def bar(share: float, width: int) -> str:
    """A bar of at most ``width`` columns for a ``share`` of 0 to 1, to an eighth of a column."""
    full, eighths = divmod(round(share * width * 8), 8)
    return "█" * full + _EIGHTHS[eighths]


def csv_header(top_k: int, reject: bool = False) -> list[str]:
    """The columns of ``cifarnet predict --csv``: image, class_1, probability_1, ..., rejected where asked, error."""
    classes = [f"{column}_{k}" for k in range(1, top_k + 1) for column in ("class", "probability")]
    return ["image", *classes, *(["rejected"] if reject else []), "error"]


def csv_row(image: str, predictions: Pairs, rejected: Sequence[str], error: str | None, top_k: int) -> list[str]:
    """One picture under ``csv_header``, ``rejected`` empty where not asked; fields without a value are empty.

    What is not printable is escaped, but for line breaks, which CSV puts in quotes.
    """
    values = [value for name, share in predictions for value in (name, f"{share:.6f}")] or [""] * (2 * top_k)
    return [printable_lines(value) for value in (image, *values, *rejected, error or "")]
