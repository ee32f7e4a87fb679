"""The limits on class names and on the number of classes."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from cifarnet.errors import listed

CLASS_LIMIT = 5_000
"""The most classes. Their confusion matrix takes 200 MB of memory and 50 MB of metrics.json."""
NAME_LIMIT = 100
"""The most characters of a class name."""

_SHOWN = 60
# Unicode categories of control characters, surrogates, and line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Unicode controls of the writing direction, which can make one name look like another in a terminal.
_REFUSED_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def name_fault(name: str) -> str | None:
    """Return why ``name`` is not a valid class name, as the end of a sentence; None if it is valid."""
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
    """Return why ``names`` are not valid class names, as the end of a sentence; None if they are valid.

    Names are compared in Unicode's normal form C, without leading and trailing spaces.
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
