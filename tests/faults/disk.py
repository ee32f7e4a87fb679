"""A disk that refuses: below ``cifarnet.files``, through which every file of a run is written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cifarnet import files


class Disk:
    """Counts the operations on files that writing needs; refuses the ``refused``-th (from 1), or all from it on."""

    def __init__(self, refused: int | None = None, code: int = 0, for_ever: bool = False):
        self.refused, self.code, self.for_ever = refused, code, for_ever
        self.operations = 0

    def ask(self) -> None:
        """Count an operation, or raise."""
        self.operations += 1
        if self.refused and (self.operations == self.refused or (self.for_ever and self.operations > self.refused)):
            raise OSError(self.code, os.strerror(self.code))

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in ("open", "fsync", "replace"):
            return original

        def asked(*arguments: Any, **options: Any) -> Any:
            self.ask()
            return original(*arguments, **options)

        return asked


@contextmanager
def disk(refused: int | None = None, code: int = 0, for_ever: bool = False) -> Iterator[Disk]:
    """While entered, ``cifarnet.files`` writes to a ``Disk``; a refused write has written half of its bytes."""
    fake = Disk(refused, code, for_ever)
    original = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        try:
            fake.ask()
        except OSError:
            original(path, content[: len(content) // 2])
            raise
        return original(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", fake)
        patch.setattr(Path, "write_bytes", write_bytes)
        yield fake
