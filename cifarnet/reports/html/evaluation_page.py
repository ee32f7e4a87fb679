"""The HTML page of an evaluation, or of a training run with its evaluation.

Importing this module imports matplotlib, which takes a second: import it inside functions. ``evaluation`` has the keys
of ``cifarnet evaluate --json``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cifarnet.durations import duration
from cifarnet.plurals import counted
from cifarnet.reports.confusions import worst_errors
from cifarnet.reports.figures import plots
from cifarnet.reports.html.gallery import Gallery
from cifarnet.reports.html.page import Drawing, Page, Section, Table, commands, facts, render
from cifarnet.reports.text import (
    corruption_rows,
    corruption_scores,
    fair_scores,
    percent,
    rejected,
    rounding,
    speed,
    views,
)

_BAR_CLASSES = 30
"""The most classes whose precision and recall are drawn as bars."""

Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Training:
    """The training part of a run's page.

    ``history`` has the rows of history.csv, ``held_out`` is the name of the held-out images, and ``facts`` are names
    and values of the run's settings.
    """

    history: plots.History
    held_out: str
    facts: Facts = field(default_factory=tuple)


def evaluation_page(
    title: str,
    evaluation: Mapping[str, Any],
    bins: Sequence[Mapping[str, float]],
    gallery: Gallery,
    about: Facts,
    reproduce: Sequence[Sequence[str]],
    training: Training | None = None,
) -> str:
    """Return the page of an ``evaluation``.

    Args:
        title: heading of the page.
        evaluation: the scores.
        bins: the bins of the reliability diagram, as ``reliability_bins`` returns them.
        gallery: the images with the network's answers.
        about: more names and values for the summary.
        reproduce: the commands that reproduce the page, each as its words.
        training: the run's history and settings, for the page of a run.
    """
    classes = evaluation["per_class"]
    sections = [facts("Summary", [*_summary(evaluation), *about])]
    if training and training.history:
        sections.append(Section("Training", "training.html", {"drawing": _curves(training), "facts": training.facts}))
    confusions = {
        "worst": worst_errors(evaluation["confusion_matrix"], [row["class"] for row in classes]),
        "matrix": gallery.matrix(),
        "classes": len(gallery.names),
        "opened": gallery.opened(),
    }
    sections += [
        Section("Classes", "table.html", _classes(classes)),
        Section("Confusions", "confusions.html", confusions),
        Section("Surest mistakes", "mistakes.html", gallery.mistakes()),
        Section("Calibration", "figure.html", _calibration(bins, evaluation["ece"])),
    ]
    if "corruptions" in evaluation:
        sections.append(Section("Corruptions", "table.html", _corruptions(evaluation["corruptions"])))
    sections.append(commands("Reproduce", reproduce))
    lead = (
        f"{percent(evaluation['accuracy'])} of {counted(evaluation['images'], 'test image')} are classified correctly."
    )
    return render(Page(title, lead, sections, gallery.style, "gallery.js"))


def about_evaluation(evaluation: Mapping[str, Any]) -> Facts:
    """Return what the page of ``cifarnet evaluate`` says of weights, data, test-time augmentation and speed."""
    return [
        ("Weights", evaluation["weights"]),
        ("Data", evaluation["data"] + (", changed since the training" if evaluation["data_changed"] else "")),
        ("Test-time augmentation", evaluation["tta"]),
        *_in_prose(("Accuracy by views", line) for line in views(evaluation)),
        *_in_prose([("Speed", speed(evaluation))]),
        *_in_prose(("Rounding", line) for line in rounding(evaluation)),
    ]


def _in_prose(pairs: Iterable[tuple[str, str]]) -> Facts:
    """Return names and values with commas for the gaps of a terminal's columns, which browsers show as one space."""
    return [(name, value.replace("   ", ", ")) for name, value in pairs]


def about_run(epoch: int, selected_by: str, seconds: float, weights: str, checksum: str) -> Facts:
    """Return what the page of a run says of its chosen epoch, its training time and its weights.

    ``weights`` is the path of the weights, and ``checksum`` the beginning of the SHA-256 of their tensors.
    """
    return [
        ("Chosen epoch", f"{epoch} ({selected_by})"),
        ("Trained in", duration(seconds)),
        ("Weights", f"{weights}, SHA-256 of the tensors {checksum}"),
    ]


