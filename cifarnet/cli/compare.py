"""``cifarnet compare``: compare training runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import Json, ReportFile

if TYPE_CHECKING:
    from cifarnet.runs.compare import Comparison

EXAMPLES = examples(
    ("compare runs/a runs/b", "Two runs"),
    ("compare runs/*", "All runs; those that differ only in their seed are averaged"),
    ("compare runs/* --report runs.html", "The same with a page of their curves"),
)


def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Run directories, such as runs/*, or folders of train --seeds.", show_default=False
        ),
    ],
    report_file: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Compare training runs.

    Shows their accuracy with its deviation over seeds, their time, and the settings in which they differ.
    """
    from cifarnet.cli.reporting import page_path
    from cifarnet.runs.compare import compare as compare_runs

    if report_file:
        page_path(report_file)
    comparison = compare_runs(directories)
    if as_json:
        console.print_json(comparison.to_dict())
    else:
        print_comparison(comparison)
    if report_file:
        write_comparison(report_file, comparison)


def print_comparison(comparison: "Comparison") -> None:
    """Print ``comparison`` on stdout as tables."""
    from cifarnet.reports.terminal.comparison_tables import render_comparison

    out = console.stdout()
    out.print(render_comparison(comparison.to_dict(), out.width, out.options.ascii_only))


def write_comparison(path: Path, comparison: "Comparison") -> None:
    """Write the page of ``comparison``.

    Raises:
        StorageError: when the file can't be written.
    """
    from cifarnet.cli.reporting import write_page
    from cifarnet.reports.figures.overlaid_curves import RunCurve
    from cifarnet.reports.html.comparison_page import comparison_page

    curves = [
        RunCurve(index, run.history, run.held_out)
        for index, group in enumerate(comparison.groups)
        for run in group.runs
    ]
    write_page(path, comparison_page(comparison.to_dict(), curves))
