"""``cifarnet doctor``: examine the installation."""

from typing import Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import Json

EXAMPLES = examples(
    ("doctor", "Show devices and versions, and train a tiny network on each device"),
    ("doctor --no-test", "Leave out the training"),
    ("doctor --json", "Everything, for a bug report"),
)


def doctor(
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Train a tiny network on each device and check its logits.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Examine the installation.

    Shows devices, versions, memory and disk, what would be chosen and why, and what is missing. The exit status is 1 if
    something that is installed does not work.
    """
    with console.transient("Starting ..."):
        from cifarnet.doctor.examine import examine

    with console.progress_reporter() as report:
        diagnosis = examine(test=test, report=report)
    data = diagnosis.to_dict()
    if as_json:
        console.print_json(data)
    else:
        from cifarnet.reports.terminal.doctor_tables import print_diagnosis

        print_diagnosis(data, console.stdout())
    if diagnosis.failed:
        raise typer.Exit(1)
