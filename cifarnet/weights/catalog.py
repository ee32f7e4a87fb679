"""Finding weights by name, and keeping the user's own beside those that come with cifarnet.

A folder of named weights holds their files and ``index.json``, which has an object for each name: ``file``, ``sha256``
of that file, and ``test_set`` and ``test_images`` that its accuracy was measured on (null where unknown).
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cifarnet import runs
from cifarnet.errors import (
    InvalidValueError,
    StorageError,
    WeightsError,
    did_you_mean,
    did_you_mean_path,
    wrong_content,
)
from cifarnet.files import replacing, sha256_of, write_text
from cifarnet.models.weights import load_header, load_weights

INDEX = "index.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class NamedWeights:
    """An entry of an index. ``shipped`` tells whether it came with cifarnet; else it is the user's own."""

    name: str
    path: Path
    sha256: str
    test_set: str | None
    test_images: int | None
    shipped: bool

    def verify(self) -> Path:
        """The file's path, once its content has been found to be what the index says.

        Raises:
            WeightsError: when it is missing or another.
        """
        told = f"The weights {self.name} ({self.path})"
        try:
            found = sha256_of(self.path)
        except OSError as error:
            raise WeightsError(f"{told} can't be read: {error.strerror}. {self.remedy}") from error
        if found != self.sha256:
            raise WeightsError(
                f"{told} are damaged: their SHA-256 should be {self.sha256}. Received: {found}. {self.remedy}"
            )
        return self.path

    def to_dict(self) -> dict[str, Any]:
        """What ``cifarnet weights --json`` prints: the entry with what its file says of itself.

        ``problem`` is why its file can't be read, and what to do; what would come from there is None then.
        """
        told: dict[str, Any] = {
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
            return {**told, "problem": f"{error} {self.remedy}"}
        return {
            **told,
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
            f"Add them again (cifarnet weights add RUN {self.name} --replace) or forget them (cifarnet weights remove"
            f" {self.name})."
        )


def own_folder() -> Path:
    """Where the user's own weights are kept: $CIFARNET_WEIGHTS, else in the platform's folder for user data."""
    if chosen := os.environ.get("CIFARNET_WEIGHTS"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("cifarnet", appauthor=False) / "weights"


def shipped() -> dict[str, NamedWeights]:
    """The weights that come with cifarnet, by name."""
    return read_index(Path(str(resources.files("cifarnet.weights"))), shipped=True)


def entries() -> dict[str, NamedWeights]:
    """All weights that have a name, the user's own and those that come with cifarnet.

    A name that the user gave keeps its meaning when weights of that name come with a later cifarnet.

    Raises:
        WeightsError: when an index can't be read.
    """
    return {**shipped(), **read_index(own_folder(), shipped=False)}


def find(wanted: Path) -> Path:
    """The weight file that ``wanted`` stands for: a file, a run directory, or else a name.

    Raises:
        WeightsError: when there is none, or when the named file is not what its index says.
    """
    if wanted.exists():
        return runs.find_weights(wanted)
    known = entries()
    if entry := known.get(str(wanted)):
        return entry.verify()
    names = ", ".join(known) or "none"
    raise WeightsError(
        f"There is no run or weight file {wanted}, and no weights of that name (there are: {names})."
        f"{did_you_mean_path(wanted, known)} Give a run directory (runs/...), an .h5 file, or a name that"
        f" `cifarnet weights` lists. Received: {wanted}"
    )


def for_depth(depth: int) -> Path:
    """The file of the shipped ResNet of ``depth`` for CIFAR-10.

    Raises:
        WeightsError: when none comes with cifarnet, telling which do.
    """
    from cifarnet.models.spec import ModelSpec

    known, spec = shipped(), ModelSpec(depth)
    if entry := known.get(spec.name):
        return entry.verify()
    raise WeightsError(
        f"No trained {spec.title} comes with cifarnet; there are: {', '.join(known) or 'none'}. Train one with"
        f" `cifarnet train --depth {depth}`, then name its run with --weights. Received: {depth}"
    )


def add(source: Path, name: str, *, replace: bool = False) -> NamedWeights:
    """Copy the weights of ``source``, a run or a weight file, to the user's own under ``name``.

    Raises:
        InvalidValueError: when ``name`` can't be one or is taken.
        WeightsError: when there are no readable weights at ``source``.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValueError(
            "A name is up to 64 lower-case letters, digits, dots, dashes and underscores, and begins with a letter or"
            f" digit. Received: {name}"
        )
    if name in shipped():
        raise InvalidValueError(f"Weights called {name} come with cifarnet. Choose another name.")
    folder = own_folder()
    file = runs.find_weights(source)
    load_weights(file)  # Refused now rather than when they are used.
    with _alone(folder):
        index = read_index(folder, shipped=False)
        if name in index and not replace:
            raise InvalidValueError(f"There are weights called {name} already. Choose another name, or give --replace.")
        target = folder / f"{name}.h5"
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)
        entry = describe(name, target, *_test_set(source), shipped=False)
        write_index(folder, {**index, name: entry})
    return entry


def remove(name: str) -> None:
    """Forget the user's own weights called ``name`` and delete their file.

    Raises:
        InvalidValueError: when there are none, or they come with cifarnet.
    """
    folder = own_folder()
    with _alone(folder):
        index = read_index(folder, shipped=False)
        if name not in index:
            own = ", ".join(index) or "none"
            raise InvalidValueError(
                f"You have added no weights called {name}.{did_you_mean(name, index)} You have added: {own}."
                f" Received: {name}"
            )
        entry = index.pop(name)
        write_index(folder, index)
        entry.path.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the index of ``folder``, which is made if need be: of two who change it at once, each sees the other's.

    Raises:
        StorageError: when the folder can't be written to.
    """
    from filelock import FileLock

    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise StorageError(folder, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        yield
    finally:
        lock.release()


def write_index(folder: Path, index: Mapping[str, NamedWeights]) -> None:
    """Write ``folder``'s index, sorted by name."""
    facts = {
        name: {
            "file": entry.path.name,
            "sha256": entry.sha256,
            "test_set": entry.test_set,
            "test_images": entry.test_images,
        }
        for name, entry in sorted(index.items())
    }
    write_text(folder / INDEX, json.dumps(facts, indent=2) + "\n")


def describe(name: str, path: Path, test_set: str | None, test_images: int | None, *, shipped: bool) -> NamedWeights:
    """The entry of the file ``path`` as it is now."""
    return NamedWeights(name, path, sha256_of(path), test_set, test_images, shipped)


def read_index(folder: Path, *, shipped: bool) -> dict[str, NamedWeights]:
    """The entries of ``folder``'s index by name; none where it has no index.

    Raises:
        WeightsError: when it can't be read.
    """
    path = folder / INDEX
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"The index of weights {path} can't be read: {error}") from error
    try:
        return {
            name: NamedWeights(
                name,
                folder / Path(entry["file"]).name,  # Never a file elsewhere.
                entry["sha256"],
                entry["test_set"],
                entry["test_images"],
                shipped,
            )
            for name, entry in facts.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise WeightsError(f"The index of weights {path} is damaged: {wrong_content(error)}.") from error


def _test_set(source: Path) -> tuple[str | None, int | None]:
    """What a finished run's accuracy was measured on: its data source and the number of test images."""
    metrics = source / runs.METRICS
    data = runs.find_data_source(source)
    if data is None or not metrics.is_file():
        return None, None
    try:
        return data, int(json.loads(metrics.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{metrics} can't be read: {wrong_content(error)}") from error
