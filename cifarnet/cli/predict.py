"""``cifarnet predict``: classify pictures."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarnet.choices import CROPS, DEFAULT_WEIGHTS, VIEWS
from cifarnet.cli import console
from cifarnet.cli.engine import Engine, Precision, chosen_engine, starter
from cifarnet.cli.help import examples
from cifarnet.cli.options import OUTPUT, Backend, Depth, OptionalWeights, ReportFile, choice, chosen_model
from cifarnet.errors import InvalidValueError

if TYPE_CHECKING:
    from cifarnet.inference.explain import Explainer, Explanation
    from cifarnet.inference.predict import Keep, Prediction
    from cifarnet.reports.html.prediction_page import Card
    from cifarnet.weights.record import Weights


EXAMPLES = examples(
    ("predict img.png", "One picture, with the ResNet-20 that comes with cifarnet"),
    ("predict photos --weights runs/r20 --csv", "All pictures in a folder, with your own network, as CSV"),
    (
        "predict photos --explain maps --report photos.html",
        "With heat maps that explain the predictions, and a page of all predictions",
    ),
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
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Network whose weights come with cifarnet, instead of --weights; `cifarnet weights` lists them."
            f" Default: {DEFAULT_WEIGHTS}.",
        ),
    ] = None,
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
            "Test-time augmentation: flip averages over a picture and its mirror image, shift over views that are"
            " shifted by a pixel too, views over all three crops and their mirror images. Default: none.",
            show_default=False,
        ),
    ] = "none",
    reject: Annotated[
        bool, typer.Option("--reject", help="Mark pictures that probably belong to none of the classes.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Save in DIR a heat map of each picture that shows which places support its likeliest class"
            " (Grad-CAM). No file is replaced: a map whose name is taken gets a number. The maps ignore --tta.",
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
    report_file: ReportFile = None,
    engine: Engine = "auto",
    precision: Precision = None,
    backend: Backend = None,
) -> None:
    """Classify pictures.

    Pictures that can't be read are listed on stderr, and the exit status is 1.

    CSV escapes characters that are not printable. JSON keeps names unchanged. Spreadsheets read cells that begin with
    =, +, - or @ as formulas, so import the columns as text.
    """
    if as_csv and as_json:
        raise InvalidValueError("--csv and --json can't be combined: give one of them. Received: both")
    with console.transient("Starting ..."):
        from cifarnet.cli.reporting import page_path
        from cifarnet.inference import predict as service
        from cifarnet.inference.classifier import Classifier
        from cifarnet.inference.explain import BATCH_SIZE as EXPLAINED_BATCH_SIZE
        from cifarnet.inference.explain import Explainer, explanation_paths, prepare_directory
        from cifarnet.inference.rejection import required_rejection

    network = chosen_model(model, depth, weights)
    engine = chosen_engine(engine, backend, explains=explain is not None, weights=weights)
    loaded = _load(weights, DEFAULT_WEIGHTS if network is None else network)
    top_k = service.resolve_top_k(top_k, loaded.spec.classes)
    if reject and not required_rejection(loaded).by_distance:
        console.warn(
            "These weights have no embedding statistics, so --reject judges by the largest logit, which finds fewer"
            " pictures of other things. A training with --validation-split stores the statistics."
            if loaded.spec.family.distance_rejects
            else f"--reject judges the answers of {loaded.spec.title} by the largest logit, which finds fewer pictures"
            " of other things than the distance by which ResNets are judged.",
            style="dim",
        )
    sources = service.find_images(images, _read_stdin, console.warn_of_left_out)
    if explain:
        prepare_directory(explain)
    if report_file:
        page_path(report_file)
    name = str(weights or loaded.spec.name)
    # Rows on a terminal show the progress, and a bar would interrupt them.
    quiet = sys.stdout.isatty() or len(sources) <= service.BATCH_SIZE
    failed: list[str] = []
    cards: list[Card] = []
    with console.progress_reporter(quiet) as report:
        start = partial(_start, starter(backend, report), loaded, name)
        classifier = Classifier(loaded, engine=engine, precision=precision, on_start=start)
        explainer = Explainer(classifier, crop) if explain else None
        predictions = service.predict(
            sources,
            classifier,
            top_k=top_k,
            crop=crop,
            tta=tta,
            reject=reject,
            batch_size=EXPLAINED_BATCH_SIZE if explain else service.BATCH_SIZE,
            keep=_keep(explainer, report_file),
            report=report,
        )
        explanations = _explained(predictions, explainer, explanation_paths(sources, explain) if explain else ())
        predictions = _collected(explanations, failed, cards if report_file else None)
        if as_json:
            _print_json(predictions)
        elif as_csv:
            _print_csv(predictions, top_k, reject)
        else:
            _print_blocks(predictions, [source.name for source in sources], loaded.class_names, reject)
    if explain and len(failed) < len(sources):
        console.warn(f"The heat maps are in {explain}", style="dim")
    if report_file:
        _write_page(report_file, cards, len(sources), loaded, name)
    if failed:
        raise typer.Exit(1)


def _start(start: Callable[[str], object], weights: "Weights", name: str, engine: str) -> None:
    """Print the name of the network, and start the engine. This is called when the first picture has been read."""
    from cifarnet.reports.terminal.prediction_blocks import network_line

    line = network_line(name, weights.spec.title, weights.class_names)
    # On a terminal the line is wrapped between words. In a log it stays one line.
    console.stderr().print(line, style="dim", markup=False, soft_wrap=not sys.stderr.isatty())
    start(engine)


def _write_page(path: Path, cards: Sequence["Card"], images: int, weights: "Weights", name: str) -> None:
    from cifarnet.cli.reporting import these_commands, write_page
    from cifarnet.reports.html.prediction_page import prediction_page

    write_page(path, prediction_page(cards, images, weights.spec.title, name, weights.class_names, these_commands()))


def _load(weights: Path | None, network: str) -> "Weights":
    """Return the given weights or, by default, the weights of ``network`` that come with cifarnet."""
    from cifarnet.weights import catalog
    from cifarnet.weights.formats import load_network

    if weights:
        return catalog.read(weights, load_network)[1]
    return load_network(catalog.for_model(network))


def _keep(explainer: "Explainer | None", report_file: Path | None) -> "Keep | None":
    """Return the function that prepares a decoded picture for its heat map or its card."""
    if explainer:
        return lambda index, picture: explainer.show(picture)
    if report_file is None:
        return None
    from cifarnet.reports.figures.canvas import thumbnail
    from cifarnet.reports.html.prediction_page import SHOWN

    return lambda index, picture: thumbnail(picture) if index < SHOWN else None


def _explained(
    predictions: Iterable["Prediction"], explainer: "Explainer | None", paths: Sequence[Path]
) -> "Iterator[tuple[Prediction, Explanation | None]]":
    """Yield each prediction with its explanation, whose heat map is saved in the file of ``paths``.

    Raises:
        StorageError: when a file can't be written.
    """
    from cifarnet.files import write_bytes
    from cifarnet.reports.figures.explanation import explanation_png

    for number, prediction in enumerate(predictions):
        if explainer is None or prediction.error is not None:
            yield prediction, None
            continue
        found = explainer.explain(prediction, prediction.kept)
        drawn = explanation_png(prediction.image, prediction.predictions, found.picture, found.heat, found.view)
        write_bytes(paths[number], drawn)
        yield replace(prediction, explanation=str(paths[number])), found


def _collected(
    predictions: "Iterable[tuple[Prediction, Explanation | None]]", failed: list[str], cards: list["Card"] | None
) -> Iterator["Prediction"]:
    """Yield the predictions, and print their errors on stderr.

    The names of pictures with errors are added to ``failed``, and the cards of the report to ``cards`` if it is given.
    """
    for prediction, found in predictions:
        if cards is not None:
            _add_card(cards, prediction, found)
        if prediction.error is not None:
            failed.append(prediction.image)
            console.warn(prediction.error, style="red")
        yield prediction


def _add_card(cards: list["Card"], prediction: "Prediction", found: "Explanation | None") -> None:
    """Add the card of a prediction, unless the page is full."""
    from cifarnet.reports.html.prediction_page import SHOWN, prediction_card

    if len(cards) < SHOWN:
        explanation = (found.picture, found.heat) if found else None
        cards.append(prediction_card(prediction.to_dict(), None if found else prediction.kept, explanation))


def _read_stdin() -> bytes:
    # ``sys.stdin`` is None if the process was started with standard input closed.
    return sys.stdin.buffer.read() if sys.stdin else b""


def _print_json(predictions: Iterable["Prediction"]) -> None:
    """Print a list with one object per line, each when its prediction is ready."""
    separator = "["
    try:
        for prediction in predictions:
            # The line is ended at once, because a message on the same terminal may follow.
            print(f"{separator}{console.json_text(prediction.to_dict())}")
            separator = ","
    finally:
        # The output is valid JSON even if an error ends the command.
        print("]" if separator == "," else "[]")


def _print_csv(predictions: Iterable["Prediction"], top_k: int, reject: bool) -> None:
    from cifarnet.reports.terminal.prediction_blocks import csv_header, csv_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(csv_header(top_k, reject))
    for prediction in predictions:
        rejected = ["" if prediction.rejected is None else str(prediction.rejected).lower()] if reject else []
        writer.writerow(csv_row(prediction.image, prediction.predictions, rejected, prediction.error, top_k))


def _print_blocks(
    predictions: Iterable["Prediction"], names: Sequence[str], class_names: Iterable[str], reject: bool
) -> None:
    from cifarnet.reports.terminal.prediction_blocks import Columns, prediction_block
    from cifarnet.reports.text import REJECTION

    out = console.stdout()
    columns = Columns.fitting([*names, *([REJECTION] if reject else [])], class_names, out.width)
    for prediction in predictions:
        if prediction.error is None:
            out.print(prediction_block(prediction.image, prediction.predictions, columns, prediction.rejected))
