"""``cifarnet predict``: classify pictures of one's own."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.choices import CROPS, VIEWS
from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import OUTPUT, Backend, OptionalWeights, Report, choice
from cifarnet.errors import DataError, InvalidValueError

if TYPE_CHECKING:
    from cifarnet.evaluation.inference import Classifier
    from cifarnet.evaluation.predict import ImageSource, Prediction
    from cifarnet.models.weights import Weights
    from cifarnet.reports.prediction_page import Card


EXAMPLES = examples(
    ("predict img.png", "One picture, by the ResNet-20 that comes with cifarnet"),
    ("predict photos --weights runs/r20 --csv", "All pictures in a folder, by your own network, as CSV"),
    ("predict photos --explain maps --report photos.html", "With maps of what decided, and a page of all answers"),
)


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders (with all pictures below them), quoted patterns such as `'photos/**/*.png'`, or - for"
            " standard input.",
            show_default=False,
        ),
    ],
    weights: OptionalWeights = None,
    depth: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Layers of the ResNet that comes with cifarnet, instead of --weights. Default: 20."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Number of classes to name for each picture. Default: 3.")
    ] = None,
    crop: Annotated[
        str,
        choice(
            "--crop",
            CROPS,
            "How pictures become square: center cuts out the centre, pad adds grey margins, stretch distorts."
            " Default: center.",
            show_default=False,
        ),
    ] = "center",
    tta: Annotated[
        str,
        choice(
            "--tta",
            VIEWS,
            "Test-time augmentation: flip averages over a picture and its mirror image, views over all three crops and"
            " their mirror images. Default: none.",
            show_default=False,
        ),
    ] = "none",
    reject: Annotated[
        bool, typer.Option("--reject", help="Mark pictures that are probably of none of the classes.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw into DIR a map over each picture of the places that decided for its likeliest class (Grad-CAM),"
            " without --tta.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Print CSV with the columns image, class_1, probability_1, ..., rejected (with --reject), error.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON list with one object per picture.", rich_help_panel=OUTPUT),
    ] = False,
    report_file: Report = None,
    backend: Backend = None,
) -> None:
    """Classify pictures.

    Pictures that can't be read are named on stderr, and the exit status is 1.
    """
    if as_csv and as_json:
        raise InvalidValueError("--csv and --json are two forms of the same output: give one of them. Received: both")
    if depth is not None and weights is not None:
        raise InvalidValueError("--weights gives the depth too: give --depth or --weights, not both. Received: both")
    from cifarnet.cli.reporting import page_path
    from cifarnet.evaluation import predict as service
    from cifarnet.evaluation.explain import prepare_directory
    from cifarnet.evaluation.inference import Classifier
    from cifarnet.models.weights import load_weights
    from cifarnet.runtime import use_backend
    from cifarnet.weights import catalog

    loaded = load_weights(catalog.find(weights) if weights else catalog.for_depth(20 if depth is None else depth))
    top_k = service.resolve_top_k(top_k, loaded.spec.classes)
    if reject:
        service.required_threshold(loaded)  # Refused now rather than after the backend's import.
    sources = service.find_images(images, _read_stdin)
    if explain:
        prepare_directory(explain)
    if report_file:
        page_path(report_file)
    use_backend(backend)
    # Rows on a terminal tell the progress themselves, and a bar would get between them.
    quiet = sys.stdout.isatty() or len(sources) <= service.BATCH_SIZE
    failed: list[str] = []
    cards: list[Card] = []
    with console.progress_reporter(quiet) as report:
        classifier = Classifier(loaded)
        answers = service.predict(sources, classifier, top_k=top_k, crop=crop, tta=tta, reject=reject, report=report)
        if explain:
            answers = _explained(answers, sources, classifier, crop, explain)
        answers = _errors_told(answers, failed)
        if report_file:
            answers = _put_on_cards(answers, sources, cards)
        if as_json:
            _print_json(answers)
        elif as_csv:
            _print_csv(answers, top_k, reject)
        else:
            _print_blocks(answers, [source.name for source in sources], loaded.class_names, reject)
    if report_file:
        _write_page(report_file, cards, len(sources), loaded)
    if failed:
        raise typer.Exit(1)


def _explained(
    answers: Iterable["Prediction"], sources: Sequence["ImageSource"], classifier: "Classifier", crop: str, folder: Path
) -> Iterator["Prediction"]:
    """The ``answers`` for ``sources``, each after its explanation was drawn into ``folder``."""
    from cifarnet.evaluation.explain import Explainer, explanation_paths
    from cifarnet.files import write_bytes
    from cifarnet.reports.explain import explanation_png

    explainer = Explainer(classifier, crop)
    for source, path, answer in zip(sources, explanation_paths(sources, folder), answers, strict=True):
        if answer.error is not None:
            yield answer
            continue
        try:
            found = explainer.explain(source, answer)
        except DataError as error:
            yield replace(answer, predictions=(), error=str(error))
            continue
        drawn = explanation_png(answer.image, answer.predictions, found.picture, found.heat, found.view)
        write_bytes(path, drawn)
        yield replace(answer, explanation=str(path))


def _put_on_cards(
    answers: Iterable["Prediction"], sources: Sequence["ImageSource"], cards: list["Card"]
) -> Iterator["Prediction"]:
    """The ``answers`` for ``sources``, of which as many as a page shows become ``cards``."""
    from cifarnet.data.images import open_picture
    from cifarnet.reports.canvas import thumbnail
    from cifarnet.reports.prediction_page import SHOWN, Card

    for source, answer in zip(sources, answers, strict=True):
        if len(cards) < SHOWN:
            small = None
            # What can't be read has been told, and what vanished since it was classified is shown without a picture.
            if answer.error is None:
                with suppress(DataError):
                    small = thumbnail(open_picture(source.read(), source.told))
            cards.append(Card(answer.image, small, answer.predictions, answer.rejected, answer.error))
        yield answer


def _write_page(path: Path, cards: Sequence["Card"], images: int, weights: "Weights") -> None:
    from cifarnet.cli.reporting import this_command, write_page
    from cifarnet.reports.prediction_page import prediction_page

    about = [("Network", weights.spec.title), ("Classes", ", ".join(weights.class_names))]
    write_page(path, prediction_page(cards, images, about, [this_command()]))


def _errors_told(answers: Iterable["Prediction"], failed: list[str]) -> Iterator["Prediction"]:
    """The ``answers``; errors among them are told on stderr, and the names of their pictures added to ``failed``."""
    for answer in answers:
        if answer.error is not None:
            failed.append(answer.image)
            _tell(answer.error)
        yield answer


def _read_stdin() -> bytes:
    # There is no sys.stdin in a process that was started with it closed.
    return sys.stdin.buffer.read() if sys.stdin else b""


def _tell(error: str) -> None:
    from cifarnet.reports.text import printable

    console.stderr().print(printable(error), style="red", markup=False, soft_wrap=True)


def _print_json(answers: Iterable["Prediction"]) -> None:
    """Print a list with an object a line, as they come: ASCII alone, since file names need not be valid Unicode."""
    separator = "["
    try:
        for prediction in answers:
            print(f"{separator}\n{json.dumps(prediction.to_dict())}", end="")
            separator = ","
    finally:
        # What was answered before an explanation could not be written is whole.
        print("\n]" if separator == "," else "[]")


def _print_csv(answers: Iterable["Prediction"], top_k: int, reject: bool) -> None:
    from cifarnet.reports.predictions import csv_header, csv_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(csv_header(top_k, reject))
    for prediction in answers:
        rejected = ["" if prediction.rejected is None else str(prediction.rejected).lower()] if reject else []
        writer.writerow(csv_row(prediction.image, prediction.predictions, rejected, prediction.error, top_k))


def _print_blocks(
    answers: Iterable["Prediction"], names: Sequence[str], class_names: Iterable[str], reject: bool
) -> None:
    from cifarnet.reports.predictions import REJECTION, Columns, prediction_block

    out = console.stdout()
    columns = Columns.fitting([*names, *([REJECTION] if reject else [])], class_names, out.width)
    for prediction in answers:
        if prediction.error is None:
            out.print(prediction_block(prediction.image, prediction.predictions, columns, prediction.rejected))
