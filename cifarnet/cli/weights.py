"""``cifarnet weights``: list, add and remove trained weights by name, and convert weight files."""

from pathlib import Path
from typing import Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.help import PanelCommand, PanelGroup, examples
from cifarnet.cli.options import Json, parsed
from cifarnet.errors import InvalidValueError
from cifarnet.fields import Notation

app = typer.Typer(
    name="weights",
    cls=PanelGroup,
    epilog=examples(
        ("weights", "List names, networks and accuracies"),
        ("weights add runs/r20 mine", "Copy a run's weights under a name"),
        ("predict img.png --weights mine", "Classify a picture with them"),
    ),
)

Replace = Annotated[bool, typer.Option("--replace", help="Replace existing weights or an existing file.")]


@app.callback(invoke_without_command=True)
def weights(context: typer.Context, as_json: Json = False) -> None:
    """List trained weights that have a name.

    Some come with cifarnet; `cifarnet weights add` adds your own.
    """
    if context.invoked_subcommand:
        return
    from cifarnet.evaluation.metrics import wilson_interval
    from cifarnet.weights import catalog

    facts = []
    for described in catalog.listing():
        accuracy, images = described["accuracy"], described["test_images"]
        interval = wilson_interval(accuracy, images) if accuracy is not None and images else None
        facts.append({**described, "accuracy_interval": interval})
    if as_json:
        console.print_json(facts)
        return
    from cifarnet.reports.terminal.weights_table import render_weights

    out = console.stdout()
    out.print(render_weights(facts, out.width))
    for fact in facts:
        if fact["problem"]:
            console.warn(f"{fact['name']}: {fact['problem']}")


@app.command(cls=PanelCommand)
def add(
    run: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory or a weight file.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, dots, dashes and underscores.")
    ],
    replace: Replace = False,
) -> None:
    """Copy the weights of a run under a name.

    The options --weights and --teacher and the command evaluate take such names.
    """
    from cifarnet.weights import catalog

    entry = catalog.add(run, name, replace=replace)
    console.stderr().print(f"Added as {entry.name}: {entry.path}", markup=False, soft_wrap=True)


@app.command(cls=PanelCommand)
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="The name of weights that you added.")]) -> None:
    """Delete weights that you added.

    The run that they were copied from is not changed.
    """
    from cifarnet.weights import catalog

    catalog.remove(name)
    console.stderr().print(f"Removed {name}.", markup=False)


@app.command(cls=PanelCommand)
def convert(
    old: Annotated[
        Path,
        typer.Argument(
            metavar="OLD",
            help="A checkpoint of PyTorch (.pt, .pth, .th), a safetensors file, or a weight file of the original"
            " project (Keras 2.2.4-tf HDF5).",
        ),
    ],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The file to write.")],
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Mean of each channel for pixels from 0 to 1, as torchvision's Normalize takes it. Only for files of"
            " PyTorch, which don't record it.",
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Standard deviation of each channel for pixels from 0 to 1.")
    ] = None,
    classes_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes in the order of the logits, one a line. Default for files of PyTorch with ten"
            " classes: those of CIFAR-10.",
        ),
    ] = None,
    replace: Replace = False,
) -> None:
    """Convert a weight file to cifarnet's format.

    The converted network has the same logits for images that are normalized in the same way.
    """
    from cifarnet.weights.convert import convert_weights

    written = convert_weights(
        old,
        new,
        mean=None if mean is None else parsed(_CHANNELS, mean, "--mean"),
        std=None if std is None else parsed(_CHANNELS, std, "--std"),
        class_names=None if classes_file is None else _lines(classes_file),
        replace=replace,
    )
    console.stderr().print(f"{written.spec.title} of {old} written to {new}.", markup=False, soft_wrap=True)


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file in UTF-8, without empty lines at its end.

    Raises:
        InvalidValueError: when it can't be read.
    """
    from cifarnet.json_files import SIZE_LIMIT, read_bytes

    try:
        return read_bytes(path, SIZE_LIMIT).decode("utf-8-sig").rstrip().splitlines()
    except (InvalidValueError, UnicodeDecodeError) as error:
        raise InvalidValueError(f"--classes-file {path} can't be read: {error}. Received: {path}") from error


def _three(word: str) -> tuple[float, float, float]:
    red, green, blue = map(float, word.split(","))
    return red, green, blue


_CHANNELS = Notation(
    "three numbers, for red, green and blue,",
    "0.4914,0.4822,0.4465",
    _three,
    lambda values: ",".join(f"{value:g}" for value in values),
)
