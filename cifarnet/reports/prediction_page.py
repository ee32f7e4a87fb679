"""What ``cifarnet predict`` answered, as one HTML page: a card for each picture; from plain data."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cifarnet.reports.page import Section, commands, facts, page, text
from cifarnet.reports.predictions import REJECTION, Pairs
from cifarnet.reports.text import percent

SHOWN = 1000
"""Pictures on a page at most; more would make it too heavy to open."""


@dataclass(frozen=True)
class Card:
    """One picture: its name, a small JPEG of it, and the answer (or why there is none).

    ``explanation`` is a JPEG of the picture with the Grad-CAM map of its likeliest class over it.
    """

    image: str
    thumbnail: bytes | None
    predictions: Pairs
    rejected: bool | None = None
    error: str | None = None
    explanation: bytes | None = None


def prediction_page(
    cards: Sequence[Card], images: int, about: Sequence[tuple[str, str]], reproduce: Sequence[Sequence[str]]
) -> str:
    """The page of ``cards``, the first of ``images`` pictures; ``about`` and ``reproduce`` as for evaluations."""
    left_out = f", of which the first {len(cards):,} are shown" if len(cards) < images else ""
    note = ""
    if any(card.explanation for card in cards):
        note = (
            "<p>Below each picture, bright colours show which parts of it speak most for the likeliest class, and dark"
            " colours which don't (Grad-CAM).</p>"
        )
    listed = f'{note}<ul class="pictures">{"".join(map(_card, cards))}</ul>'
    sections = [
        Section("Summary", facts([("Pictures", f"{images:,}"), *about])),
        Section("Pictures", listed),
        Section("Reproduce", commands(reproduce)),
    ]
    return page("Predictions", f"{images:,} picture{'' if images == 1 else 's'} classified{left_out}.", sections)


def _card(card: Card) -> str:
    name = text(card.image)
    best = text(card.predictions[0][0]) if card.predictions else "no answer"
    pictures = [(card.thumbnail, f"{name}: {best}"), (card.explanation, f"Where {best} was seen in {name}")]
    shown = "".join(_image(jpeg, told) for jpeg, told in pictures if jpeg)
    bars = "".join(
        f'<p class="bar" style="--share:{100 * share:.1f}%"><span>{text(label)}</span><span>{percent(share, 1)}</span>'
        "</p>"
        for label, share in card.predictions
    )
    notes = [*([REJECTION] if card.rejected else []), *([card.error] if card.error else [])]
    warnings = "".join(f'<p class="warning">{text(note)}</p>' for note in notes)
    return f"<li><div>{shown}</div><div><h3>{name}</h3>{warnings}{bars}</div></li>"


def _image(jpeg: bytes, told: str) -> str:
    data = base64.b64encode(jpeg).decode()
    return f'<img alt="{told}" src="data:image/jpeg;base64,{data}" loading="lazy">'
