"""Figures of training runs and evaluations, drawn with matplotlib.

Importing this module imports matplotlib, which takes a second: import it inside functions. Lines differ in dash and
marker as well as in colour, and colour-blind people can tell the colours apart (Okabe and Ito 2008, "Color universal
design").
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style

from cifarnet.files import write_bytes
from cifarnet.printable import printable
from cifarnet.reports.text import corruption_name

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#222222",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)
DASHES = ("-", "--", "-.", ":")

_STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    # Equal figures get equal ids, so that files can be compared.
    "svg.hashsalt": "cifarnet",
}
_NAME_LIMIT = 20
_LONGEST = 16.0  # Inches.
_BARS = 40

History = Sequence[Mapping[str, Any]]
"""Rows of a run's history.csv: numbers by column, None where there is no value."""


@contextmanager
def styled(**changes: Any) -> Iterator[None]:
    """Apply the style of all figures, with ``changes`` of matplotlib's settings (underscores in place of dots)."""
    changed: dict[Any, Any] = {name.replace("_", "."): value for name, value in changes.items()}
    # Based on matplotlib's defaults: the user's matplotlibrc may use LaTeX, which may be missing, and which would run
    # commands in the names of classes.
    with matplotlib.style.context(["default", {**_STYLE, **changed}]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches of 100 pixels."""
    with styled():
        return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, stem: Path) -> None:
    """Write ``figure`` as ``stem``.png and ``stem``.svg.

    Raises:
        StorageError: when a file can't be written.
    """
    write_bytes(stem.with_name(f"{stem.name}.png"), _rendered(figure, "png"))
    write_bytes(stem.with_name(f"{stem.name}.svg"), _rendered(figure, "svg"))


def svg(figure: Figure) -> str:
    """Return ``figure`` as an ``<svg>`` element, without the XML prologue."""
    text = _rendered(figure, "svg").decode("utf-8")
    return text[text.index("<svg") :]


def _rendered(figure: Figure, kind: str) -> bytes:
    with styled(), warnings.catch_warnings():
        # The font lacks Chinese characters and emoji, for example. They are drawn as boxes; tables show them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        file = io.BytesIO()
        # Without a date, equal figures are equal files.
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {})
    return file.getvalue()


def run_figures(
    history: History, held_out: str, evaluation: Mapping[str, Any], bins: Sequence[Mapping[str, float]]
) -> dict[str, Figure]:
    """Return the figures of a finished run by the names of their files.

    Args:
        history: rows of history.csv.
        held_out: the name of the held-out images.
        evaluation: the scores, under the keys of ``cifarnet evaluate --json``.
        bins: the bins of the reliability diagram.
    """
    classes = evaluation["per_class"]
    return {
        "curves": curves(history, held_out),
        "confusion": confusion(evaluation["confusion_matrix"], [row["class"] for row in classes]),
        "reliability": reliability(bins, evaluation["ece"]),
        "classes": class_bars(classes),
    }


def curves(history: History, held_out: str) -> Figure:
    """Return curves of loss and accuracy on training and ``held_out`` images, and of the learning rate, by epoch."""
    figure = new_figure(7.2, 7.2)
    with styled():
        loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.4))
        epochs = [row["epoch"] for row in history]
        for axes, name, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            axes.plot(epochs, [scale * row[name] for row in history], color=BLUE, label="training", linestyle="--")
            held = [(row["epoch"], scale * row[f"{held_out}_{name}"]) for row in history if _known(row, held_out, name)]
            axes.plot(*zip(*held, strict=True), color=RED, label=held_out, marker="o", markersize=3)
            axes.set_ylabel("accuracy, %" if name == "accuracy" else "cross-entropy")
            axes.legend(frameon=False)
        rate.plot(epochs, [row["learning_rate"] for row in history], color=BLACK)
        rate.set_ylabel("learning rate")
        rate.set_xlabel("epoch")
        rate.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _known(row: Mapping[str, Any], held_out: str, name: str) -> bool:
    return row.get(f"{held_out}_{name}") is not None


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Return the confusion matrix (rows: true class, columns: predicted), with shares as shades and counts as text."""
    import numpy as np

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Without a limit, a hundred classes took 9 s and 1.8 GB, and a thousand ran out of memory.
    size = min(_LONGEST, max(4.0, 0.62 * len(names) + 1.6))
    figure = new_figure(size, size)
    with styled(axes_grid=False):
        axes = figure.subplots()
        # The square root makes small shares visible: on a linear scale most errors would be white.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        # At most 50 names fit.
        labelled = range(0, len(names), -(-len(names) // 50))
        labels = [short(names[label]) for label in labelled]
        axes.set_xticks(labelled, labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(labelled, labels)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.spines[:].set_visible(False)
        if len(names) <= 30:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    dark = shares[row, column] > 0.3
                    axes.text(column, row, f"{count}", ha="center", va="center", color="white" if dark else BLACK)
    return figure


def reliability(bins: Sequence[Mapping[str, float]], ece: float) -> Figure:
    """Return the reliability diagram: accuracy by confidence, from ``bins`` as ``reliability_bins`` returns them."""
    figure = new_figure(5.2, 5.2)
    with styled():
        accuracy, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        width = 100 / len(bins)
        middles = [(index + 0.5) * width for index in range(len(bins))]
        filled = [(middle, each) for middle, each in zip(middles, bins, strict=True) if each["images"]]
        accuracy.bar(
            [middle for middle, _ in filled],
            [100 * each["accuracy"] for _, each in filled],
            width=0.9 * width,
            color=SKY,
            edgecolor=BLUE,
            label="measured",
        )
        accuracy.plot([0, 100], [0, 100], color=BLACK, linestyle="--", label="as stated")
        accuracy.set_ylabel("right, %")
        accuracy.set_xlim(0, 100)
        accuracy.set_ylim(0, 100)
        accuracy.set_title(f"expected calibration error {100 * ece:.2f} %", fontsize=10)
        accuracy.legend(frameon=False, loc="upper left")
        total = sum(each["images"] for each in bins)
        share.bar(middles, [100 * each["images"] / total for each in bins], width=0.9 * width, color="#999999")
        share.set_ylabel("images, %")
        share.set_xlabel("stated confidence, %")
    return figure


def class_bars(classes: Sequence[Mapping[str, Any]]) -> Figure:
    """Return bars of precision and recall by class; of more than 40 classes, those with the lowest F1 are drawn."""
    if len(classes) > _BARS:
        classes = sorted(classes, key=lambda row: row["f1"])[:_BARS]
    figure = new_figure(7.2, max(2.6, 0.5 * len(classes) + 1.2))
    with styled():
        axes = figure.subplots()
        places = range(len(classes))
        for offset, key, colour, hatch in ((-0.2, "precision", BLUE, ""), (0.2, "recall", ORANGE, "//")):
            values = [100 * row[key] for row in classes]
            axes.barh(
                [place + offset for place in places],
                values,
                height=0.38,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                label=key,
            )
        _name_bars(axes, [short(row["class"]) for row in classes], "%")
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def corruption_bars(corruptions: Mapping[str, Any]) -> Figure:
    """Return bars of the mean error by corruption, with a dot for the error at each severity.

    ``corruptions`` is the value of that name in ``cifarnet evaluate --corrupt --json``.
    """
    rows = corruptions["per_corruption"]
    figure = new_figure(7.2, 0.32 * len(rows) + 1.4)
    with styled():
        axes = figure.subplots()
        places = range(len(rows))
        axes.barh(places, [100 * row["mean_error"] for row in rows], height=0.7, color=SKY, label="mean error")
        dots = [(100 * error, place) for place, row in enumerate(rows) for error in row["errors"]]
        axes.plot(*zip(*dots, strict=True), "o", color=BLUE, markersize=3, label="severities 1 to 5")
        axes.axvline(100 * corruptions["clean_error"], color=BLACK, linestyle="--", label="without corruption")
        _name_bars(axes, [corruption_name(row) for row in rows], "error, %")
        figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def _name_bars(axes: Axes, names: Sequence[str], label: str) -> None:
    """Name horizontal bars of percentages, the first at the top, and label their axis."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)


def short(name: str, limit: int = _NAME_LIMIT) -> str:
    """Return ``name``, which may come from outside, as a label of at most ``limit`` characters."""
    # A dollar sign begins a formula.
    text = printable(name).replace("$", r"\$")
    return text if len(text) <= limit else text[: limit - 1] + "…"
