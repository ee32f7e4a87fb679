"""How reports write text that comes from outside, and numbers."""


def printable(text: str) -> str:
    r"""``text`` with everything that would move the cursor or can't be encoded as an escape such as ``\n``.

    A file's name may hold line breaks, terminal control codes and bytes that are no text in any encoding.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def percent(share: float, decimals: int = 2) -> str:
    """A share of 0 to 1 in percent: ``79.47 %``."""
    return f"{100 * share:.{decimals}f} %"
