"""Write pages from the results of services."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from cifarnet.cli import console
from cifarnet.runs import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifarnet.evaluation.scored import Scored
    from cifarnet.reports.html.evaluation_page import Training
    from cifarnet.runs.directory import Run
    from cifarnet.training.result import Result


def page_path(path: Path) -> Path:
    """Return ``path`` after checking that a page can be written there. Its folder is created.

    Raises:
        InvalidValueError: when it is a folder or does not end in .html.
        StorageError: when nothing can be written there. It is raised before the work rather than after.
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
    """Write a page, and print its path on stderr.

    Raises:
        StorageError: when the file can't be written.
    """
    from cifarnet.files import write_text

    write_text(path, html)
    console.stderr().print(f"The report is in {path}.", markup=False, soft_wrap=True)


def these_commands() -> list[list[str]]:
    """Return the running command as words, after the ``cd`` that its relative paths refer to.

    ``--mirror`` is left out: its address may hold a password, and doesn't change the results.
    """
    return [["cd", str(Path.cwd())], ["cifarnet", *_without_mirrors(sys.argv[1:])]]


def _without_mirrors(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":  # File names follow.
            return [*kept, word, *rest]
        if word == "--mirror":
            next(rest, None)
        elif not word.startswith("--mirror="):
            kept.append(word)
    return kept


def evaluation_html(
    scores: dict[str, Any],
    scored: "Scored",
    title: str,
    about: Sequence[tuple[str, str]],
    reproduce: Sequence[Sequence[str]],
    run: "Run | None" = None,
) -> str:
    """Return the page of ``scores`` (the keys of ``evaluate --json``), with the curves and settings of ``run``."""
    from cifarnet.evaluation.metrics import reliability_bins
    from cifarnet.reports.html.evaluation_page import evaluation_page
    from cifarnet.reports.html.gallery import MISTAKES, Gallery

    data = scored.data
    mistaken = scored.mistakes(MISTAKES)
    gallery = Gallery(
        data.images, data.labels, scored.predicted, scored.confidence, mistaken, data.class_names, data.names
    )
    bins = reliability_bins(scored.logits, data.labels)
    return evaluation_page(title, scores, bins, gallery, about, reproduce, _training(run) if run else None)


def _training(run: "Run") -> "Training | None":
    """Return the history and the settings of a run; None when ``run`` has no epochs."""
    from cifarnet.reports.html.evaluation_page import Training, training_facts

    if not run.history:
        return None
    config = run.config
    settings = {
        "recipe": config.recipe.name,
        "data": config.source,
        "weights": config.weights_place,
        "teachers": config.teacher_places,
        "seed": config.seed,
        "backend": config.backend,
        "precision": config.precision,
        "mixes_images": config.recipe.mixes_images,
    }
    facts = training_facts(settings, config.recipe.changes(), int(run.history[-1]["epoch"] or 0))
    return Training(run.history, run.held_out, facts)


def finish_run(result: "Result") -> str:
    """Write ``plots/`` and ``report.html`` of a finished run, and return the page.

    Raises:
        StorageError: when a file can't be written.
    """
    from cifarnet.files import write_text
    from cifarnet.reports.figures import plots
    from cifarnet.reports.html.evaluation_page import about_run

    # Absolute, so that the page's commands work from every directory.
    run, directory = result.run, result.directory.resolve()
    scores, scored, config = result.to_dict(), result.scored, run.config
    for name, figure in _figures(scores, scored, run).items():
        plots.save(figure, directory / files.PLOTS / name)
    checksum = result.weights_sha256[: files.SHOWN_DIGITS]
    about = about_run(result.epoch, result.selected_by, result.seconds, str(directory / files.WEIGHTS), checksum)
    reproduce = [config.command(directory / files.CONFIG), ["cifarnet", "evaluate", str(directory)]]
    html = evaluation_html(scores, scored, f"{result.network}, {config.recipe.name}", about, reproduce, run)
    write_text(directory / files.REPORT, html)
    return html


def _figures(scores: dict[str, Any], scored: "Scored", run: "Run") -> "dict[str, Figure]":
    from cifarnet.evaluation.metrics import reliability_bins
    from cifarnet.reports.figures import plots

    bins = reliability_bins(scored.logits, scored.data.labels)
    return plots.run_figures(run.history, run.held_out, scores, bins)
