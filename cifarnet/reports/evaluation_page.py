"""What an evaluation, or a whole training run, comes to, as one HTML page; from plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cifarnet.reports import plots
from cifarnet.reports.evaluation import worst_errors
from cifarnet.reports.gallery import Gallery
from cifarnet.reports.page import Section, asset, commands, facts, figure, page, table, text
from cifarnet.reports.text import percent


@dataclass(frozen=True)
class Training:
    """A run's part of the page: its ``history`` (rows of history.csv), the name of its ``held_out`` images, and what
    it was told, in words.
    """

    history: plots.History
    held_out: str
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def evaluation_page(
    title: str,
    evaluation: Mapping[str, Any],
    bins: Sequence[Mapping[str, float]],
    gallery: Gallery,
    about: Sequence[tuple[str, str]],
    reproduce: Sequence[Sequence[str]],
    training: Training | None = None,
) -> str:
    """The page of an ``evaluation`` (the keys of ``cifarnet evaluate --json``).

    ``bins`` are its ``reliability_bins``, ``about`` names with values for its head, ``reproduce`` the commands that
    made it, as words.
    """
    low, high = evaluation["accuracy_interval"]
    classes = evaluation["per_class"]
    top = min(5, len(classes))
    summary = [
        ("Accuracy", f"{percent(evaluation['accuracy'])} (95 % interval {percent(low)} to {percent(high)})"),
        (f"Top-{top} accuracy", percent(evaluation["top5_accuracy"])),
        ("Cross-entropy", f"{evaluation['loss']:.4f}"),
        ("Expected calibration error", percent(evaluation["ece"])),
        ("Test images", f"{evaluation['images']:,}"),
        *about,
    ]
    sections = [Section("Summary", facts(summary))]
    if training and training.history:
        sections.append(Section("Training", _curves(training) + (facts(training.facts) if training.facts else "")))
    sections += [
        Section("Classes", _classes(classes)),
        Section("Confusions", _worst(evaluation["confusion_matrix"], classes) + gallery.confusion()),
        Section("Surest mistakes", gallery.mistakes()),
        Section("Calibration", _calibration(bins, evaluation["ece"])),
        Section("Reproduce", commands(reproduce)),
    ]
    lead = f"{percent(evaluation['accuracy'])} of {evaluation['images']:,} test images are classified correctly."
    html = page(title, lead, sections, asset("gallery.js"))
    return html.replace("</head>", f"{gallery.style}</head>", 1)


def _curves(training: Training) -> str:
    first, last = training.history[0], training.history[-1]
    alt = (
        f"Curves of loss, accuracy and learning rate over {last['epoch']:.0f} epochs: the training loss goes from"
        f" {first['loss']:.3f} to {last['loss']:.3f}, the training accuracy from {percent(first['accuracy'], 1)} to"
        f" {percent(last['accuracy'], 1)}."
    )
    return figure(plots.svg(plots.curves(training.history, training.held_out)), alt)


def _worst(matrix: Sequence[Sequence[int]], classes: Sequence[Mapping[str, Any]]) -> str:
    lines = worst_errors(matrix, [row["class"] for row in classes])
    return "<p>Worst:</p><ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            row["class"],
            percent(row["precision"]),
            percent(row["recall"]),
            percent(row["f1"]),
            f"{row['support']:,}",
        ]
        for row in classes
    ]
    listed = table(("Class", "Precision", "Recall", "F1", "Images"), rows)
    if len(classes) > 30:
        return listed
    worst = min(classes, key=lambda row: row["recall"])
    alt = f"Bars of precision and recall by class; the lowest recall is {percent(worst['recall'])}, {worst['class']}."
    return listed + figure(plots.svg(plots.class_bars(classes)), alt)


def _calibration(bins: Sequence[Mapping[str, float]], ece: float) -> str:
    filled = [each for each in bins if each["images"]]
    surest = filled[-1]
    alt = (
        f"Reliability diagram: of the answers with the highest confidence, {percent(surest['confidence'], 1)} on"
        f" average, {percent(surest['accuracy'], 1)} are right."
    )
    return figure(plots.svg(plots.reliability(bins, ece)), alt)
