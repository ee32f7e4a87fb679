"""Show text from outside: file names, class names and error messages.

They can contain line breaks, control codes of terminals (ESC, and U+0080 to U+009F), characters that reverse the
direction of text (U+202E), and bytes that are not text in any encoding. Tables, messages, pages, pictures and CSV show
escapes in their place; JSON has escapes of its own.
"""

import json
import unicodedata
from typing import Any


def printable(text: str) -> str:
    r"""Return ``text`` with an escape such as ``\n`` or ``\x1b`` for every character that is not printable."""
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    # ``str.isprintable`` refuses typographic spaces, which macOS writes into the names of screenshots, and the joiners
    # of Persian, Indic scripts and emoji.
    return character.isprintable() or unicodedata.category(character) == "Zs" or character in "\u200c\u200d"


def printable_lines(text: str) -> str:
    """Return ``text`` as ``printable`` does, with its line breaks kept."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(data: Any, indent: int | None = None, *, ascii_only: bool = False) -> str:
    r"""Return ``data`` as JSON with escapes such as ``\u001b`` for characters that are not printable."""
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    return "".join(c if _is_shown(c) or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
