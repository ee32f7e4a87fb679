"""``cifarnet summary``: a network's layers, parameters and cost, without starting TensorFlow."""

from typing import Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Json, OptionalWeights
from cifarnet.errors import InvalidValueError


def summary(
    depth: Annotated[int | None, typer.Option(help="Layers, 6n+2: 20, 32, 44, ...", show_default=False)] = None,
    weights: OptionalWeights = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes. (default: 10)")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print the table as Keras 2 did, in plain text.")] = False,
    units: Annotated[bool, typer.Option("--units", help="Open the stages to residual units and layers.")] = False,
    as_json: Json = False,
) -> None:
    """Show a network's layers, output shapes, parameters and multiply-accumulates; without arguments, all networks."""
    from cifarnet.models.resnet import describe
    from cifarnet.models.spec import PRESETS, ModelSpec
    from cifarnet.reports import summary as reports

    if depth is not None and weights is not None:
        raise InvalidValueError("--weights says the depth itself: give --depth or --weights, not both.")
    if plain and as_json:
        raise InvalidValueError("--plain and --json are two forms of the same output: give one of them.")
    spec, header = ModelSpec(20 if depth is None else depth, classes or 10), None
    if weights is not None:
        from cifarnet.models.weights import load_header
        from cifarnet.weights import catalog

        header = load_header(catalog.find(weights))
        spec = header.spec
        if classes not in (None, spec.classes):
            raise InvalidValueError(f"{weights} has {spec.classes} classes. Received: --classes {classes}")
    if depth is None and header is None:
        if plain or units:
            raise InvalidValueError("--plain and --units show one network: say which with --depth or --weights.")
        specs = [ModelSpec(preset.depth, spec.classes) for preset in PRESETS.values()]
        facts = [reports.summary_data(spec, describe(spec)) for spec in specs]
        if as_json:
            console.print_json(facts)
        else:
            console.stdout().print(reports.overview(facts))
        return
    data = reports.summary_data(spec, describe(spec), units)
    if as_json:
        console.print_json(data)
    elif plain:
        print(reports.plain_summary(data))
    else:
        console.stdout().print(reports.rich_summary(data, header.header() if header else None))
