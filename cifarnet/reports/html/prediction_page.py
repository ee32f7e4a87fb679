"""The HTML page of classified pictures, with a card for each."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarnet.plurals import counted
from cifarnet.reports.html.page import Page, Section, commands, facts, render
from cifarnet.reports.text import REJECTION

SHOWN = 1000
"""The most pictures on a page; with more it would be too large to open."""


@dataclass(frozen=True)
class Card:
    """A picture on the page: its name, the answer or warnings, and small JPEG files as base64.

    ``thumbnail`` shows the picture, and ``explanation`` the picture below the Grad-CAM map of its likeliest class;
    empty where there is none.
    """

    name: str
    predictions: Sequence[tuple[str, float]] = ()
    warnings: Sequence[str] = ()
    thumbnail: str = ""
    explanation: str = ""

    @property
    def best(self) -> str:
        """The likeliest class; empty without an answer."""
        return self.predictions[0][0] if self.predictions else ""


def prediction_card(
    answer: Mapping[str, Any], thumbnail: bytes | None, explanation: tuple[np.ndarray, np.ndarray] | None = None
) -> Card:
    """Return the card of an ``answer``.

    Args:
        answer: an item of ``cifarnet predict --json``.
        thumbnail: a JPEG file of the picture.
        explanation: the picture, uint8 (height, width, 3), and its Grad-CAM map, float (height, width). The thumbnail
            is made of this picture.
    """
    seen = b""
    if explanation:
        from PIL import Image

        from cifarnet.reports.figures.canvas import thumbnail as small
        from cifarnet.reports.figures.explanation import overlay

        picture, heat = explanation
        thumbnail, seen = small(Image.fromarray(picture)), small(overlay(picture, heat))
    warnings = [*([REJECTION] if answer.get("rejected") else []), *([answer["error"]] if "error" in answer else [])]
    predictions = [(each["class"], each["probability"]) for each in answer.get("predictions", ())]
    return Card(answer["image"], predictions, warnings, _base64(thumbnail or b""), _base64(seen))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def prediction_page(
    cards: Sequence[Card],
    images: int,
    network: str,
    weights: str,
    class_names: Sequence[str],
    reproduce: Sequence[Sequence[str]],
) -> str:
    """Return the page of ``cards``, the first ones of ``images`` pictures.

    Args:
        cards: the pictures with their answers.
        images: the number of pictures that were classified.
        network: the title of the network.
        weights: the user's name of the weights.
        class_names: the classes of the network.
        reproduce: the commands that reproduce the page, each as its words.
    """
    left_out = f", of which the first {len(cards):,} are shown" if len(cards) < images else ""
    about = [
        ("Pictures", f"{images:,}"),
        ("Network", network),
        ("Weights", weights),
        ("Classes", ", ".join(class_names)),
    ]
    pictures = {"cards": cards, "explained": any(card.explanation for card in cards)}
    sections = [
        facts("Summary", about),
        Section("Pictures", "pictures.html", pictures),
        commands("Reproduce", reproduce),
    ]
    lead = f"{counted(images, 'picture')} classified{left_out}."
    return render(Page("Predictions", lead, sections))
