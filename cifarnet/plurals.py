"""Numbers with their nouns, for messages."""


def counted(number: int, noun: str) -> str:
    """Return ``number`` with ``noun`` in the right form: ``1 image``, ``1,000 images``, ``2 classes``."""
    return f"{number:,} {plural(number, noun)}"


def plural(number: float, noun: str) -> str:
    """Return ``noun`` in the form for ``number``: ``batch`` for 1, ``batches`` for others."""
    if number == 1:
        return noun
    return f"{noun}es" if noun.endswith(("s", "tch")) else f"{noun}s"


def verb(number: int, one: str, many: str) -> str:
    """Return ``one`` or ``many``, the form of a verb for ``number``."""
    return one if number == 1 else many
