"""A disk that refuses, is cut off or forgets: below each operation of Python on the files of a folder."""

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KILL = -1
"""Stands for an error's number: the process dies at this operation, and nothing more of it reaches the disk."""


class Killed(BaseException):
    """The process was killed. Nothing catches this, and every later operation raises it again."""


class Disk:
    """Counts the operations on the files below ``root``; refuses the ``refused``-th (from 1), or all from it on.

    A refused write has written half of its bytes.
    """

    def __init__(self, root: Path, refused: int | None = None, code: int = 0, for_ever: bool = False):
        self.root, self.refused, self.code = os.path.realpath(root), refused, code
        self.for_ever = for_ever or code == KILL
        self.operations = 0
        self.paths: dict[int, str] = {}
        """The paths of open descriptors."""

    def ask(self, path: Any) -> None:
        """Count an operation on ``path``, or raise."""
        self.operations += 1
        if self.refused and (self.operations == self.refused or (self.for_ever and self.operations > self.refused)):
            if self.code == KILL:
                raise Killed(path)
            raise OSError(self.code, os.strerror(self.code), str(path))

    def covers(self, path: Any) -> bool:
        """Whether ``path`` is below the root."""
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self.root)

    def done(self, name: str, path: str) -> None:
        """Take note of the finished operation ``name``; of a file that was opened or closed too."""

    def patched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """``os``'s function ``name``, asked for and noted."""

        def operation(target: Any, *arguments: Any, **options: Any) -> Any:
            path = self.paths.get(target) if name == "fsync" else target
            if not self.covers(path):
                result = original(target, *arguments, **options)
                if name == "open":  # Descriptors are used again.
                    self.paths.pop(result, None)
                return result
            self.ask(path)
            result = original(target, *arguments, **options)
            if name == "open":
                self.paths[result] = os.fspath(path)
            self.done(name, os.fspath(path))
            return result

        return operation

    def opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``open``, with a file that asks before each write."""

        def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not self.covers(path) or not set(mode) & set("wax") or "b" not in mode or "opener" in options:
                return original(path, mode, *arguments, **options)
            self.ask(path)
            raw = _File(self, os.fspath(path), mode.replace("b", ""))
            self.done("create", os.fspath(path))
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

        return opened


class _File(io.FileIO):
    def __init__(self, disk: Disk, path: str, mode: str):
        super().__init__(path, mode)
        self.disk = disk

    def write(self, content: Any) -> int:
        try:
            self.disk.ask(self.name)
        except BaseException:
            if self.disk.operations == self.disk.refused:
                super().write(bytes(content)[: len(content) // 2])
            raise
        return super().write(content)


class ForgetfulDisk(Disk):
    """Notes after each operation what a power cut would leave: contents as they were synced, ``b""`` where never.

    ``states`` are the files by relative path. A directory's entries are those of its last sync in one state, the
    present ones in another: a journal may have kept them without the contents. Folders always stay.
    """

    def __init__(self, root: Path):
        super().__init__(root)
        self.states: list[dict[str, bytes]] = []
        self._contents = {path.stat().st_ino: path.read_bytes() for path in self._files()}
        self._entries = {str(path): path.stat().st_ino for path in self._files()}

    def _files(self) -> list[Path]:
        return [path for path in Path(self.root).rglob("*") if path.is_file()]

    def done(self, name: str, path: str) -> None:
        """Bring what is synced up to date, and note the two states."""
        file = Path(path)
        if name == "create" or (name == "open" and file.is_file() and not file.stat().st_size):
            self._contents[file.stat().st_ino] = b""
        elif name == "fsync" and file.is_file():
            self._contents[file.stat().st_ino] = file.read_bytes()
        elif name == "fsync":
            others = {old: inode for old, inode in self._entries.items() if Path(old).parent != file}
            self._entries = {
                **others,
                **{str(each): each.stat().st_ino for each in file.iterdir() if each.is_file()},
            }
        for entries in (self._entries, {str(each): each.stat().st_ino for each in self._files()}):
            state = {os.path.relpath(each, self.root): self._contents[inode] for each, inode in entries.items()}
            if state not in self.states:
                self.states.append(state)


_OPERATIONS = ("open", "fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir")


@contextmanager
def watched(disk: Disk) -> Iterator[Disk]:
    """While entered, Python's operations on files are those of ``disk``."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _OPERATIONS:
            patch.setattr(os, name, disk.patched(name, getattr(os, name)))
        for module in (builtins, io):
            patch.setattr(module, "open", disk.opening(module.open))
        yield disk


def disk(root: Path, refused: int | None = None, code: int = 0, for_ever: bool = False) -> Any:
    """Enter a ``Disk`` below ``root``."""
    return watched(Disk(root, refused, code, for_ever))
