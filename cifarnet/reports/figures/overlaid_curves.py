"""The curves of several runs in one figure.

Importing this module imports matplotlib, which takes a second: import it inside functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from cifarnet.reports.figures import plots

_NAME_LIMIT = 50


@dataclass(frozen=True)
class RunCurve:
    """A run's ``history`` (rows of history.csv), with the index of its group and the name of its held-out images."""

    group: int
    history: plots.History
    held_out: str


def overlaid_curves(curves: Sequence[RunCurve], names: Sequence[str]) -> Figure:
    """Return a figure of held-out accuracy and training loss by epoch.

    Each group has its colour and dash; ``names`` are the names of the groups.
    """
    new = plots.new_figure(7.2, 7.0 + 0.22 * len(names))
    with plots.styled():
        accuracy, loss = new.subplots(2, 1, sharex=True)
    named: set[int] = set()
    for curve in curves:
        column = f"{curve.held_out}_accuracy"
        checked = [(row["epoch"], 100 * row[column]) for row in curve.history if row.get(column) is not None]
        style: dict[str, Any] = {
            "color": plots.COLOURS[curve.group % len(plots.COLOURS)],
            "linestyle": plots.DASHES[curve.group % len(plots.DASHES)],
            "linewidth": 1.4,
        }
        if curve.group not in named:
            named.add(curve.group)
            style["label"] = f"#{curve.group + 1} {plots.short(names[curve.group], _NAME_LIMIT)}"
        # Markers show which epochs were checked, unless they are many.
        marker = "o" if len(checked) <= 20 else ""
        accuracy.plot([x for x, _ in checked], [y for _, y in checked], marker=marker, markersize=3.5, **style)
        style.pop("label", None)
        loss.plot([row["epoch"] for row in curve.history], [row["loss"] for row in curve.history], **style)
    held_out = " or ".join(sorted({curve.held_out for curve in curves}))
    accuracy.set_ylabel(f"{held_out} accuracy, %")
    loss.set_ylabel("training loss")
    loss.set_yscale("log")
    loss.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("{x:g}")
    loss.set_xlabel("epoch")
    loss.xaxis.get_major_locator().set_params(integer=True)
    new.legend(loc="outside lower left", frameon=False)
    return new
