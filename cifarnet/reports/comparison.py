"""Runs beside each other, as tables, from the very data that ``cifarnet compare --json`` prints."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cifarnet.durations import duration
from cifarnet.reports.text import percent, printable

_NONE = "–"
_VALUE_LIMIT = 24
"""Terminal columns that a setting's value may take; longer ones are folded."""


def comparison_report(comparison: Mapping[str, Any], width: int, ascii_only: bool = False) -> Group:
    """Results and differing settings of a ``comparison`` (the keys of ``--json``) in ``width`` terminal columns."""
    blank = Text("")
    plus_minus = "+/-" if ascii_only else "±"
    notes = [Text(note.replace("±", plus_minus), style="dim") for note in notes_on(comparison)]
    return Group(results_table(comparison, plus_minus), *notes, blank, *settings_tables(comparison, width))


def notes_on(comparison: Mapping[str, Any]) -> list[str]:
    """What a reader of the results must know."""
    groups = comparison["groups"]
    notes = []
    if not comparison["same_images"]:
        notes.append("The runs were tested on different images: their accuracies can't be compared directly.")
    if any(group["accuracy_deviation"] is not None for group in groups):
        notes.append("Mean ± sample standard deviation over seeds.")
    notes.append("Best: the epoch with the highest accuracy on the validation images, or else on the test images.")
    return notes


def group_names(comparison: Mapping[str, Any]) -> list[str]:
    """A name for each group: its run, or what its runs' names have in common."""
    names = run_names(comparison)
    return [_group_name(group, names) for group in comparison["groups"]]


def _group_name(group: Mapping[str, Any], names: Mapping[str, str]) -> str:
    members = [names[run["run"]] for run in group["runs"]]
    if len(members) == 1:
        return members[0]
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*members, strict=False))
    common = "".join(letters[0] for letters in shared).rstrip("-_. ")
    seeds = f"{group['seeds']} seed{'s' if group['seeds'] > 1 else ''}"
    return f"{common or members[0] + ', …'} ({len(members)} runs, {seeds})"


def run_names(comparison: Mapping[str, Any]) -> dict[str, str]:
    """The name of each run by its path: the last part, where all of these differ."""
    paths = [run["run"] for group in comparison["groups"] for run in group["runs"]]
    short = [PurePath(path).name or path for path in paths]
    chosen = short if len(set(short)) == len(short) else paths
    return {path: printable(name) for path, name in zip(paths, chosen, strict=True)}


def results_table(comparison: Mapping[str, Any], plus_minus: str) -> Table:
    """Accuracy, loss, epochs and time: a row for each group and, where it has several, one for each run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("Run", overflow="fold", min_width=12)
    table.add_column("Test accuracy", no_wrap=True)
    for heading in ("Loss", "Epoch", "Best", "Time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cells, seconds, indented in _rows(comparison):
        number, name, accuracy, *others = cells
        rest = [accuracy.replace("±", plus_minus), *others]
        style = "dim" if indented else "bold" if number == "1" else ""
        shown = Text(f"{'  ' if indented else ''}{name}", style=style)
        table.add_row(number, shown, *(Text(cell, style=_style(cell, style)) for cell in rest), _time(seconds))
    return table


def _style(cell: str, otherwise: str) -> str:
    return "yellow" if cell == "unfinished" else otherwise


def _time(seconds: float | None) -> str:
    return _NONE if seconds is None else duration(seconds)


def results_rows(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the results in text; the time in minutes, so that it can be sorted."""
    head = ["#", "Run", "Test accuracy", "Loss", "Epoch", "Best", "Minutes"]
    rows = [[*cells, _NONE if seconds is None else f"{seconds / 60:,.1f}"] for cells, seconds, _ in _rows(comparison)]
    return head, rows


def _rows(comparison: Mapping[str, Any]) -> list[tuple[list[str], float | None, bool]]:
    """The cells up to the time, the time in seconds, and whether the row is one run of the group above it."""
    names = run_names(comparison)
    rows: list[tuple[list[str], float | None, bool]] = []
    for number, group in enumerate(comparison["groups"], start=1):
        members = group["runs"]
        if len(members) > 1:
            loss = _NONE if group["loss"] is None else f"{group['loss']:.4f}"
            cells = [str(number), _group_name(group, names), _group_accuracy(group), loss, "", ""]
            rows.append((cells, group["training_seconds"], False))
        for run in members:
            several = len(members) > 1
            name = names[run["run"]] + (f", seed {run['seed']}" if several else "")
            cells = ["" if several else str(number), name, *_run_cells(run)]
            rows.append((cells, run["training_seconds"], several))
    return rows


def _group_accuracy(group: Mapping[str, Any]) -> str:
    if group["accuracy"] is None:
        return "unfinished"
    if group["accuracy_deviation"] is None:
        return percent(group["accuracy"])
    return f"{100 * group['accuracy']:.2f} ± {percent(group['accuracy_deviation'])}"


def _run_cells(run: Mapping[str, Any]) -> list[str]:
    """Accuracy, loss, epoch and best epoch."""
    return [
        percent(run["accuracy"]) if run["finished"] else "unfinished",
        f"{run['loss']:.4f}" if run["finished"] else _NONE,
        f"{run['epoch']}/{run['epochs'] or '?'}",
        str(run["best_epoch"] or _NONE),
    ]


def settings_tables(comparison: Mapping[str, Any], width: int) -> list[Table | Text]:
    """The settings that differ, a row each and a column for each group; further tables where the width ends."""
    if not comparison["differing"]:
        return [Text("The runs' settings are the same, but for the seed." if _several(comparison) else "")]
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


def _several(comparison: Mapping[str, Any]) -> bool:
    return len(comparison["groups"][0]["runs"]) > 1


def settings_rows(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings (the groups' numbers) and rows (the settings that differ) in text."""
    groups = comparison["groups"]
    head = ["Setting", *(f"#{number}" for number in range(1, len(groups) + 1))]
    rows = [[name, *(_value(name, group["settings"][name]) for group in groups)] for name in comparison["differing"]]
    return head, rows


def _value(name: str, value: Any) -> str:
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "resolutions":
        return ",".join(f"{side}:{share:g}" for side, share in value) or _NONE
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or _NONE
    if name.endswith("sha256"):
        return str(value)[:12]
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
