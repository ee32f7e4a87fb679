"""From a service's result to its pictures and its page: what ``train`` and ``evaluate`` have in common."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from cifarnet import runs
from cifarnet.cli import console

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifarnet.evaluation.scored import Scored
    from cifarnet.reports.evaluation_page import Training
    from cifarnet.training.result import Result


def page_path(path: Path) -> Path:
    """``path``, when a page can be written there; its folder is made.

    Raises:
        InvalidValueError: when it is a folder or does not end in .html.
        StorageError: when nothing can be written there: told before the work rather than after.
    """
    from cifarnet.errors import InvalidValueError, StorageError

    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InvalidValueError(f"--report takes the name of a page that ends in .html. Received: {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StorageError(path, error) from error
    return path


def write_page(path: Path, html: str) -> None:
    """Write a page, and tell where it is.

    Raises:
        StorageError: when the system refuses.
    """
    from cifarnet.files import write_text

    write_text(path, html)
    console.stderr().print(f"The report is in {path}.", markup=False, soft_wrap=True)


def these_commands() -> list[list[str]]:
    """Return the running command as words, after the ``cd`` that gives its relative paths their meaning."""
    return [["cd", str(Path.cwd())], ["cifarnet", *sys.argv[1:]]]


def evaluation_html(
    scores: dict[str, Any],
    scored: "Scored",
    title: str,
    about: Sequence[tuple[str, str]],
    reproduce: Sequence[Sequence[str]],
    run: Path | None = None,
) -> str:
    """The page of ``scores`` (the keys of ``evaluate --json``); with ``run``'s curves and recipe, where it is one."""
    from cifarnet.evaluation.metrics import reliability_bins
    from cifarnet.reports.evaluation_page import evaluation_page
    from cifarnet.reports.gallery import Gallery

    data = scored.data
    gallery = Gallery(data.images, data.labels, scored.predicted, scored.confidence, data.class_names, data.names)
    bins = reliability_bins(scored.logits, data.labels)
    return evaluation_page(title, scores, bins, gallery, about, reproduce, _training(run) if run else None)


def _training(run: Path) -> "Training | None":
    """The run's part of a page; None when ``run`` is no run with epochs."""
    from cifarnet.reports.evaluation_page import Training
    from cifarnet.runs.directory import Run

    history = runs.read_history(run)
    if not history:
        return None
    config = Run(run).config
    recipe = config.recipe
    differences = recipe.differences()
    shown = {name: value for name, value in differences.items() if value is not None and name != "name"}
    origins = (("Began with", config.place("weights")), ("Teacher", config.place("teacher")))
    told = [
        ("Recipe", recipe.name + "".join(f", {name} {value}" for name, value in shown.items())),
        ("Data", config.source),
        *((use, place) for use, place in origins if place),
        ("Seed", str(config.seed)),
        ("Epochs", f"{history[-1]['epoch']:.0f}"),
        ("Computed with", f"{config.backend}, {config.precision}"),
    ]
    return Training(history, runs.held_out_name(history), told)


def finish_run(result: "Result") -> str:
    """Write ``plots/`` and ``report.html`` of a finished run; the page.

    Raises:
        StorageError: when the system refuses.
    """
    from cifarnet.durations import duration
    from cifarnet.files import write_text
    from cifarnet.reports import plots
    from cifarnet.runs.directory import Run

    # Absolute, so that the page's commands work from every directory.
    run, scores, scored = result.directory.resolve(), result.to_dict(), result.scored
    for name, figure in _figures(scores, scored, run).items():
        plots.save(figure, run / runs.PLOTS / name)
    config = Run(run).config
    about = [
        ("Chosen epoch", f"{result.epoch} ({result.selected_by})"),
        ("Trained in", duration(result.seconds)),
        ("Weights", f"{run / runs.WEIGHTS}, SHA-256 of the tensors {result.weights_sha256[: runs.SHOWN_DIGITS]}"),
    ]
    reproduce = [config.command(run / runs.CONFIG), ["cifarnet", "evaluate", str(run)]]
    html = evaluation_html(scores, scored, f"{result.network}, {config.recipe.name}", about, reproduce, run)
    write_text(run / runs.REPORT, html)
    return html


def _figures(scores: dict[str, Any], scored: "Scored", run: Path) -> "dict[str, Figure]":
    from cifarnet.evaluation.metrics import reliability_bins
    from cifarnet.reports import plots

    history, classes = runs.read_history(run), scores["per_class"]
    return {
        "curves": plots.curves(history, runs.held_out_name(history)),
        "confusion": plots.confusion(scores["confusion_matrix"], [row["class"] for row in classes]),
        "reliability": plots.reliability(reliability_bins(scored.logits, scored.data.labels), scores["ece"]),
        "classes": plots.class_bars(classes),
    }
