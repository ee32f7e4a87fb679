"""Named weights as a table for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cifarnet.printable import printable
from cifarnet.reports.text import percent

WIDEST = 100
"""The most characters in a row of the table, even where the terminal is wider."""


@dataclass(frozen=True)
class _Column:
    """A column of the table. Columns with the highest ``rank`` are left out first where not all fit."""

    title: str
    rank: int
    cell: Callable[[Mapping[str, Any]], str]
    justify: Literal["left", "right"] = "left"
    widest: int = 24
    """Longer cells are folded."""


def render_weights(entries: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """Return a table with a row for each entry and the columns that fit into ``width`` characters.

    Args:
        entries: what ``cifarnet weights --json`` prints.
        width: width of the terminal in characters.
    """
    if not entries:
        return Text("No weights have a name yet: cifarnet weights add RUN NAME gives one.")
    columns = list(_COLUMNS)
    while True:
        table = _table(entries, columns)
        if Console(width=10 * WIDEST).measure(table).maximum <= min(width, WIDEST) or len(columns) == 1:
            return table
        columns.remove(max(columns, key=lambda column: column.rank))


def _table(entries: Sequence[Mapping[str, Any]], columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True)
    for column in columns:
        table.add_column(column.title, justify=column.justify, overflow="fold", max_width=column.widest)
    for entry in entries:
        cells = [Text(printable(column.cell(entry))) for column in columns]
        cells[0].stylize("bold")
        if entry["problem"] and len(cells) > 1:
            cells[1] = Text("can't be read", "yellow")
        table.add_row(*cells)
    return table


def _accuracy(entry: Mapping[str, Any]) -> str:
    return _known(entry["accuracy"], percent)


def _interval(entry: Mapping[str, Any]) -> str:
    interval = entry["accuracy_interval"]
    return "" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _test_set(entry: Mapping[str, Any]) -> str:
    return _known(
        entry["test_images"], lambda images: f"{images:,} of {Path(entry['test_set']).name or entry['test_set']}"
    )


def _known(value: Any, text: Callable[[Any], str]) -> str:
    return "unknown" if value is None else text(value)


def _read(cell: Callable[[Mapping[str, Any]], str]) -> Callable[[Mapping[str, Any]], str]:
    """Return ``cell`` for entries whose file can be read, and an empty text for others."""
    return lambda entry: "" if entry["problem"] else cell(entry)


_COLUMNS = (
    _Column("Name", 0, lambda entry: entry["name"], widest=22),
    _Column("Network", 2, _read(lambda entry: entry["network"])),
    _Column("Classes", 3, _read(lambda entry: str(len(entry["classes"]))), "right"),
    _Column("Recipe", 6, _read(lambda entry: entry["recipe"] or "unknown"), widest=12),
    _Column("Accuracy", 1, _read(_accuracy), "right"),
    _Column("95 % interval", 5, _read(_interval), "right"),
    _Column("Test images", 4, _read(_test_set), widest=18),
    _Column("Size", 8, _read(lambda entry: f"{entry['bytes'] / 1e6:.2f} MB"), "right"),
    _Column("From", 7, _read(lambda entry: "cifarnet" if entry["shipped"] else "you")),
)
