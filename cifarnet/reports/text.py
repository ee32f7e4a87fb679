"""Formatting of numbers and of rejections, for reports of every medium."""

from collections.abc import Mapping
from typing import Any

from cifarnet.choices import DISTANCE, LARGEST_LOGIT
from cifarnet.plurals import counted, verb

_SCORES = {DISTANCE: "the distance from the training images", LARGEST_LOGIT: "the largest logit"}
REJECTION = "none of these, probably"
"""The text for a picture that is probably of none of the classes."""


def speed(evaluation: Mapping[str, Any]) -> str:
    """Return the speed of an ``evaluation`` (the keys of ``cifarnet evaluate --json``), with what computed."""
    return f"{evaluation['images_per_second']:,.0f} images/s   engine {evaluation['engine']}, {evaluation['precision']}"


def rounding(evaluation: Mapping[str, Any]) -> list[str]:
    """Return a line on what computing in less than float32 changed in an ``evaluation``; none for float32."""
    if "float32_accuracy" not in evaluation:
        return []
    changed, exact = evaluation["changed"], evaluation["float32_accuracy"]
    loss = 100 * (evaluation["accuracy"] - exact)
    images = f"{counted(changed, 'image')} {verb(changed, 'has', 'have')}"
    return [f"float32 {percent(exact)}   {loss:+.2f} points, {images} another likeliest class"]


def views(evaluation: Mapping[str, Any]) -> list[str]:
    """Return lines on what test-time augmentation changed in an ``evaluation``; none without it."""
    if "accuracy_by_tta" not in evaluation:
        return []
    single, mirrored, *shifted = (percent(share) for share in evaluation["accuracy_by_tta"].values())
    lines = [f"one view {single}   with the mirror image {mirrored}"]
    if shifted:
        images = f"{evaluation['shifted_images']:,} of {counted(evaluation['images'], 'image')}"
        lines.append(f"with shifted views of {images} {shifted[0]}")
    return lines


def rejected(evaluation: Mapping[str, Any]) -> list[str]:
    """Return a line on the test images of an ``evaluation`` that ``--reject`` rejects; none without a threshold."""
    if "rejected" not in evaluation:
        return []
    found = evaluation["rejected"]
    return [f"{percent(found['share'])} of the test images   by {_SCORES[found['score']]}"]


def fair_scores(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the scores of an ``evaluation`` without near-duplicates; none without ``--fair``."""
    if "fair_accuracy" not in evaluation:
        return []
    low, high = evaluation["fair_accuracy_interval"]
    return [
        ("Fair accuracy", f"{percent(evaluation['fair_accuracy'])}   95 % interval {percent(low)} to {percent(high)}"),
        ("Near-duplicates", f"{counted(evaluation['near_duplicates'], 'test image')}, left out of the fair accuracy"),
    ]


def corruption_scores(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the mean scores of an ``evaluation`` on corrupted images; none without
    ``--corrupt``.
    """
    if "corruptions" not in evaluation:
        return []
    found = evaluation["corruptions"]
    ways, severities = len(found["per_corruption"]), len(found["per_corruption"][0]["errors"])
    return [
        ("Corruption error", f"{percent(found['mean_error'])}   mean of {ways} corruptions at {severities} severities"),
        (
            "Without corruption",
            f"{percent(found['clean_error'])}   error on the same {counted(found['images'], 'image')}",
        ),
    ]


def corruption_rows(corruptions: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of errors on corrupted images, in percent.

    ``corruptions`` is the value of that name in ``cifarnet evaluate --corrupt --json``.
    """
    rows = corruptions["per_corruption"]
    severities = [f"Severity {number}" for number in range(1, len(rows[0]["errors"]) + 1)]
    return ["Corruption", *severities, "Mean"], [
        [corruption_name(row), *(percent(error, 1) for error in (*row["errors"], row["mean_error"]))] for row in rows
    ]


def corruption_name(row: Mapping[str, Any]) -> str:
    """Return the name of the corruption of a ``row`` of ``per_corruption`` in prose: ``Gaussian noise``."""
    name: str = row["corruption"].replace("_", " ").replace("jpeg", "JPEG")
    return name[0].upper() + name[1:]


def percent(share: float, decimals: int = 2) -> str:
    """Return a share of 0 to 1 in percent: ``79.47 %``."""
    return f"{100 * share:.{decimals}f} %"
