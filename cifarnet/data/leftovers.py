"""Counts the files of a source that are not read, by reason."""

import os
from collections import defaultdict

from cifarnet.data.dataset import LeftOut
from cifarnet.data.decoding import HEIC_SUFFIXES

EXAMPLES = 3
# The most kinds of files that are listed; the others are counted together.
_KINDS = 6


def is_heic(name: str) -> bool:
    """Return whether the file ``name`` is a HEIC picture, by its suffix."""
    return os.path.splitext(name)[1].lower() in HEIC_SUFFIXES


def kind_of(name: str) -> str:
    """Return the reason why the file ``name`` is not read as a picture: its suffix, and a remedy if there is one."""
    suffix = os.path.splitext(name)[1].lower()
    if is_heic(name):
        return f"{suffix} files: install pillow-heif to read them"
    return f"{suffix} files" if suffix else "files without a suffix"


class Leftovers:
    """Collects the files that are not read, by reason."""

    def __init__(self) -> None:
        self._reasons: dict[str, list[str]] = defaultdict(list)
        self._kinds: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, name: str) -> None:
        """Count the file ``name``, left out for ``reason``."""
        self._reasons[reason].append(name)

    def add_kind(self, name: str) -> None:
        """Count the file ``name``, left out because it is not a picture in a supported format."""
        self._kinds[kind_of(name)].append(name)

    def summary(self) -> tuple[LeftOut, ...]:
        """Return counts and first names by reason. Kinds of files come last, HEIC first, then by number of files."""
        kinds = sorted(self._kinds.items(), key=lambda item: (not is_heic(item[1][0]), -len(item[1]), item[0]))
        if len(kinds) > _KINDS:
            rest = [name for _, names in kinds[_KINDS - 1 :] for name in names]
            kinds = [*kinds[: _KINDS - 1], ("files of other kinds", rest)]
        return tuple(
            LeftOut(reason, len(names), tuple(sorted(names)[:EXAMPLES]))
            for reason, names in [*self._reasons.items(), *kinds]
        )
