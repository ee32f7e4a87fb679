"""Named weights as a Rich table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cifarnet.reports.text import printable


def weights_report(entries: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A row for each entry; ``entries`` as ``cifarnet weights --json`` prints them."""
    if not entries:
        return Text("No weights have a name yet: cifarnet weights add RUN NAME gives one.")
    table = Table("Name", "Network", box=box.SIMPLE_HEAD)
    table.add_column("Classes", justify="right")
    table.add_column("Recipe")
    table.add_column("Accuracy (95 % interval)", justify="right")
    table.add_column("Test images")
    table.add_column("Size", justify="right")
    table.add_column("SHA-256", no_wrap=True)
    table.add_column("From")
    for entry in entries:
        if entry["problem"]:
            table.add_row(Text(entry["name"], "bold"), Text("can't be read", "yellow"))
            continue
        table.add_row(
            Text(entry["name"], "bold"),
            entry["network"],
            str(len(entry["classes"])),
            Text(printable(entry["recipe"] or "unknown")),
            _accuracy(entry),
            Text(printable(f"{entry['test_images']:,} of {entry['test_set']}") if entry["test_images"] else "unknown"),
            f"{entry['bytes'] / 1e6:.2f} MB",
            entry["sha256"][:12],
            "cifarnet" if entry["shipped"] else "you",
        )
    return table


def _accuracy(entry: Mapping[str, Any]) -> str:
    if entry["accuracy"] is None:
        return "unknown"
    if entry["accuracy_interval"] is None:
        return f"{entry['accuracy']:.2%}"
    low, high = entry["accuracy_interval"]
    return f"{entry['accuracy']:.2%} ({100 * low:.2f} to {100 * high:.2f})"
