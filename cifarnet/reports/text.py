"""Formatting of numbers and of rejections, for reports of every medium."""

from collections.abc import Mapping
from typing import Any

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
    return [f"float32 {percent(exact)}   {loss:+.2f} points, {changed:,} images have another likeliest class"]


def views(evaluation: Mapping[str, Any]) -> list[str]:
    """Return lines on what test-time augmentation changed in an ``evaluation``; none without it."""
    if "accuracy_by_tta" not in evaluation:
        return []
    single, mirrored, *shifted = (percent(share) for share in evaluation["accuracy_by_tta"].values())
    lines = [f"one view {single}   with the mirror image {mirrored}"]
    if shifted:
        images = f"{evaluation['shifted_images']:,} of {evaluation['images']:,} images"
        lines.append(f"with shifted views of {images} {shifted[0]}")
    return lines


def percent(share: float, decimals: int = 2) -> str:
    """Return a share of 0 to 1 in percent: ``79.47 %``."""
    return f"{100 * share:.{decimals}f} %"
