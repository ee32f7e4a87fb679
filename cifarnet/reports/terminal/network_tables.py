"""The layers of a network as data, as a table for a terminal, and as plain text in the format of Keras 2."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cifarnet.models.layers import Layer, total_macs, total_params
from cifarnet.models.spec import ModelSpec
from cifarnet.printable import printable

# Column ends of Keras 2's summaries at 65 characters, which the document's tables were printed with; what is longer
# is cut, hence "batch_normalization (BatchNo".
PLAIN_COLUMNS = (29, 55, 65)


def summary_data(spec: ModelSpec, layers: Sequence[Layer], units: bool = False) -> dict[str, Any]:
    """Return what ``cifarnet summary --json`` prints. Shapes have None for the batch.

    With ``units``, layers below the top level follow their container, under their full names; the totals count
    every parameter once either way.
    """
    top = tuple(layers)
    total = total_params(top)
    trainable = sum(layer.trainable_params for layer in top)
    return {
        "model": spec.name,
        "depth": spec.depth,
        "classes": spec.classes,
        "image_size": spec.image_size,
        "layers": [
            {
                "name": path,
                "type": layer.type,
                "output_shape": [None, *layer.output_shape],
                "params": layer.params,
            }
            for path, layer in _walk(top, units)
        ],
        "total_params": total,
        "trainable_params": trainable,
        "non_trainable_params": total - trainable,
        "macs": total_macs(top),
    }


def _walk(layers: Sequence[Layer], deep: bool, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    for layer in layers:
        if not layer.in_table:
            continue
        yield prefix + layer.name, layer
        if deep:
            yield from _walk(layer.layers, deep, f"{prefix}{layer.name}/")


def plain_summary(data: Mapping[str, Any]) -> str:
    """Return the table in the format of Keras 2; deeper rows (``--units``) widen the first column."""
    names = [f"{row['name']} ({row['type']})" for row in data["layers"]]
    deep = any("/" in row["name"] for row in data["layers"])
    widen = max(0, max(map(len, names)) + 1 - PLAIN_COLUMNS[0]) if deep else 0
    ends = tuple(end + widen for end in PLAIN_COLUMNS)
    rule = "_" * ends[-1]
    lines = [_plain_row(("Layer (type)", "Output Shape", "Param #"), ends), "=" * ends[-1]]
    for name, row in zip(names, data["layers"], strict=True):
        lines += [_plain_row((name, _shape(row["output_shape"]), str(row["params"])), ends), rule]
    lines[-1] = "=" * ends[-1]
    return "\n".join(
        [
            *lines,
            f"Total params: {data['total_params']:,}",
            f"Trainable params: {data['trainable_params']:,}",
            f"Non-trainable params: {data['non_trainable_params']:,}",
            rule,
        ]
    )


def _plain_row(fields: Sequence[str], ends: Sequence[int]) -> str:
    line = ""
    for field, end in zip(fields, ends, strict=True):
        line = (line[:-1] + " " + field if line else field)[:end].ljust(end)
    return line.rstrip()


def render_network(data: Mapping[str, Any], header: Mapping[str, Any] | None) -> RenderableType:
    """Return the table of layers with its totals; ``header`` is that of the weight file, if there is one."""
    table = Table("Layer (type)", "Output Shape", title=ModelSpec(data["model"]).title, box=box.SIMPLE_HEAD)
    table.add_column("Param #", justify="right")
    for row in data["layers"]:
        *parents, name = row["name"].split("/")
        label = Text(f"{name} ({row['type']})", "" if parents else "bold")
        # Padding also indents the lines that a narrow terminal breaks a label into.
        indented = Padding(label, (0, 0, 0, 2 * len(parents)))
        table.add_row(indented, Text(_shape(row["output_shape"])), f"{row['params']:,}")
    facts = [
        f"Total params: {data['total_params']:,}",
        f"Trainable params: {data['trainable_params']:,}",
        f"Non-trainable params: {data['non_trainable_params']:,}",
        f"Multiply-accumulates per image: {data['macs']:,}",
        f"Weights as float32: {_size(data)}",
    ]
    if header:
        accuracy = "unknown" if header["accuracy"] is None else f"{header['accuracy']:.2%}"
        if header["accuracy"] is not None and (size := header["spec"]["image_size"]) != data["image_size"]:
            accuracy += f" at {size} pixels"
        facts += [
            f"Classes: {', '.join(header['class_names'])}",
            "Normalization: mean {mean}, standard deviation {std}".format(
                **{name: _levels(value) for name, value in header["normalization"].items()}
            ),
            f"Recipe: {header['recipe']['name'] if header['recipe'] else 'unknown'}; test accuracy: {accuracy}",
        ]
    return Group(table, *(Text(printable(fact)) for fact in facts))


def render_networks(networks: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return a table with a row for each network, by the name that ``--model`` takes. It fits into 60 columns."""
    table = Table("Network", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    for column in ("Params", "Trainable", "MACs", "Weights"):
        table.add_column(column, justify="right")
    for data in networks:
        counts = (f"{data[key]:,}" for key in ("total_params", "trainable_params"))
        table.add_row(data["model"], *counts, f"{data['macs'] / 1e6:,.0f} M", _size(data))
    return table


def _shape(shape: Sequence[int | None]) -> str:
    return f"({', '.join(str(axis) for axis in shape)})"


def _levels(value: float | Sequence[float]) -> str:
    """Return a mean or standard deviation, which may be one for each channel."""
    values = value if isinstance(value, Sequence) else [value]
    return " ".join(f"{each:.4f}" for each in values) + (" (red, green, blue)" if len(values) > 1 else "")


def _size(data: Mapping[str, Any]) -> str:
    return f"{4 * data['total_params'] / 1e6:.1f} MB"
