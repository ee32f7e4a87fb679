"""``cifarnet summary``: a network's layers, parameters and cost, without starting TensorFlow."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import OUTPUT, Depth, Json, Model, OptionalWeights, chosen_model
from cifarnet.errors import InvalidValueError
from cifarnet.fields import IMAGE_SIZES
from cifarnet.plurals import counted

if TYPE_CHECKING:
    from cifarnet.models.spec import ModelSpec

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
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of the images: 32, 48, 64, 96, 128, ... Default: that of the weights, or 32."
        ),
    ] = None,
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
    chosen = {"classes": classes, "image_size": image_size}
    spec = ModelSpec(
        ModelSpec.name if name is None else name, **{key: value for key, value in chosen.items() if value is not None}
    )
    header = None
    require_storable(spec)
    if weights is not None:
        from cifarnet.weights import catalog
        from cifarnet.weights.formats import load_header

        _, header = catalog.read(weights, load_header)
        spec = header.spec
        if classes not in (None, spec.classes):
            raise InvalidValueError(f"{weights} has {counted(spec.classes, 'class')}. Received: --classes {classes}")
        if image_size is not None:
            spec = _at_size(spec, image_size, weights)
    if name is None and header is None:
        if plain or units:
            raise InvalidValueError(
                "--plain and --units show one network: give its --model, --depth or --weights. Received: neither"
            )
        specs = [found for preset in PRESETS.values() if (found := _resized(preset, spec))]
        if left_out := PRESETS.keys() - {each.name for each in specs}:
            console.warn(
                f"Left out, because images of {spec.image_size} pixels don't fit: {', '.join(sorted(left_out))}"
            )
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


def _resized(preset: "ModelSpec", asked: "ModelSpec") -> "ModelSpec | None":
    """Return ``preset`` with the classes and the image size of ``asked``; None if the network doesn't take the size."""
    try:
        return replace(preset, classes=asked.classes, image_size=asked.image_size)
    except InvalidValueError:
        return None


def _at_size(spec: "ModelSpec", image_size: int, weights: Path) -> "ModelSpec":
    """Return the network of ``weights`` for images of ``image_size`` pixels.

    Raises:
        InvalidValueError: when the weights don't fit this size.
    """
    if found := spec.at_size(image_size):
        return found
    sizes = spec.fitting_sizes(int(IMAGE_SIZES.high))
    nearest = sorted(sorted(sizes, key=lambda size: abs(size - image_size))[:2])
    raise InvalidValueError(
        f"The weights {weights} don't fit images of {image_size} pixels; nearest: {' and '.join(map(str, nearest))}."
        f" Received: --image-size {image_size}"
    )
