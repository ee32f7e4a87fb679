"""The curves of several runs in one figure, and the page of a comparison; from plain data.

Importing this module imports matplotlib (a second): import it inside functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from cifarnet.reports import plots
from cifarnet.reports.comparison import group_names, notes_on, results_rows, settings_rows
from cifarnet.reports.page import Section, figure, page, table
from cifarnet.reports.text import percent

_NAME_LIMIT = 50


@dataclass(frozen=True)
class Curve:
    """A run's ``history`` (rows of history.csv), with the index of its group and the name of its held-out images."""

    group: int
    history: plots.History
    held_out: str


def overlaid_curves(curves: Sequence[Curve], names: Sequence[str]) -> Figure:
    """Accuracy on the held-out images and training loss by epoch; a colour and dash for each group, whose names are
    ``names``.
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
        # Where few epochs were checked, a marker shows which.
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


def comparison_page(comparison: Mapping[str, Any], curves: Sequence[Curve]) -> str:
    """The page of a ``comparison`` (the keys of ``cifarnet compare --json``) with the ``curves`` of its runs."""
    groups, names = comparison["groups"], group_names(comparison)
    count = sum(len(group["runs"]) for group in groups)
    best = groups[0]
    lead = f"{count} run{'s' if count > 1 else ''}; none has finished yet."
    if best["accuracy"] is not None and not comparison["same_images"]:
        lead = f"{count} run{'s' if count > 1 else ''}, scored on different images."
    elif best["accuracy"] is not None:
        lead = f"{count} run{'s' if count > 1 else ''}; the best is {names[0]} with {percent(best['accuracy'])}."
    results = table(*results_rows(comparison), numeric_from=2)
    sections = [Section("Results", results + "".join(f"<p>{note}</p>" for note in notes_on(comparison)))]
    drawn = [curve for curve in curves if curve.history]
    if drawn:
        alt = f"Held-out accuracy and training loss by epoch of {', '.join(names)}."
        sections.append(Section("Curves", figure(plots.svg(overlaid_curves(drawn, names)), alt)))
    if comparison["differing"]:
        sections.append(Section("What differs", table(*settings_rows(comparison), numeric_from=1)))
    return page("Training runs compared", lead, sections)
