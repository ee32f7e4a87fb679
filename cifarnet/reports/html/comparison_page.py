"""The HTML page of compared training runs.

Importing this module imports matplotlib, which takes a second: import it inside functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cifarnet.plurals import counted
from cifarnet.reports.comparison_rows import group_names, notes_on, results_in_minutes, settings_rows
from cifarnet.reports.figures import plots
from cifarnet.reports.figures.overlaid_curves import RunCurve, overlaid_curves
from cifarnet.reports.html.page import Drawing, Page, Section, Table, render
from cifarnet.reports.text import percent


def comparison_page(comparison: Mapping[str, Any], curves: Sequence[RunCurve]) -> str:
    """Return the page of a ``comparison`` (the keys of ``cifarnet compare --json``) with the ``curves`` of its runs."""
    names = group_names(comparison)
    results = Table(*results_in_minutes(comparison), names=1, notes=notes_on(comparison))
    sections = [Section("Results", "table.html", results)]
    drawn = [curve for curve in curves if curve.history]
    if drawn:
        alt = f"Held-out accuracy and training loss by epoch of {', '.join(names)}."
        sections.append(Section("Curves", "figure.html", Drawing(plots.svg(overlaid_curves(drawn, names)), alt)))
    if comparison["differing"]:
        sections.append(Section("What differs", "table.html", Table(*settings_rows(comparison))))
    return render(Page("Training runs compared", _lead(comparison, names[0]), sections))


def _lead(comparison: Mapping[str, Any], first: str) -> str:
    groups = comparison["groups"]
    count = sum(len(group["runs"]) for group in groups)
    runs, best = counted(count, "run"), groups[0]["accuracy"]
    if best is None:
        return f"{runs}; none has finished yet."
    if not comparison["same_images"]:
        return f"{runs}, scored on different images."
    return f"{runs}; the best is {first} with {percent(best)}."
