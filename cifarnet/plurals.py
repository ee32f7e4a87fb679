"""Numbers with their nouns, and lists of alternatives, for messages."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return ``number`` with ``noun`` in the right form: ``1 image``, ``1,000 images``, ``2 classes``."""
    return f"{number:,} {plural(number, noun)}"


def plural(number: float, noun: str) -> str:
    """Return ``noun`` in the form for ``number``: ``batch`` for 1, ``batches`` for others."""
    if number == 1:
        return noun
    return f"{noun}es" if noun.endswith(("s", "tch")) else f"{noun}s"


def alternatives(names: Sequence[str]) -> str:
    """Return ``names`` as alternatives: ``a, b or c``."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def verb(number: int, one: str, many: str) -> str:
    """Return ``one`` or ``many``, the form of a verb for ``number``."""
    return one if number == 1 else many
