"""The recorded paths of a run's data and weights. They are absolute, so that they are valid in every directory."""

import os
from pathlib import Path

from cifarnet.data.named import find_named, path_in
from cifarnet.paths import typed


def is_name(source: str) -> bool:
    """Return whether the data ``source`` is a name such as ``cifar10`` rather than a path."""
    return find_named(source) is not None


def of_data(source: str) -> str | None:
    """Return the data ``source`` with an absolute path, with links resolved; None for a name without a path."""
    if (found := path_in(source)) is None:
        return None
    before, path = found
    return before + os.path.realpath(typed(Path(path)))


def of_weights(text: str | None) -> str | None:
    """Return the absolute path of the run or weight file ``text`` with links resolved; None for a name."""
    return os.path.realpath(text) if text and os.path.exists(text) else None


def find(text: str, recorded: str | None, run: Path | None = None) -> str | None:
    """Return the current path of the data, run or file ``text``, which was at ``recorded``; None if it is gone.

    A project may have been moved or copied as a whole. So if there is nothing at ``recorded``, a relative ``text`` is
    searched in the current directory, in ``run`` and in all its parents. The caller must check the SHA-256 of what is
    found. If ``recorded`` is None, the result is ``text``.
    """
    if recorded is None:
        return text
    if is_there(recorded):
        return recorded
    before, _ = path_in(recorded) or ("", recorded)
    text = text.removeprefix(before)
    if os.path.isabs(text) or text.startswith("~"):
        return None
    bases = [Path.cwd(), *((run.absolute(), *run.absolute().parents) if run else ())]
    return next((before + os.path.realpath(base / text) for base in bases if _exists(base / text)), None)


def is_there(recorded: str) -> bool:
    """Return whether there is a file or folder at the path in ``recorded``."""
    _, path = path_in(recorded) or ("", recorded)
    return _exists(Path(path))


def _exists(path: Path) -> bool:
    # The path may come from a stranger's file, and reading a pipe or device may wait forever. Unlike pathlib's methods,
    # these don't raise an error for names that are too long.
    return os.path.isdir(path) or os.path.isfile(path)