def training_facts(settings: Mapping[str, Any], changes: str, epochs: int) -> Facts:
    """Return what the page of a run says of its settings.

    Args:
        settings: recipe (its name), data, weights (None for none), teachers, seed, backend, precision, and whether it
            mixes images.
        changes: the options of the recipe that differ from the recipe of that name, as text.
        epochs: the epochs that were trained.
    """
    mixed = "those of mixed images: an answer counts as its class's share of the label"
    origins = (("Began with", settings["weights"]), *(("Teacher", place) for place in settings["teachers"]))
    return [
        ("Recipe", ", ".join(filter(None, (settings["recipe"], changes)))),
        ("Data", settings["data"]),
        *((use, place) for use, place in origins if place),
        ("Seed", str(settings["seed"])),
        ("Epochs", str(epochs)),
        *([("Training loss and accuracy", mixed)] if settings["mixes_images"] else []),
        ("Computed with", f"{settings['backend']}, {settings['precision']}"),
    ]


def _summary(evaluation: Mapping[str, Any]) -> Facts:
    low, high = evaluation["accuracy_interval"]
    top = min(5, len(evaluation["per_class"]))
    return [
        ("Accuracy", f"{percent(evaluation['accuracy'])} (95 % interval {percent(low)} to {percent(high)})"),
        *_in_prose(fair_scores(evaluation)),
        (f"Top-{top} accuracy", percent(evaluation["top5_accuracy"])),
        ("Cross-entropy", f"{evaluation['loss']:.4f}"),
        ("Expected calibration error", percent(evaluation["ece"])),
        *_in_prose(corruption_scores(evaluation)),
        *_in_prose(("Rejected by --reject", line) for line in rejected(evaluation)),
        ("Test images", f"{evaluation['images']:,}"),
    ]


def _curves(training: Training) -> Drawing:
    first, last = training.history[0], training.history[-1]
    alt = (
        f"Curves of loss, accuracy and learning rate over {counted(int(last['epoch']), 'epoch')}: the training loss"
        f" goes from {first['loss']:.3f} to {last['loss']:.3f}, the training accuracy from"
        f" {percent(first['accuracy'], 1)} to {percent(last['accuracy'], 1)}."
    )
    return Drawing(plots.svg(plots.curves(training.history, training.held_out)), alt)


def _classes(classes: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [row["class"], *(percent(row[key]) for key in ("precision", "recall", "f1")), f"{row['support']:,}"]
        for row in classes
    ]
    drawing = None
    if len(classes) <= _BAR_CLASSES:
        worst = min(classes, key=lambda row: row["recall"])
        alt = (
            f"Bars of precision and recall by class; the lowest recall is {percent(worst['recall'])}, {worst['class']}."
        )
        drawing = Drawing(plots.svg(plots.class_bars(classes)), alt)
    return Table(("Class", "Precision", "Recall", "F1", "Images"), rows, drawing=drawing)


def _calibration(bins: Sequence[Mapping[str, float]], ece: float) -> Drawing:
    surest = [each for each in bins if each["images"]][-1]
    alt = (
        f"Reliability diagram: of the answers with the highest confidence, {percent(surest['confidence'], 1)} on"
        f" average, {percent(surest['accuracy'], 1)} are right."
    )
    return Drawing(plots.svg(plots.reliability(bins, ece)), alt)


def _corruptions(corruptions: Mapping[str, Any]) -> Table:
    head, rows = corruption_rows(corruptions)
    name, *_, highest = max(rows, key=lambda row: float(row[-1].removesuffix(" %")))
    alt = f"Bars of the mean error by corruption, with a dot for each severity; the highest is {highest}, {name}."
    notes = [
        "Errors of the test images after the corruptions of CIFAR-10-C (Hendrycks and Dietterich 2019), computed here."
        " Severity 1 is the weakest."
    ]
    return Table(head, rows, notes=notes, drawing=Drawing(plots.svg(plots.corruption_bars(corruptions)), alt))
