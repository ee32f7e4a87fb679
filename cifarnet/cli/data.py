"""``cifarnet data``: what is cached, downloads ahead of time, and what a source holds."""

from typing import Annotated, Any

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Json, Mirror, TestSplit
from cifarnet.errors import InvalidValueError


def data(
    source: Annotated[
        str | None,
        typer.Argument(
            help="cifar10, synthetic, synthetic:N or a path: show its classes, counts, mean and standard deviation."
            " Without it, show what is cached.",
            show_default=False,
        ),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Download CIFAR-10 into the cache first.")] = False,
    mirror: Mirror = None,
    test_split: TestSplit = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Delete the decoded image sets from the cache first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what data are cached and whether they are intact, download CIFAR-10, or describe a source."""
    if test_split is not None and source is None:
        raise InvalidValueError(f"--test-split needs a SOURCE to split. Received: {test_split} and no source")
    from cifarnet.data import cache, cifar10, inventory
    from cifarnet.data.sources import load_data
    from cifarnet.reports.data import inventory_report, source_report

    mirrors = mirror or ()
    with console.progress_reporter() as report:
        if clear_cache:
            cache.clear_decoded_sets()
        if download:
            cifar10.download(mirrors, report)
        facts: dict[str, Any]
        if source is None:
            facts = inventory.take_inventory().to_dict()
        else:
            splits = load_data(source, test_split=test_split, mirrors=mirrors, report=report)
            facts = inventory.summarize(source, splits).to_dict()
    if as_json:
        console.print_json(facts)
    else:
        console.stdout().print(source_report(facts) if source else inventory_report(facts))
