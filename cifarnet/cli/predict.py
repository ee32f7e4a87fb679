"""``cifarnet predict``: classify pictures of one's own."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Backend, OptionalWeights
from cifarnet.errors import InvalidValueError

if TYPE_CHECKING:
    from cifarnet.evaluation.predict import Prediction

_NO_WEIGHTS = """\
cifarnet predict needs trained weights, and none come with the package yet. Train some, then name the run:
  cifarnet train --data synthetic --depth 8 --recipe paper --batch-size 32 --epochs 5 --learning-rate 0.05 \\
    --output runs/first                    (coloured shapes, a minute on a CPU)
  cifarnet train --output runs/cifar10     (CIFAR-10, long without a GPU)
  cifarnet predict IMAGE... --weights runs/first"""


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders (with all images below), patterns such as 'photos/**/*.png', or - for standard input.",
            show_default=False,
        ),
    ],
    weights: OptionalWeights = None,
    top_k: Annotated[
        int | None,
        typer.Option(metavar="K", help="Classes to name per image; by default 3, or all where there are fewer."),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: image, class_1, probability_1, ..., error.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list with one object per image.")] = False,
    backend: Backend = None,
) -> None:
    """Name the likeliest classes of pictures; those that can't be read are told on stderr and by exit status 1."""
    if as_csv and as_json:
        raise InvalidValueError("--csv and --json are two forms of the same output: give one of them. Received: both")
    if weights is None:
        raise InvalidValueError(_NO_WEIGHTS)
    from cifarnet.evaluation import predict as service
    from cifarnet.evaluation.inference import Classifier
    from cifarnet.models.weights import load_weights
    from cifarnet.runs import find_weights
    from cifarnet.runtime import use_backend

    loaded = load_weights(find_weights(weights))
    top_k = service.resolve_top_k(top_k, loaded.spec.classes)
    sources = service.find_images(images, _read_stdin)
    use_backend(backend)
    # Rows on a terminal tell the progress themselves, and a bar would get between them.
    quiet = sys.stdout.isatty() or len(sources) <= service.BATCH_SIZE
    failed = False

    def answers() -> Iterator["Prediction"]:
        nonlocal failed
        for prediction in service.predict(sources, Classifier(loaded), top_k=top_k, report=report):
            if prediction.error is not None:
                failed = True
                _tell(prediction.error)
            yield prediction

    with console.progress_reporter(quiet) as report:
        if as_json:
            _print_json(answers())
        elif as_csv:
            _print_csv(answers(), top_k)
        else:
            _print_blocks(answers(), [source.name for source in sources], loaded.class_names)
    if failed:
        raise typer.Exit(1)


def _read_stdin() -> bytes:
    # There is no sys.stdin in a process that was started with it closed.
    return sys.stdin.buffer.read() if sys.stdin else b""


def _tell(error: str) -> None:
    from cifarnet.reports.text import printable

    console.stderr().print(printable(error), style="red", markup=False, soft_wrap=True)


def _print_json(answers: Iterable["Prediction"]) -> None:
    """Print a list with an object a line, as they come: ASCII alone, since file names need not be valid Unicode."""
    separator = "["
    for prediction in answers:
        print(f"{separator}\n{json.dumps(prediction.to_dict())}", end="")
        separator = ","
    print("\n]")


def _print_csv(answers: Iterable["Prediction"], top_k: int) -> None:
    from cifarnet.reports.predictions import csv_header, csv_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(csv_header(top_k))
    for prediction in answers:
        writer.writerow(csv_row(prediction.image, prediction.predictions, prediction.error, top_k))


def _print_blocks(answers: Iterable["Prediction"], names: list[str], class_names: Iterable[str]) -> None:
    from cifarnet.reports.predictions import Columns, prediction_block

    out = console.stdout()
    columns = Columns.fitting(names, class_names, out.width)
    for prediction in answers:
        if prediction.error is None:
            out.print(prediction_block(prediction.image, prediction.predictions, columns))
