"""An evaluation as tables for a terminal, from the data that ``cifarnet evaluate --json`` prints."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cifarnet.plurals import counted
from cifarnet.printable import printable
from cifarnet.reports.confusions import worst_confusions, worst_errors
from cifarnet.reports.text import (
    corruption_rows,
    corruption_scores,
    fair_scores,
    percent,
    rejected,
    rounding,
    speed,
    views,
)

_HIT = (31, 119, 180)
_MISS = (214, 39, 40)
_NAME_LIMIT = 20


def render_evaluation(evaluation: Mapping[str, Any], width: int) -> Group:
    """Return the scores, classes, confusions and corruptions of an ``evaluation`` in ``width`` terminal columns.

    ``evaluation`` has the keys of ``cifarnet evaluate --json``.
    """
    blank = Text("")
    classes, matrix = evaluation["per_class"], evaluation["confusion_matrix"]
    names = [row["class"] for row in classes]
    parts: list[RenderableType] = [headline(evaluation), blank, class_table(classes), *_undefined(matrix, names)]
    parts += [blank, confusion_table(matrix, names, width), blank, _title("Worst confusions")]
    parts += map(Text, worst_errors(matrix, names))
    if "corruptions" in evaluation:
        parts += [blank, corruption_table(evaluation["corruptions"])]
    return Group(*parts)


def headline(evaluation: Mapping[str, Any]) -> Table:
    """Return the scores over all images, one in each line."""
    lower, upper = evaluation["accuracy_interval"]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value, style in (
        ("Weights", printable(evaluation["weights"]), ""),
        ("Data", f"{printable(evaluation['data'])}, {counted(evaluation['images'], 'test image')}", ""),
        ("Accuracy", f"{percent(evaluation['accuracy'])}   95 % interval {percent(lower)} to {percent(upper)}", "bold"),
        *((name, value, "") for name, value in fair_scores(evaluation)),
        ("Loss", f"{evaluation['loss']:.4f}", ""),
        (f"Top-{min(5, len(evaluation['per_class']))} accuracy", percent(evaluation["top5_accuracy"]), ""),
        ("Calibration error", f"{percent(evaluation['ece'])}   expected, over 15 bins of confidence", ""),
        *((name, value, "") for name, value in corruption_scores(evaluation)),
        *(("Rejected", line, "") for line in rejected(evaluation)),
        ("Speed", speed(evaluation), ""),
        *(("Rounding", line, "") for line in rounding(evaluation)),
        *(("Accuracy by views", line, "") for line in views(evaluation)),
    ):
        table.add_row(Text(label, style="dim"), Text(value, style=style))
    return table


def class_table(classes: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of precision, recall and F1 (in percent) and images of every class."""
    table = Table()
    table.add_column("Class", max_width=_NAME_LIMIT, overflow="fold")
    for heading in ("Precision", "Recall", "F1", "Images"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in classes:
        scores = [percent(row[key]) for key in ("precision", "recall", "f1")]
        table.add_row(Text(printable(row["class"])), *scores, f"{row['support']:,}")
    return table


def corruption_table(corruptions: Mapping[str, Any]) -> Group:
    """Return the table of errors on corrupted images, from the value ``corruptions`` of an evaluation."""
    table = Table()
    (first, *headings), rows = corruption_rows(corruptions)
    table.add_column(first)
    for heading in headings:
        table.add_column(heading.removeprefix("Severity "), justify="right", no_wrap=True)
    for name, *errors in rows:
        table.add_row(name, *errors)
    return Group(_title("Errors on corrupted images by severity, from 1 (weakest) to 5"), table)


def _undefined(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[Text]:
    """Return notes on the scores of ``class_table`` that are shown as 0 because they are undefined."""
    unpredicted = [name for name, column in zip(names, zip(*matrix, strict=True), strict=True) if not any(column)]
    absent = [name for name, row in zip(names, matrix, strict=True) if not any(row)]
    reasons = (
        ("Never predicted, so precision is undefined", unpredicted),
        ("No images, so recall is undefined", absent),
    )
    return [Text(f"{reason} (shown as 0): {printable(', '.join(who))}") for reason, who in reasons if who]


def confusion_table(matrix: Sequence[Sequence[int]], names: Sequence[str], width: int) -> Group:
    """Return the confusion matrix, coloured by each count's share of its row.

    A matrix that is wider than ``width`` terminal columns is replaced by its ten most frequent errors.
    """
    digits = max(len(str(count)) for row in matrix for count in row)
    # Headings of three letters are harder to read than four, but a matrix shows more than a list of errors.
    for cell in (max(4, digits) + 1, max(3, digits) + 1):
        labels, headings = _labels([printable(name) for name in names], cell - 1)
        label_width = min(_NAME_LIMIT, max(map(cell_len, labels)))
        if label_width + cell * len(labels) <= width:
            break
    else:
        return _greatest_errors(matrix, names)
    worst = {(true, predicted) for true, predicted, _ in worst_confusions(matrix)}
    table = Table(box=None, padding=0)
    table.add_column(width=label_width, no_wrap=True, overflow="ellipsis")
    for heading in headings:
        table.add_column(Text(heading, style="dim"), width=cell, justify="right", no_wrap=True)
    for true, row in enumerate(matrix):
        total = max(1, sum(row))
        cells = [
            _cell(count, count / total, cell, true == predicted, (true, predicted) in worst)
            for predicted, count in enumerate(row)
        ]
        table.add_row(Text(labels[true]), *cells)
    return Group(_title("Confusion matrix (rows: true class, columns: predicted)"), table)


def _labels(names: Sequence[str], width: int) -> tuple[list[str], list[str]]:
    """Return labels of the rows and headings of ``width`` cells; numbers where the shortened names are equal."""
    headings = [set_cell_size(name, width).rstrip() for name in names]
    if len(set(headings)) == len(headings):
        return list(names), headings
    headings = [str(number) for number in range(1, len(names) + 1)]
    return [f"{number} {name}" for number, name in zip(headings, names, strict=True)], headings


def _cell(count: int, share: float, width: int, hit: bool, worst: bool) -> Text:
    """Return a count on a background whose strength is its share of the row.

    White text on a darkened colour is readable at every strength.
    """
    if not count:
        return Text("·", style="dim")
    # The square root makes small shares visible: on a linear scale most errors would be black.
    background = ",".join(str(round(part * sqrt(share))) for part in (_HIT if hit else _MISS))
    # Bold too, for a terminal without colours.
    return Text(f"{count:>{width}}", style=f"{'bold ' if worst else ''}white on rgb({background})")


def _greatest_errors(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Group:
    table = Table()
    for heading in ("True class", "Predicted"):
        table.add_column(heading, max_width=_NAME_LIMIT, overflow="fold")
    table.add_column("Images", justify="right")
    for true, predicted, count in worst_confusions(matrix, 10):
        table.add_row(Text(printable(names[true])), Text(printable(names[predicted])), f"{count:,}")
    title = "Most frequent errors (the confusion matrix is too wide for this terminal: --json prints it)"
    return Group(_title(title), table)


def _title(text: str) -> Text:
    # Rich wraps a table's own title at the width of the table, which is small with few or short classes.
    return Text(text, style="italic")
