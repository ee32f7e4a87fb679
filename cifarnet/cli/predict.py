"""``cifarnet predict``: classify pictures of one's own."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Backend, OptionalWeights, Report
from cifarnet.errors import DataError, InvalidValueError

if TYPE_CHECKING:
    from cifarnet.evaluation.inference import Classifier
    from cifarnet.evaluation.predict import ImageSource, Prediction
    from cifarnet.models.weights import Weights
    from cifarnet.reports.prediction_page import Card


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
        Crop,
        typer.Option(
            help="What makes a picture square: center cuts its centre out, pad adds grey margins, stretch distorts it."
        ),
    ] = Crop.CENTER,
    tta: Annotated[
        Views,
        typer.Option(
            help="Test-time augmentation: flip averages with the mirror image, views over all three crops, both ways."
        ),
    ] = Views.NONE,
    reject: Annotated[
        bool,
        typer.Option("--reject", help="Say so of pictures that are probably of none of the classes."),
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw into DIR, for each picture, where in it the likeliest class was seen (Grad-CAM): a map over the"
            " picture, the network's own view beside it. With --tta the map is that of the plain view.",
        ),
    ] = None,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print CSV: image, class_1, probability_1, ..., rejected (only with --reject), error."
        ),
    ] = False,
    report_file: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list with one object per image.")] = False,
    backend: Backend = None,
) -> None:
    """Name the likeliest classes of pictures; those that can't be read are told on stderr and by exit status 1."""
    if as_csv and as_json:
        raise InvalidValueError("--csv and --json are two forms of the same output: give one of them. Received: both")
    if depth is not None and weights is not None:
        raise InvalidValueError("--weights says the depth itself: give --depth or --weights, not both.")
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
    sources = service.find_images(images, _read_stdin, console.tell_left_out)
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
    from cifarnet.cli.reporting import these_commands, write_page
    from cifarnet.reports.prediction_page import prediction_page

    about = [("Network", weights.spec.title), ("Classes", ", ".join(weights.class_names))]
    write_page(path, prediction_page(cards, images, about, these_commands()))


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
