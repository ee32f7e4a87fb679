"""The figures of an exported network as tables for a terminal, from the data that ``cifarnet export --json`` prints."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cifarnet.paths import last_name
from cifarnet.plurals import counted
from cifarnet.printable import printable
from cifarnet.reports.text import percent


def render_export(exported: Mapping[str, Any]) -> Group:
    """Return the file, its comparison with the weights and, where there are any, the figures of 8-bit integers."""
    compared = exported["comparison"]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value, style in (
        ("Written", f"{printable(exported['path'])}, {exported['bytes']:,} bytes", "bold"),
        ("Network", printable(exported["network"]), ""),
        ("Compared", f"{counted(compared['images'], 'image')} of {printable(last_name(compared['source']))}", ""),
        ("Largest difference", f"{compared['largest_difference']:.2g} in a probability", ""),
        ("Likeliest class", _agreement(compared), ""),
    ):
        table.add_row(Text(label, style="dim"), Text(value, style=style))
    parts: list[RenderableType] = [table]
    if exported["int8"]:
        parts += [Text(""), _int8_table(exported["int8"])]
    return Group(*parts)


def _agreement(compared: Mapping[str, Any]) -> str:
    if not compared["changed"]:
        return f"the same as {compared['engine']}'s for all images"
    near = f", {compared['near_ties']:,} of them near-ties" if compared["near_ties"] else ""
    return f"another than {compared['engine']}'s for {counted(compared['changed'], 'image')}{near}"


def _int8_table(int8: Mapping[str, Any]) -> Table:
    table = Table()
    table.add_column("")
    for heading in ("Bytes", "Accuracy", "1 image", counted(int8["batch"], "image")):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in ("float32", "int8"):
        row = int8[name]
        table.add_row(
            name,
            f"{row['bytes']:,}",
            percent(row["accuracy"]),
            f"{row['milliseconds_one']:.2f} ms",
            f"{row['milliseconds_batch']:.1f} ms",
        )
    lost = int8["points_lost"]
    table.caption = (
        f"{abs(lost):.2f} points {'gained' if lost < 0 else 'lost'}; ranges from"
        f" {counted(int8['calibration_images'], 'training image')}"
    )
    return table
