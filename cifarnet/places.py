"""Paths that a run is given: recorded as absolute ones too, so that they mean the same from every directory."""

import os
from contextlib import suppress
from pathlib import Path


def of_data(source: str) -> str | None:
    """Return the absolute path of the data ``source``, links resolved; None for ``cifar10`` and ``synthetic``."""
    if source == "cifar10" or source.partition(":")[0] == "synthetic":
        return None
    path = Path(source)
    if source.startswith("~") and not path.exists():
        with suppress(RuntimeError):  # There is no such user, or no home.
            path = path.expanduser()
    return os.path.realpath(path)


def of_weights(text: str | None) -> str | None:
    """Return the absolute path of the run or weight file ``text``, links resolved; None for a name."""
    return os.path.realpath(text) if text and Path(text).exists() else None


def keep_or_find(text: str, recorded: str | None, found: str | None) -> str | None:
    """Return the ``recorded`` path of ``text`` while it belongs to it, and else the one ``found`` now.

    A configuration that was read from a run may have been given another ``text`` since.
    """
    tail = tuple(part for part in Path(os.path.normpath(text)).parts if part != os.pardir)
    belongs = recorded is not None and (not tail or Path(recorded).parts[-len(tail) :] == tail)
    return recorded if belongs else found


def find(text: str, recorded: str | None, run: Path | None = None) -> str | None:
    """Return where the data, run or file that was called ``text`` and lay at ``recorded`` lies now; None for nowhere.

    A project may have been moved or copied as a whole. So where nothing is left at ``recorded``, a relative ``text`` is
    looked for below the present directory, and below ``run`` and each folder above it. What is found there has to be
    checked by its SHA-256. Without ``recorded`` the place is ``text``.
    """
    if recorded is None:
        return text
    if _is_there(Path(recorded)):
        return recorded
    if os.path.isabs(text) or text.startswith("~"):
        return None
    bases = [Path.cwd(), *((run.absolute(), *run.absolute().parents) if run else ())]
    return next((os.path.realpath(base / text) for base in bases if _is_there(base / text)), None)


def _is_there(path: Path) -> bool:
    # Nothing else: a path may come from a stranger's file, and reading a pipe or a device may wait forever.
    return path.is_dir() or path.is_file()
