"""``cifarnet predict``: classify pictures of one's own."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Backend, OptionalWeights
from cifarnet.errors import InvalidValueError

if TYPE_CHECKING:
    from cifarnet.evaluation.predict import Prediction


class Crop(StrEnum):
    """Ways of making a picture square."""

    CENTER = "center"
    PAD = "pad"
    STRETCH = "stretch"


class Views(StrEnum):
    """Kinds of test-time augmentation of pictures."""

    NONE = "none"
    FLIP = "flip"
    VIEWS = "views"


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
    depth: Annotated[
        int | None,
        typer.Option(help="Depth of the ResNet that answers, of those that come with cifarnet. (default: 20)"),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(metavar="K", help="Classes to name per image; by default 3, or all where there are fewer."),
    ] = None,
    crop: Annotated[
        Crop, typer.Option(help="What makes a picture square: its centre, grey margins, or pulling it out of shape.")
    ] = Crop.CENTER,
    tta: Annotated[
        Views, typer.Option(help="Test-time augmentation: average with the mirror image, or over all crops, both ways.")
    ] = Views.NONE,
    reject: Annotated[
        bool,
        typer.Option("--reject", help="Say so of pictures that are probably of none of the classes."),
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: image, class_1, probability_1, ..., error.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list with one object per image.")] = False,
    backend: Backend = None,
) -> None:
    """Name the likeliest classes of pictures; those that can't be read are told on stderr and by exit status 1."""
    if as_csv and as_json:
        raise InvalidValueError("--csv and --json are two forms of the same output: give one of them. Received: both")
    if depth is not None and weights is not None:
        raise InvalidValueError("--weights says the depth itself: give --depth or --weights, not both.")
    from cifarnet.evaluation import predict as service
    from cifarnet.evaluation.inference import Classifier
    from cifarnet.models.weights import load_weights
    from cifarnet.reports.predictions import REJECTION
    from cifarnet.runtime import use_backend
    from cifarnet.weights import catalog

    loaded = load_weights(catalog.find(weights) if weights else catalog.for_depth(depth or 20))
    top_k = service.resolve_top_k(top_k, loaded.spec.classes)
    if reject:
        service.required_threshold(loaded)  # Refused now rather than after the backend's import.
    sources = service.find_images(images, _read_stdin)
    use_backend(backend)
    # Rows on a terminal tell the progress themselves, and a bar would get between them.
    quiet = sys.stdout.isatty() or len(sources) <= service.BATCH_SIZE
    failed = False

    def answers() -> Iterator["Prediction"]:
        nonlocal failed
        predictions = service.predict(
            sources, Classifier(loaded), top_k=top_k, crop=crop, tta=tta, reject=reject, report=report
        )
        for prediction in predictions:
            if prediction.error is not None:
                failed = True
                _tell(prediction.error)
            yield prediction

    with console.progress_reporter(quiet) as report:
        if as_json:
            _print_json(answers())
        elif as_csv:
            _print_csv(answers(), top_k, reject)
        else:
            names = [*(source.name for source in sources), *([REJECTION] if reject else [])]
            _print_blocks(answers(), names, loaded.class_names)
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


def _print_csv(answers: Iterable["Prediction"], top_k: int, reject: bool) -> None:
    from cifarnet.reports.predictions import csv_header, csv_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(csv_header(top_k, reject))
    for prediction in answers:
        rejected = ["" if prediction.rejected is None else str(prediction.rejected).lower()] if reject else []
        writer.writerow(csv_row(prediction.image, prediction.predictions, rejected, prediction.error, top_k))


def _print_blocks(answers: Iterable["Prediction"], names: list[str], class_names: Iterable[str]) -> None:
    from cifarnet.reports.predictions import Columns, prediction_block

    out = console.stdout()
    columns = Columns.fitting(names, class_names, out.width)
    for prediction in answers:
        if prediction.error is None:
            out.print(prediction_block(prediction.image, prediction.predictions, columns, prediction.rejected))
