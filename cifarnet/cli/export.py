"""``cifarnet export``: write a network for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from cifarnet.choices import EXPORT_FORMATS
from cifarnet.cli import console
from cifarnet.cli.engine import starter
from cifarnet.cli.help import examples
from cifarnet.cli.options import OUTPUT, Backend, Json, TestSplit, choice
from cifarnet.runs.request import WEIGHTS

EXAMPLES = examples(
    ("export runs/r20", "A run, as an ONNX file in the current folder"),
    ("export resnet20 --format litert --output cifar.tflite", "Named weights, for phones"),
    ("export resnet20 --int8 --data my-images", "In 8-bit integers, checked on your images"),
)


def export(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar=WEIGHTS,
            help="A run directory, a weight file, or a name that `cifarnet weights` lists.",
            show_default=False,
        ),
    ],
    format: Annotated[
        str | None,
        choice(
            "--format",
            EXPORT_FORMATS,
            "The format of the file. savedmodel is a folder, and openvino is a .xml file with a .bin file beside it."
            " Default: that of the suffix of --output, or onnx.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file to write. Default: the name of the network in the current folder, such as resnet20.onnx.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Compute in 8-bit integers (onnx and litert). The file is a third as large, and a little less exact.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Images to check the file with, and training images for --int8. Default: the data that the weights"
            " record, or else synthetic images.",
        ),
    ] = None,
    test_split: TestSplit = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an existing file.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Json = False,
    backend: Backend = None,
) -> None:
    """Write a network for other programs.

    The file takes uint8 images and gives probabilities. It is opened with the format's own runtime and compared with
    the weights. A file that differs is not kept.
    """
    with console.transient("Starting ..."):
        from cifarnet.backend.select import choose_backend
        from cifarnet.export import export_model

    choose_backend(backend)
    with console.progress_reporter() as report:
        start = starter(backend, report)
        exported = export_model(
            weights,
            output,
            format,
            int8=int8,
            data=data,
            test_split=test_split,
            replace=replace,
            on_start=start,
            report=report,
        )
    figures = exported.to_dict()
    if as_json:
        console.print_json(figures)
    else:
        from cifarnet.reports.terminal.export_tables import render_export

        console.stdout().print(render_export(figures))
    if exported.int8 and exported.int8.is_costly:
        console.warn(
            f"{exported.path} loses {exported.int8.points_lost:.2f} points of accuracy. Leave out --int8 if that is"
            " too much."
        )
