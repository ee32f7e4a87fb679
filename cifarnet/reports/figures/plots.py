"""Figures of training runs and evaluations, from plain data, with matplotlib and no display.

Importing this module imports matplotlib (a second): import it inside functions. Lines differ in dash and marker as
well as in colour, and the colours (Okabe and Ito 2008, "Color universal design") stay apart for the colour-blind.
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
from cifarnet.reports.text import printable

matplotlib.use("Agg")

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
    # Without it every file has other ids and could not be compared.
    "svg.hashsalt": "cifarnet",
}
_NAME_LIMIT = 20
_LONGEST = 16.0  # inches
_BARS = 40

History = Sequence[Mapping[str, Any]]
"""Rows of a run's history.csv: numbers by column, None where there is none."""


@contextmanager
def styled(**changes: Any) -> Iterator[None]:
    """Axes that are made inside look alike, but for ``changes`` of matplotlib's settings (underscores for dots)."""
    changed: dict[Any, Any] = {name.replace("_", "."): value for name, value in changes.items()}
    # On matplotlib's own defaults: a matplotlibrc of the user's may ask for LaTeX, which need not be installed, and
    # would run what the names of classes say.
    with matplotlib.style.context(["default", {**_STYLE, **changed}]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches, to be shown at 100 pixels an inch."""
    with styled():
        return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, stem: Path) -> None:
    """Write ``figure`` as ``stem``.png and ``stem``.svg.

    Raises:
        StorageError: when the system refuses.
    """
    write_bytes(stem.with_name(f"{stem.name}.png"), _rendered(figure, "png"))
    write_bytes(stem.with_name(f"{stem.name}.svg"), _rendered(figure, "svg"))


def svg(figure: Figure) -> str:
    """``figure`` as an ``<svg>`` element, without the XML prologue."""
    text = _rendered(figure, "svg").decode("utf-8")
    return text[text.index("<svg") :]


def _rendered(figure: Figure, kind: str) -> bytes:
    with styled(), warnings.catch_warnings():
        # The font has no Chinese, say, nor emoji: such names are drawn as boxes, and the page's tables have them whole.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        file = io.BytesIO()
        # No date: the same figures make the same bytes.
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
    """Loss and accuracy by epoch, of the training and the ``held_out`` images, and the learning rate below."""
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
    """The confusion matrix (rows: true, columns: predicted), each row's shares as shades, its counts as text."""
    import numpy as np

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Without a limit a hundred classes took 9 s and 1.8 GB, a thousand more memory than there is.
    size = min(_LONGEST, max(4.0, 0.62 * len(names) + 1.6))
    figure = new_figure(size, size)
    with styled(axes_grid=False):
        axes = figure.subplots()
        # By the root: errors are small shares, which a linear scale would leave white.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        # As many names as there is room for.
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
    """How often the network is right where it states a confidence, by ``bins`` (``reliability_bins``)."""
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
    """Precision and recall of every class, side by side; where they are too many, of those with the lowest F1."""
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
        axes.set_yticks(places, [short(row["class"]) for row in classes])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("%")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def short(name: str, limit: int = _NAME_LIMIT) -> str:
    """``name``, which may come from outside, as a label of at most ``limit`` characters."""
    # A dollar sign would begin a formula.
    text = printable(name).replace("$", r"\$")
    return text if len(text) <= limit else text[: limit - 1] + "…"
