"""A comparison of runs as tables for a terminal.

A ``comparison`` has the keys of ``cifarnet compare --json``.
"""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cifarnet.durations import duration
from cifarnet.reports.comparison_rows import NONE, notes_on, results_rows, settings_rows

_VALUE_LIMIT = 24
"""Terminal columns of a setting's value; longer values are folded."""


def render_comparison(comparison: Mapping[str, Any], width: int, ascii_only: bool = False) -> Group:
    """Return the results and the differing settings of a ``comparison`` in ``width`` terminal columns."""
    blank = Text("")
    plus_minus = "+/-" if ascii_only else "±"
    notes = [Text(note.replace("±", plus_minus), style="dim") for note in notes_on(comparison)]
    return Group(results_table(comparison, plus_minus), *notes, blank, *settings_tables(comparison, width))


def results_table(comparison: Mapping[str, Any], plus_minus: str) -> Table:
    """Return the table of accuracy, loss, epochs and time.

    It has a row for each group and, in a group of several runs, a row for each run.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("Run", overflow="fold", min_width=12)
    table.add_column("Test accuracy", no_wrap=True)
    for heading in ("Loss", "Epoch", "Best", "Time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (number, name, accuracy, *others), seconds, is_member in results_rows(comparison):
        rest = [accuracy.replace("±", plus_minus), *others]
        style = "dim" if is_member else "bold" if number == "1" else ""
        shown = Text(f"{'  ' if is_member else ''}{name}", style=style)
        cells = (Text(cell, style="yellow" if cell == "unfinished" else style) for cell in rest)
        table.add_row(number, shown, *cells, NONE if seconds is None else duration(seconds))
    return table


def settings_tables(comparison: Mapping[str, Any], width: int) -> list[Table | Text]:
    """Return tables of the settings that differ, with a row for each setting and a column for each group.

    Groups that do not fit ``width`` terminal columns follow in further tables.
    """
    if not comparison["differing"]:
        several = len(comparison["groups"][0]["runs"]) > 1
        return [Text("The runs' settings are the same, but for the seed." if several else "")]
    head, rows = settings_rows(comparison)
    columns = list(zip(*rows, strict=True))[1:]
    widths = [
        min(_VALUE_LIMIT, max(map(cell_len, (name, *cells)))) for name, cells in zip(head[1:], columns, strict=True)
    ]
    room = width - max(cell_len(row[0]) for row in rows)
    tables: list[Table | Text] = [Text("What differs, by run:")]
    start = 0
    while start < len(widths):
        end = start + 1
        # Three blanks before each column, and one at either side of the table.
        while end < len(widths) and sum(widths[start : end + 1]) + 3 * (end + 1 - start) + 2 <= room:
            end += 1
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("Setting", no_wrap=True)
        for name, cell_width in zip(head[1 + start : 1 + end], widths[start:end], strict=True):
            table.add_column(Text(name), max_width=cell_width, overflow="fold")
        for name, *cells in rows:
            table.add_row(name, *(Text(cell) for cell in cells[start:end]))
        tables.append(table)
        start = end
    return tables
