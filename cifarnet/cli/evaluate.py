"""``cifarnet evaluate``: score weights on test images."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Backend, Json, Mirror, Report, TestSplit

if TYPE_CHECKING:
    from cifarnet.evaluation.scored import Scored


class Tta(StrEnum):
    """Kinds of test-time augmentation."""

    NONE = "none"
    FLIP = "flip"


def evaluate(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE|NAME",
            help="A run directory, a weight file, or a name that `cifarnet weights` lists. (default: resnet20)",
            show_default=False,
        ),
    ] = Path("resnet20"),
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="cifar10, synthetic or a path. By default the data that the run was trained on, or else cifar10.",
        ),
    ] = None,
    tta: Annotated[
        Tta, typer.Option(help="Test-time augmentation: flip averages the logits of each image and its mirror image.")
    ] = Tta.NONE,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 250,
    test_split: TestSplit = None,
    mirror: Mirror = None,
    backend: Backend = None,
    report_file: Report = None,
    as_json: Json = False,
) -> None:
    """Score weights on test images: accuracy, loss, calibration, every class, confusions and speed."""
    with console.transient("Starting ..."):
        from cifarnet.cli.reporting import page_path
        from cifarnet.evaluation.evaluate import evaluate as score
        from cifarnet.runs import read_history
        from cifarnet.runtime import choose_backend

    choose_backend(backend)
    if report_file:
        page_path(report_file)
        read_history(weights)

    with console.progress_reporter() as report:
        evaluation = score(
            weights,
            data,
            tta=tta,
            test_split=test_split,
            mirrors=mirror or (),
            batch_size=batch_size,
            report=report,
            start_backend=lambda: console.start_backend(backend, progress=report),
        )
    scores = evaluation.to_dict()
    if as_json:
        console.print_json(scores)
    else:
        from cifarnet.reports.evaluation import evaluation_report

        out = console.stdout()
        out.print(evaluation_report(scores, out.width))
    if report_file:
        _write_page(report_file, weights, scores, evaluation.scored, tta)


def _write_page(path: Path, weights: Path, scores: dict[str, Any], scored: "Scored", tta: Tta) -> None:
    from cifarnet.cli.reporting import evaluation_html, this_command, write_page

    about = [
        ("Weights", scores["weights"]),
        ("Data", scores["data"]),
        ("Test-time augmentation", tta),
        ("Speed", f"{scores['images_per_second']:,.0f} images/s"),
    ]
    title = f"{scores['network']} on {Path(scores['data']).name}"
    run = weights if weights.is_dir() else None
    write_page(path, evaluation_html(scores, scored, title, about, [this_command()], run))
