"""The cache and the images of a source as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cifarnet.data.dataset import LeftOut
from cifarnet.plurals import counted, verb
from cifarnet.printable import printable
from cifarnet.shell import command_line


def render_inventory(inventory: Mapping[str, Any]) -> RenderableType:
    """Return the content of the cache; ``inventory`` is what ``cifarnet data --json`` prints."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("Cache", Text(inventory["cache"]))
    for copies in inventory["datasets"]:
        facts.add_row(copies["title"], Text(copies["archive_path"]))
        facts.add_row("", _archive_state(copies))
        facts.add_row("Keras's copy", Text(copies["keras_copy"] or "none"))
    facts.add_row("Decoded sets", str(len(inventory["decoded"]) or "none"))
    if not inventory["decoded"]:
        return facts
    sets = Table("Decoded from", "File")
    sets.add_column("Size", justify="right")
    for held in inventory["decoded"]:
        sets.add_row(Text(printable(held["source"])), Text(printable(held["path"])), _megabytes(held["bytes"]))
    return Group(facts, sets)


def render_source(summary: Mapping[str, Any]) -> RenderableType:
    """Return classes, counts and left-out files of a source.

    ``summary`` is what ``cifarnet data SOURCE --json`` prints.
    """
    splits = {"Training images": "train", "Test images": "test"}
    if summary["validation_counts"] is not None:
        splits["Validation images"] = "validation"
    table = Table("Class", title=Text(printable(summary["source"])), show_footer=True)
    table.columns[0].footer = counted(len(summary["classes"]), "class")
    for title, split in splits.items():
        table.add_column(title, f"{summary[f'{split}_images']:,}", justify="right")
    counts = zip(*(summary[f"{split}_counts"] for split in splits.values()), strict=True)
    for name, row in zip(summary["classes"], counts, strict=True):
        table.add_row(Text(printable(name)), *(f"{count:,}" for count in row))
    size = summary["image_size"]
    enlarged = ""
    if count := summary["enlarged"]:
        enlarged = f"; {counted(count, 'image')} {verb(count, 'is smaller and was', 'are smaller and were')} enlarged"
    return Group(
        table,
        Text(
            f"{size} x {size} pixels; training images: mean {summary['mean']:.2f}, standard deviation"
            f" {summary['std']:.2f} (of 0 to 255, all channels){enlarged}"
        ),
        *([Text(printable(f"{note[0].upper()}{note[1:]}."))] if (note := summary["note"]) else []),
        *(Text(printable(LeftOut(**files).line)) for files in summary["left_out"]),
    )


def _archive_state(copies: Mapping[str, Any]) -> str:
    download = f"`{command_line('data', copies['source'], '--download')}`"
    if copies["checksum_holds"] is None:
        part = copies["partial_bytes"]
        begun = f"; {_megabytes(part)} of {_megabytes(copies['expected_bytes'])} downloaded" if part else ""
        return f"missing{begun}; {download} downloads it"
    if copies["checksum_holds"]:
        return f"{_megabytes(copies['archive_bytes'])}, checksum correct"
    return f"{_megabytes(copies['archive_bytes'])}, checksum wrong; {download} replaces it"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
