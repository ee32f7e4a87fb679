"""The index of a folder of named weights.

A folder of named weights holds their files and ``index.json``, which has an object for each name: ``file``, ``sha256``
of that file, ``test_set`` and ``test_images`` that its accuracy was measured on (null where unknown), and
``trained_on``, the images that it was trained on (``cifarnet.runs.provenance.TrainedOn``; absent where unknown).
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarnet.errors import InvalidValueError, WeightsError, without_marks
from cifarnet.fields import Range, typed_fields
from cifarnet.files import sha256_of, write_text
from cifarnet.json_files import read_object, shown
from cifarnet.runs.provenance import TrainedOn, is_sha256
from cifarnet.shell import command_line
from cifarnet.weights.formats import load_header

INDEX = "index.json"
"""Name of the file of an index."""

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Matches the names of weights."""

NAME_RULE = (
    "A name is up to 64 lower-case letters, digits, dots, dashes and underscores, and begins with a letter or digit"
)
"""The rule of ``NAME_PATTERN`` in words."""

_FILE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\.h5")
_TEST_IMAGES = Range(1, 2**53)
_INDEX_LIMIT = 2**22
"""Size limit in bytes, enough for thousands of names."""


class MissingFileError(WeightsError):
    """A file in the index that does not exist. It may have been replaced or removed after the index was read."""


@dataclass(frozen=True)
class NamedWeights:
    """Weights in an index.

    Attributes:
        name: the name of the weights.
        path: the weight file.
        sha256: SHA-256 of the file.
        test_set: the data source on which the accuracy was measured; None where unknown.
        test_images: number of its test images; None where unknown.
        shipped: whether the weights come with cifarnet. Otherwise the user added them.
        trained_on: the images of the training; None where unknown.
    """

    name: str
    path: Path
    sha256: str
    test_set: str | None
    test_images: int | None
    shipped: bool
    trained_on: TrainedOn | None = None

    def verify(self) -> Path:
        """Return the file's path, after a check that its SHA-256 is that of the index.

        Raises:
            WeightsError: when the file is missing, or its SHA-256 differs.
        """
        what = f"The weights {self.name} ({self.path})"
        try:
            # Reading a named pipe would wait for its writer. One call, because another process may remove the file.
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise WeightsError(f"{what} are not a regular file. {self.remedy} Received: {self.path}")
            found = sha256_of(self.path)
        except OSError as error:
            kind = MissingFileError if isinstance(error, FileNotFoundError) else WeightsError
            raise kind(f"{what} can't be read: {error.strerror}. {self.remedy} Received: {self.path}") from error
        if found != self.sha256:
            raise WeightsError(
                f"{what} are damaged: their SHA-256 should be {self.sha256}. {self.remedy} Received: {found}"
            )
        return self.path

    def to_dict(self) -> dict[str, Any]:
        """Return the entry and facts from its file as JSON-ready data, as ``cifarnet weights --json`` prints them.

        When the file can't be read, its facts are None, and ``problem`` explains why and what to do.
        """
        facts: dict[str, Any] = {
            "name": self.name,
            **dict.fromkeys(("network", "classes", "recipe", "accuracy")),
            "test_set": self.test_set,
            "test_images": self.test_images,
            "bytes": None,
            "sha256": self.sha256,
            "path": str(self.path),
            "shipped": self.shipped,
            "problem": None,
        }
        try:
            header, size = load_header(self.path), self.path.stat().st_size
        except (WeightsError, OSError) as error:
            return {**facts, "problem": f"{error} {self.remedy}"}
        return {
            **facts,
            "network": header.spec.title,
            "classes": list(header.class_names),
            "recipe": (header.recipe or {}).get("name"),
            "accuracy": header.accuracy,
            "bytes": size,
        }

    @property
    def remedy(self) -> str:
        """What to do when the file is missing or damaged."""
        if self.shipped:
            return "Install cifarnet again."
        return (
            f"Add them again ({command_line('weights', 'add', 'RUN', self.name, '--replace')}) or remove them"
            f" ({command_line('weights', 'remove', self.name)})."
        )


def write_index(folder: Path, index: Mapping[str, NamedWeights]) -> None:
    """Write the index of ``folder``, sorted by name.

    Raises:
        StorageError: when it can't be written.
        InvalidValueError: for an entry that could not be read again. The file is unchanged.
    """
    facts = {
        name: {
            "file": entry.path.name,
            "sha256": entry.sha256,
            "test_set": entry.test_set,
            "test_images": entry.test_images,
            **({"trained_on": entry.trained_on.to_dict()} if entry.trained_on else {}),
        }
        for name, entry in sorted(index.items())
    }
    text = json.dumps(facts, indent=2)
    for name, fact in json.loads(text).items():
        _entry(folder, name, fact, shipped=False)
    write_text(folder / INDEX, text + "\n")


def make_entry(
    name: str,
    path: Path,
    test_set: str | None,
    test_images: int | None,
    *,
    shipped: bool,
    trained_on: TrainedOn | None = None,
) -> NamedWeights:
    """Return the entry for the weight file ``path``, with its present SHA-256."""
    return NamedWeights(name, path, sha256_of(path), test_set, test_images, shipped, trained_on)


def read_index(folder: Path, *, shipped: bool) -> dict[str, NamedWeights]:
    """Return the entries in the index of ``folder`` by name; none if there is no index.

    Raises:
        WeightsError: when it can't be read.
    """
    path = folder / INDEX
    # HOME may be that of another account, whose folders this account can't read.
    if not os.path.exists(path):
        return {}
    try:
        facts = read_object(path, _INDEX_LIMIT)
    except InvalidValueError as error:
        raise WeightsError(f"The index of weights {path} can't be read: {error}") from error
    try:
        return {name: _entry(folder, name, fact, shipped) for name, fact in facts.items()}
    except InvalidValueError as error:
        raise WeightsError(f"The index of weights {path} is damaged: {error}") from error


@dataclass(frozen=True)
class _Fact:
    """The JSON object of a name in an index."""

    file: str
    sha256: str
    test_set: str | None
    test_images: int | None
    trained_on: dict[str, Any] | None = None


def _entry(folder: Path, name: str, fact: Any, shipped: bool) -> NamedWeights:
    """Return the entry of ``name`` in the index of ``folder``.

    Raises:
        InvalidValueError: for an invalid field. The message names it.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidValueError(f"{NAME_RULE}. Received: {shown(name)}")
    try:
        known = _Fact(**typed_fields(_Fact, fact, "The entry", others=True))
        # No path and no other kind of file, because `cifarnet weights remove` deletes the file.
        if not _FILE.fullmatch(known.file):
            raise InvalidValueError(
                f"file must be the name of an .h5 file in this folder. Received: {shown(known.file)}"
            )
        if not is_sha256(known.sha256):
            raise InvalidValueError(f"sha256 must be 64 hexadecimal digits. Received: {shown(known.sha256)}")
        _TEST_IMAGES.require("test_images", known.test_images)
        if (known.test_set is None) != (known.test_images is None):
            raise InvalidValueError(
                "test_set and test_images must both be known, or both be null."
                f" Received: {shown(known.test_set)} and {shown(known.test_images)}"
            )
        origin = None if known.trained_on is None else TrainedOn.from_dict(known.trained_on)
    except InvalidValueError as error:
        raise InvalidValueError(f"{name}: {without_marks(str(error))}") from error
    path = folder / known.file
    return NamedWeights(name, path, known.sha256, known.test_set, known.test_images, shipped, origin)
