"""An evaluation as tables for the terminal, from the very data that ``cifarnet evaluate --json`` prints."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cifarnet.reports.text import percent, printable

_HIT = (31, 119, 180)
_MISS = (214, 39, 40)
_NAME_LIMIT = 20


def evaluation_report(evaluation: Mapping[str, Any], width: int) -> Group:
    """Headline, classes and confusions of an ``evaluation`` (the keys of ``--json``) in ``width`` terminal columns."""
    blank = Text("")
    classes, matrix = evaluation["per_class"], evaluation["confusion_matrix"]
    names = [row["class"] for row in classes]
    confusions = confusion_table(matrix, names, width)
    return Group(headline(evaluation), blank, class_table(classes), *_undefined(matrix, names), blank, confusions)


def headline(evaluation: Mapping[str, Any]) -> Table:
    """The scores over all images, one a line."""
    lower, upper = evaluation["accuracy_interval"]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value, style in (
        ("Weights", printable(evaluation["weights"]), ""),
        ("Data", f"{printable(evaluation['data'])}, {evaluation['images']:,} test images", ""),
        ("Accuracy", f"{percent(evaluation['accuracy'])}   95 % interval {percent(lower)} to {percent(upper)}", "bold"),
        ("Loss", f"{evaluation['loss']:.4f}", ""),
        (f"Top-{min(5, len(evaluation['per_class']))} accuracy", percent(evaluation["top5_accuracy"]), ""),
        ("Calibration error", f"{percent(evaluation['ece'])}   expected, over 15 bins of confidence", ""),
        ("Speed", f"{evaluation['images_per_second']:,.0f} images/s", ""),
    ):
        table.add_row(Text(label, style="dim"), Text(value, style=style))
    return table


def class_table(classes: Sequence[Mapping[str, Any]]) -> Table:
    """Precision, recall and F1 in percent and the number of images of every class."""
    table = Table()
    table.add_column("Class", max_width=_NAME_LIMIT, overflow="fold")
    for heading in ("Precision", "Recall", "F1", "Images"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in classes:
        scores = [percent(row[key]) for key in ("precision", "recall", "f1")]
        table.add_row(Text(printable(row["class"])), *scores, f"{row['support']:,}")
    return table


def _undefined(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[Text]:
    """Which scores of ``class_table`` are 0 only because they are undefined."""
    unpredicted = [name for name, column in zip(names, zip(*matrix, strict=True), strict=True) if not any(column)]
    absent = [name for name, row in zip(names, matrix, strict=True) if not any(row)]
    reasons = (
        ("Never predicted, so precision is undefined", unpredicted),
        ("No images, so recall is undefined", absent),
    )
    return [Text(f"{reason} (shown as 0): {printable(', '.join(who))}") for reason, who in reasons if who]


def confusion_table(matrix: Sequence[Sequence[int]], names: Sequence[str], width: int) -> Group:
    """The confusion matrix, coloured by each count's share of its row; where too wide, its ten greatest errors."""
    cell = max(4, *(len(str(count)) for row in matrix for count in row)) + 1
    labels = [printable(name) for name in names]
    headings = [set_cell_size(label, cell - 1).rstrip() for label in labels]
    if len(set(headings)) < len(headings):
        headings = [str(number) for number in range(1, len(labels) + 1)]
        labels = [f"{number} {label}" for number, label in zip(headings, labels, strict=True)]
    label_width = min(_NAME_LIMIT, max(map(cell_len, labels))) + 1
    if label_width + cell * len(labels) > width:
        return _greatest_errors(matrix, names)
    table = Table(box=None, padding=0)
    table.add_column(width=label_width, no_wrap=True, overflow="ellipsis")
    for heading in headings:
        table.add_column(Text(f"{heading} ", style="dim"), width=cell, justify="right", no_wrap=True)
    for true, row in enumerate(matrix):
        total = max(1, sum(row))
        cells = [_cell(count, count / total, cell, true == predicted) for predicted, count in enumerate(row)]
        table.add_row(Text(labels[true]), *cells)
    return Group(_title("Confusion matrix (rows: true class, columns: predicted)"), table)


def _cell(count: int, share: float, width: int, hit: bool) -> Text:
    """A count on a background as strong as its share: white on a darkened colour is readable at every strength."""
    if not count:
        return Text("· ", style="dim")
    # By the root: errors are small shares, which a linear scale would leave black.
    background = ",".join(str(round(part * sqrt(share))) for part in (_HIT if hit else _MISS))
    return Text(f"{count:>{width - 1}} ", style=f"white on rgb({background})")


def _greatest_errors(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Group:
    errors = [
        (count, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    table = Table()
    for heading in ("True class", "Predicted"):
        table.add_column(heading, max_width=_NAME_LIMIT, overflow="fold")
    table.add_column("Images", justify="right")
    for count, true, predicted in sorted(errors, key=lambda error: (-error[0], *error[1:]))[:10]:
        table.add_row(Text(printable(names[true])), Text(printable(names[predicted])), f"{count:,}")
    title = "Most frequent errors (the confusion matrix is too wide for this terminal: --json prints it)"
    return Group(_title(title), table)


def _title(text: str) -> Text:
    # Not the table's own title: that is broken at the table's width, which few or short classes make small.
    return Text(text, style="italic")
