"""What a class may be called, and how many classes there may be, wherever their names come from."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from cifarnet.errors import listed

CLASS_LIMIT = 5_000
"""The most classes. The confusion matrix of so many takes 200 MB, and 50 MB of metrics.json."""
NAME_LIMIT = 100
"""The most characters of a class's name."""

_SHOWN = 60
# Unicode's categories of control characters, halves of characters, and separators of lines and paragraphs.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Its controls of the direction of writing, which make a terminal show a name as another one.
_REFUSED_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def name_fault(name: str) -> str | None:
    """Return why ``name`` is not accepted as a class's name, as the end of a sentence; None when it is."""
    if not name.strip():
        return f"must not be empty. Received: {name!r:.{_SHOWN}}"
    if len(name) > NAME_LIMIT:
        return f"must have at most {NAME_LIMIT} characters. Received: {len(name):,} characters, {name!r:.{_SHOWN}}..."
    if any(
        unicodedata.category(char) in _REFUSED_CATEGORIES or unicodedata.bidirectional(char) in _REFUSED_DIRECTIONS
        for char in name
    ):
        return f"must not have control characters. Received: {name!a:.{_SHOWN}}"
    return None


def names_fault(names: Sequence[str]) -> str | None:
    """Return why ``names`` are not accepted as the names of the classes; None when they are.

    Names are equal when they are in Unicode's normal form C, without spaces at their ends.
    """
    if len(names) > CLASS_LIMIT:
        return f"must name at most {CLASS_LIMIT:,} classes. Received: {len(names):,} names"
    for name in names:
        if fault := name_fault(name):
            return f"must name classes, and each name {fault}"
    counts = Counter(unicodedata.normalize("NFC", name).strip() for name in names)
    if twice := [name for name, times in counts.items() if times > 1]:
        return f"must name every class once. Received twice: {listed(twice)}"
    return None
