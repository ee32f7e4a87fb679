"""``cifarnet predict``: classify pictures of one's own."""

import csv
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
from cifarnet.cli.options import OUTPUT, Backend, Depth, Model, OptionalWeights, Report, choice, chosen_model
from cifarnet.errors import DataError, InvalidValueError

if TYPE_CHECKING:
    from cifarnet.evaluation.explain import Explainer, Explanation
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
    model: Model = None,
    depth: Depth = None,
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

    CSV shows characters that are not printable as escapes; --json keeps all of a name. Spreadsheets take a cell that
    begins with =, +, - or @ for a formula: import the columns as text.
    """
    if as_csv and as_json:
        raise InvalidValueError("--csv and --json are two forms of the same output: give one of them. Received: both")
    network = chosen_model(model, depth, weights) or "resnet20"
    with console.transient("Starting ..."):
        from cifarnet.backend.select import choose_backend
        from cifarnet.cli.reporting import page_path
        from cifarnet.evaluation import predict as service
        from cifarnet.evaluation.explain import Explainer, prepare_directory
        from cifarnet.inference.classifier import Classifier
        from cifarnet.models.weights import load_weights
        from cifarnet.reports.predictions import network_line
        from cifarnet.weights import catalog

    choose_backend(backend)
    if weights:
        file, loaded = catalog.read(weights, load_weights)
    else:
        file = catalog.for_model(network)
        loaded = load_weights(file)
    top_k = service.resolve_top_k(top_k, loaded.spec.classes)
    if reject:
        service.required_threshold(loaded)
    sources = service.find_images(images, _read_stdin, console.warn_of_left_out)
    if explain:
        prepare_directory(explain)
    if report_file:
        page_path(report_file)
    name = str(weights or loaded.spec.name)
    # Rows on a terminal tell the progress themselves, and a bar would get between them.
    quiet = sys.stdout.isatty() or len(sources) <= service.BATCH_SIZE
    failed: list[str] = []
    cards: list[Card] = []
    with console.progress_reporter(quiet) as report:

        def start() -> None:
            # Here, where a first picture has been read: without one, no network answers.
            line = network_line(name, loaded.spec.title, loaded.class_names)
            # A terminal breaks it between words; in a log it is one line.
            console.stderr().print(line, style="dim", markup=False, soft_wrap=not sys.stderr.isatty())
            console.start_backend(backend, progress=report)

        classifier = Classifier(loaded, start)
        answers = service.predict(sources, classifier, top_k=top_k, crop=crop, tta=tta, reject=reject, report=report)
        explained = _Explained(Explainer(classifier, crop), explain, sources) if explain else None
        answers = _pictured(answers, sources, explained, cards if report_file else None)
        answers = _errors_told(answers, failed)
        if as_json:
            _print_json(answers)
        elif as_csv:
            _print_csv(answers, top_k, reject)
        else:
            _print_blocks(answers, [source.name for source in sources], loaded.class_names, reject)
    if report_file:
        _write_page(report_file, cards, len(sources), loaded, name)
    if failed:
        raise typer.Exit(1)


class _Explained:
    """Explains the answers for ``sources`` and draws each explanation into ``folder``."""

    def __init__(self, explainer: "Explainer", folder: Path, sources: Sequence["ImageSource"]):
        from cifarnet.evaluation.explain import explanation_paths

        self._explainer = explainer
        self._paths = explanation_paths(sources, folder)

    def explain(self, number: int, source: "ImageSource", answer: "Prediction") -> "tuple[Prediction, Explanation]":
        """Return the answer for the ``number``-th source with the file of its explanation, and the explanation.

        Raises:
            DataError: when the picture can't be read any more.
            StorageError: when the file can't be written.
        """
        from cifarnet.files import write_bytes
        from cifarnet.reports.explain import explanation_png

        found, path = self._explainer.explain(source, answer), self._paths[number]
        drawn = explanation_png(answer.image, answer.predictions, found.picture, found.heat, found.view)
        write_bytes(path, drawn)
        return replace(answer, explanation=str(path)), found


def _pictured(
    answers: Iterable["Prediction"],
    sources: Sequence["ImageSource"],
    explained: _Explained | None,
    cards: list["Card"] | None,
) -> Iterator["Prediction"]:
    """Yield the ``answers`` for ``sources``, explained where ``explained`` is given and added to ``cards`` if given."""
    from cifarnet.reports.prediction_page import SHOWN

    for number, (source, answer) in enumerate(zip(sources, answers, strict=True)):
        given, found = answer, None
        if explained and answer.error is None:
            try:
                given, found = explained.explain(number, source, answer)
            except DataError as error:
                given = replace(answer, predictions=(), error=str(error))
        if cards is not None and len(cards) < SHOWN:
            cards.append(_card(source, given, found))
        yield given


def _card(source: "ImageSource", answer: "Prediction", explanation: "Explanation | None") -> "Card":
    from PIL import Image

    from cifarnet.data.images import open_picture
    from cifarnet.reports.canvas import thumbnail
    from cifarnet.reports.explain import overlay
    from cifarnet.reports.prediction_page import Card

    small = seen = None
    if explanation:
        small = thumbnail(Image.fromarray(explanation.picture))
        seen = thumbnail(overlay(explanation.picture, explanation.heat))
    elif answer.error is None:
        # What vanished since it was classified is shown without a picture.
        with suppress(DataError):
            small = thumbnail(open_picture(source.read(), source.told))
    return Card(answer.image, small, answer.predictions, answer.rejected, answer.error, seen)


def _write_page(path: Path, cards: Sequence["Card"], images: int, weights: "Weights", name: str) -> None:
    from cifarnet.cli.reporting import these_commands, write_page
    from cifarnet.reports.prediction_page import prediction_page

    about = [("Network", weights.spec.title), ("Weights", name), ("Classes", ", ".join(weights.class_names))]
    write_page(path, prediction_page(cards, images, about, these_commands()))


def _errors_told(answers: Iterable["Prediction"], failed: list[str]) -> Iterator["Prediction"]:
    """Yield the ``answers``; print their errors on stderr and add the names of their pictures to ``failed``."""
    for answer in answers:
        if answer.error is not None:
            failed.append(answer.image)
            console.warn(answer.error, style="red")
        yield answer


def _read_stdin() -> bytes:
    # There is no sys.stdin in a process that was started with it closed.
    return sys.stdin.buffer.read() if sys.stdin else b""


def _print_json(answers: Iterable["Prediction"]) -> None:
    """Print a list with an object a line, as they come."""
    separator = "["
    try:
        for prediction in answers:
            print(f"{separator}\n{console.json_text(prediction.to_dict())}", end="")
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
