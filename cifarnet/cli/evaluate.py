"""``cifarnet evaluate``: score weights on test images."""

from pathlib import Path
from typing import Annotated

import typer

from cifarnet.choices import DEFAULT_WEIGHTS, TTA
from cifarnet.cli import console
from cifarnet.cli.engine import Engine, Precision, chosen_engine, starter
from cifarnet.cli.help import examples
from cifarnet.cli.options import Backend, Json, Mirror, ReportFile, SkipBroken, TestSplit, choice
from cifarnet.runs.request import WEIGHTS

EXAMPLES = examples(
    ("evaluate runs/r20", "A run, on the test images of the data that it was trained on"),
    ("evaluate resnet20 --data my-images --tta flip", "Named weights, on other images of the same classes"),
    ("evaluate runs/r20 --report r20.html", "A run, with a report of curves, confusions and mistakes"),
)


def evaluate(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar=WEIGHTS,
            help="A run directory, a weight file, or a name that `cifarnet weights` lists. Default:"
            f" {DEFAULT_WEIGHTS}.",
            show_default=False,
        ),
    ] = Path(DEFAULT_WEIGHTS),
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Images: cifar10, cifar100, cifar100-coarse, synthetic, or the path of a folder, an archive or an .npz"
            " file. Default: the data that the run was trained on, or the named data with the classes of the weights.",
        ),
    ] = None,
    test_split: TestSplit = None,
    skip_broken: SkipBroken = False,
    mirror: Mirror = None,
    tta: Annotated[
        str,
        choice(
            "--tta",
            TTA,
            "Test-time augmentation: flip averages the logits of each image and its mirror image, shift those of views"
            " that are shifted by a pixel too, shift-unsure the same for the least confident quarter of the images"
            " only. Default: none.",
            show_default=False,
        ),
    ] = "none",
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images per batch. Default: 250, or fewer large images.")
    ] = None,
    fair: Annotated[
        bool,
        typer.Option(
            "--fair",
            help="Score also without the test images that have a near-duplicate among the training images of the data.",
        ),
    ] = False,
    corrupt: Annotated[
        bool,
        typer.Option(
            "--corrupt",
            help="Score also on test images with noise, blur, snow, ... (the 15 corruptions of CIFAR-10-C at five"
            " severities), which takes 75 times as long.",
        ),
    ] = False,
    corrupt_images: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Corrupt only N test images, evenly spaced among all. Default: all."),
    ] = None,
    report_file: ReportFile = None,
    as_json: Json = False,
    engine: Engine = "auto",
    precision: Precision = None,
    backend: Backend = None,
) -> None:
    """Score weights on test images.

    Prints the accuracy, loss, calibration, speed, the score of every class and the confusions between classes.
    """
    with console.transient("Starting ..."):
        from cifarnet.cli.reporting import page_path
        from cifarnet.evaluation.evaluate import score
        from cifarnet.evaluation.source import find_source
        from cifarnet.inference.classifier import Classifier

    engine = chosen_engine(engine, backend, weights=weights)
    if report_file:
        page_path(report_file)
    source = find_source(weights, data)
    if report_file and source.run:
        _ = source.run.history  # A damaged file is an error before the work rather than after.
    if source.note:
        console.warn(source.note)

    with console.progress_reporter() as report:
        evaluation = score(
            Classifier(source.weights, engine=engine, precision=precision, on_start=starter(backend, report)),
            source,
            tta=tta,
            test_split=test_split,
            mirrors=mirror or (),
            skip_broken=skip_broken,
            batch_size=batch_size,
            fair=fair,
            corrupt=corrupt,
            corrupt_images=corrupt_images,
            report=report,
        )
    console.warn_of_left_out(evaluation.left_out)
    scores = evaluation.to_dict()
    if evaluation.data_changed:
        console.warn(
            f"The images in {evaluation.data} have changed since {weights} was trained with them (their SHA-256"
            " differs). If the images of the training are in another place now, give it with --data."
        )
    if as_json:
        console.print_json(scores)
    else:
        from cifarnet.reports.terminal.evaluation_tables import render_evaluation

        out = console.stdout()
        out.print(render_evaluation(scores, out.width))
    if report_file:
        from cifarnet.cli.reporting import evaluation_html, these_commands, write_page
        from cifarnet.paths import last_name
        from cifarnet.reports.html.evaluation_page import about_evaluation

        title = f"{scores['network']} on {last_name(scores['data'])}"
        about = about_evaluation(scores)
        write_page(report_file, evaluation_html(scores, evaluation.scored, title, about, these_commands(), source.run))
