"""Walks through folders for data sources and ``predict``: skips system names, and follows links without loops."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath

from cifarnet.data.decoding import image_suffixes

# Names that systems and programs create next to pictures, in lower case. Some contain thumbnails of the pictures.
_SYSTEM_NAMES = frozenset(
    {
        # Synology, QNAP, NetApp
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "@__thumb",
        "@sharebin",
        "~snapshot",
        # Windows
        "$recycle.bin",
        "system volume information",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        # macOS; its other names begin with a dot
        "__macosx",
        "network trash folder",
        "temporary items",
        "icon\r",
        # Linux, Python
        "lost+found",
        "__pycache__",
    }
)

BROKEN_LINK = "broken links"
LOOP = "links to a parent folder"
SPECIAL = "devices, pipes or sockets"


@dataclass(frozen=True)
class Entry:
    """A file or folder. ``left_out`` is the reason why it is not read; empty if it is."""

    path: str
    is_folder: bool = False
    left_out: str = ""


def is_system_name(name: str) -> bool:
    """Return whether systems or programs create files or folders with this ``name`` (not a path) next to pictures."""
    return name.casefold() in _SYSTEM_NAMES


def is_ignored(name: str) -> bool:
    """Return whether ``name`` (not a path) is hidden or a system name."""
    return name.startswith(".") or is_system_name(name)


def is_picture(name: str) -> bool:
    """Return whether ``name`` has the suffix of a picture that ``read_image`` supports."""
    return os.path.splitext(name)[1].lower() in image_suffixes()


def walk(root: str, on_error: Callable[[OSError], None]) -> Iterator[Entry]:
    """Yield the files and folders below the folder ``root``, in no particular order.

    Hidden and system names are skipped. Links are followed, except links to a folder that contains the link. A broken
    link with the suffix of a picture is yielded as a file, so that it is reported as unreadable. ``on_error`` is called
    for each folder that can't be listed.
    """
    pending = [(root, _folders_around(os.path.realpath(root)))]
    while pending:
        folder, around = pending.pop()
        try:
            state = os.stat(folder)
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if not is_ignored(entry.name)]
        except OSError as error:
            on_error(error)
            continue
        around |= {_identity(state)}
        for entry in entries:
            found = _entry(entry, around)
            yield found
            if found.is_folder and not found.left_out:
                parents = _folders_around(os.path.realpath(entry.path)) if entry.is_symlink() else frozenset()
                pending.append((entry.path, around | parents))


def passes_through_loop(path: str, root: str) -> bool:
    """Return whether ``path``, below the folder ``root``, passes through a link to a folder that contains the link."""
    around = _folders_around(os.path.realpath(root)) | {_identity(os.stat(root))}
    place = root
    for part in PurePath(os.path.relpath(path, root)).parts:
        place = os.path.join(place, part)
        try:
            identity = _identity(os.stat(place))
        except OSError:
            return False
        if identity in around:
            return True
        around |= {identity}
    return False


def _entry(entry: "os.DirEntry[str]", around: frozenset[tuple[int, int]]) -> Entry:
    try:
        if entry.is_dir():
            holds_itself = entry.is_symlink() and _identity(os.stat(entry.path)) in around
            return Entry(entry.path, is_folder=True, left_out=LOOP if holds_itself else "")
        if entry.is_file():
            return Entry(entry.path)
        is_broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError:  # A link to itself.
        is_broken = True
    if is_broken:
        return Entry(entry.path, left_out="" if is_picture(entry.name) else BROKEN_LINK)
    return Entry(entry.path, left_out=SPECIAL)


@lru_cache(maxsize=4096)
def _folders_around(path: str) -> frozenset[tuple[int, int]]:
    """Return the identities of all parent folders of ``path``, a path without links."""
    parents = PurePath(path).parents
    found = set()
    for parent in parents:
        try:
            found.add(_identity(os.stat(parent)))
        except OSError:
            continue
    return frozenset(found)


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino
