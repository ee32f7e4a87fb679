"""``cifarnet summary``: a network's layers, parameters and cost, without starting TensorFlow."""

from dataclasses import replace
from typing import Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import OUTPUT, Depth, Json, Model, OptionalWeights, chosen_model
from cifarnet.errors import InvalidValueError

EXAMPLES = examples(
    ("summary", "Compare all documented networks"),
    ("summary --depth 20 --units", "A ResNet-20, layer by layer"),
    ("summary --weights runs/r20", "The network of a run, with its classes and accuracy"),
)


def summary(
    model: Model = None,
    depth: Depth = None,
    weights: OptionalWeights = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Number of classes. Default: 10.")] = None,
    units: Annotated[bool, typer.Option("--units", help="Show the units and layers of each stage.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print the table in the format of Keras 2.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a network's layers, parameters and cost.

    The cost is the number of multiply-accumulates per image. Without options, all documented networks are compared.
    """
    from cifarnet.models.spec import PRESETS, ModelSpec, describe
    from cifarnet.reports.terminal import network_tables as reports
    from cifarnet.weights.record import require_storable

    name = chosen_model(model, depth, weights)
    if plain and as_json:
        raise InvalidValueError("--plain and --json can't be combined: give one of them. Received: both")
    spec, header = ModelSpec("resnet20" if name is None else name, 10 if classes is None else classes), None
    require_storable(spec)
    if weights is not None:
        from cifarnet.weights import catalog
        from cifarnet.weights.formats import load_header

        _, header = catalog.read(weights, load_header)
        spec = header.spec
        if classes not in (None, spec.classes):
            raise InvalidValueError(f"{weights} has {spec.classes} classes. Received: --classes {classes}")
    if name is None and header is None:
        if plain or units:
            raise InvalidValueError(
                "--plain and --units show one network: give its --model, --depth or --weights. Received: neither"
            )
        specs = [replace(preset, classes=spec.classes) for preset in PRESETS.values()]
        facts = [reports.summary_data(spec, describe(spec)) for spec in specs]
        if as_json:
            console.print_json(facts)
        else:
            console.stdout().print(reports.render_networks(facts))
        return
    data = reports.summary_data(spec, describe(spec), units)
    if as_json:
        console.print_json({**data, "weights": header.header()} if header else data)
    elif plain:
        print(reports.plain_summary(data))
    else:
        console.stdout().print(reports.render_network(data, header.header() if header else None))
