"""Shell commands in messages, quoted so that they can be copied into a terminal."""

import os
import re
import shlex
from collections.abc import Iterable


def shell_line(words: Iterable[str], *, windows: bool = os.name == "nt") -> str:
    """Return ``words`` as one line for the shell of the system."""
    if not windows:
        return shlex.join(words)
    # File names of Windows contain no quotation marks.
    return " ".join(word if re.fullmatch(r"[\w@+=:,./\\\[\]-]+", word) else f'"{word}"' for word in words)


def command_line(*words: object) -> str:
    """Return the line that starts cifarnet with ``words``, such as ``command_line("train", "--resume", directory)``."""
    return shell_line(["cifarnet", *map(str, words)])
