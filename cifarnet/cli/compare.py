"""``cifarnet compare``: training runs beside each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Json, Report

if TYPE_CHECKING:
    from cifarnet.comparison import Comparison


def compare(
    directories: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories: runs/*, say.", show_default=False)
    ],
    report_file: Report = None,
    as_json: Json = False,
) -> None:
    """Show runs beside each other: accuracy with its deviation over seeds, time, and which settings differ."""
    from cifarnet.cli.reporting import page_path
    from cifarnet.comparison import compare as compare_runs

    if report_file:
        page_path(report_file)
    comparison = compare_runs(directories)
    if as_json:
        console.print_json(comparison.to_dict())
    else:
        from cifarnet.reports.comparison import comparison_report

        out = console.stdout()
        out.print(comparison_report(comparison.to_dict(), out.width, out.options.ascii_only))
    if report_file:
        _write_page(report_file, comparison)


def _write_page(path: Path, comparison: "Comparison") -> None:
    from cifarnet.cli.reporting import write_page
    from cifarnet.reports.comparison_plots import Curve, comparison_page

    curves = [
        Curve(index, run.history, run.held_out) for index, group in enumerate(comparison.groups) for run in group.runs
    ]
    write_page(path, comparison_page(comparison.to_dict(), curves))
