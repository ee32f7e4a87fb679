"""Find weights by name, and add and remove the user's own weights.

A change takes effect when the index is replaced. The names of the user's files contain a checksum, so that a new file
never overwrites one that is in the index. An old file is deleted after the new index is written.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from cifarnet.choices import WEIGHTS_PLACE
from cifarnet.errors import (
    InvalidValueError,
    NoHomeError,
    StorageError,
    WeightsError,
    did_you_mean,
    did_you_mean_path,
)
from cifarnet.files import StrPath, as_path, remove_leftovers, write_bytes, write_text
from cifarnet.locking import locked
from cifarnet.models.spec import ModelSpec
from cifarnet.paths import weights_dir
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.provenance import TrainedOn
from cifarnet.shell import command_line
from cifarnet.weights.formats import load_header, load_weights, own_content
from cifarnet.weights.index import (
    NAME_PATTERN,
    NAME_RULE,
    MissingFileError,
    NamedWeights,
    make_entry,
    read_index,
    write_index,
)
from cifarnet.weights.record import Weights

PENDING = ".pending"
"""Name of the list of files that a change adds or replaces, one a line. It shows what a killed process left behind."""

# How often the index is read when a file is replaced or removed after the index was read.
_TRIES = 5

Found = TypeVar("Found")


def shipped() -> dict[str, NamedWeights]:
    """Return the weights that come with cifarnet, by name."""
    return read_index(Path(str(resources.files("cifarnet.weights"))), shipped=True)


def entries() -> dict[str, NamedWeights]:
    """Return all named weights by name: those that come with cifarnet, and the user's own.

    If a later version of cifarnet comes with weights of the same name, the user's own are returned.

    Raises:
        WeightsError: when an index can't be read.
    """
    own: dict[str, NamedWeights] = {}
    with suppress(NoHomeError):
        own = read_index(weights_dir(), shipped=False)
    return {**shipped(), **own}


def listing() -> list[dict[str, Any]]:
    """Return ``to_dict`` of all entries.

    The index is read again if another process replaces weights at the same time.

    Raises:
        WeightsError: when an index can't be read.
    """
    found = entries()
    for _ in range(_TRIES):
        facts = [entry.to_dict() for entry in found.values()]
        before, found = found, entries()
        if found == before or all(fact["problem"] is None for fact in facts):
            break
    return facts


def load(wanted: StrPath) -> Weights:
    """Return the weights of a file, a run directory or a name.

    Raises:
        InvalidValueError: when ``wanted`` is neither a path nor a name.
        WeightsError: when there are none, or they can't be read.
    """
    return read(wanted, load_weights)[1]


def read(wanted: StrPath, reader: Callable[[Path], Found]) -> tuple[Path, Found]:
    """Return the weight file of ``wanted`` (see ``find``), and the result of ``reader`` for it.

    If another process replaces named weights at the same time, the new file is read.

    Raises:
        InvalidValueError: when ``wanted`` is neither a path nor a name.
        WeightsError: when there are none, or they can't be read.
    """
    wanted = as_path(wanted, "weights", taken=WEIGHTS_PLACE)
    if os.path.exists(wanted):
        return (path := find(wanted)), reader(path)
    return read_named(str(wanted), reader)


def read_named(name: str, reader: Callable[[Path], Found]) -> tuple[Path, Found]:
    """Return the file of the weights called ``name``, and the result of ``reader`` for it, as ``read`` does.

    Files and folders of that name are ignored.

    Raises:
        WeightsError: when there are none, or they can't be read.
    """
    for _ in range(_TRIES - 1):
        path = find_named(name)
        try:
            return path, reader(path)
        except WeightsError:
            # The checksum was right, so that another process has replaced the file since.
            continue
    return (path := find_named(name)), reader(path)


def find(wanted: StrPath) -> Path:
    """Return the weight file of ``wanted``: a file, a run directory, or else a name.

    Raises:
        InvalidValueError: when ``wanted`` is neither a path nor a name.
        WeightsError: when there is none, or when the file of a name is missing or damaged.
    """
    wanted = as_path(wanted, "weights", taken=WEIGHTS_PLACE)
    if os.path.exists(wanted):
        return files.find_weights(wanted)
    return find_named(str(wanted))


def find_named(name: str) -> Path:
    """Return the file of the weights called ``name``. Files and folders of that name are ignored.

    Raises:
        WeightsError: when there are none, or when their file is missing or damaged.
    """
    for _ in range(_TRIES - 1):
        known = entries()
        if name not in known:
            break
        try:
            return known[name].verify()
        except MissingFileError:
            continue
    if entry := known.get(name):
        return entry.verify()
    names = ", ".join(known) or "none"
    raise WeightsError(
        f"There is no run or weight file {name}, and no weights of that name (there are: {names})."
        f"{did_you_mean_path(Path(name), known)} Give a run directory (runs/...), an .h5 file, or a name that"
        f" `cifarnet weights` lists. Received: {name}"
    )


def trained_on(wanted: Path) -> TrainedOn | None:
    """Return the images that the weights ``wanted`` (see ``find``) were trained on; None where unknown.

    Raises:
        WeightsError: when there are no such weights.
        RunError: when the configuration of a run can't be read.
    """
    if not wanted.exists():
        entry = entries().get(str(wanted))
        if entry and entry.trained_on:
            return entry.trained_on
    elif wanted.is_dir() and (wanted / files.CONFIG).exists():
        return Run(wanted).trained_on
    file, header = read(wanted, load_header)
    # Weight files of cifarnet 0.1 don't record it, but the run directory of such a file does.
    alone = file.name not in files.WEIGHT_FILES or not (file.parent / files.CONFIG).exists()
    return header.trained_on or (None if alone else Run(file.parent).trained_on)


def for_model(model: str) -> Path:
    """Return the file of the shipped weights of the network ``model`` for CIFAR-10.

    Raises:
        InvalidValueError: when there is no such network.
        WeightsError: when cifarnet comes with no weights of this network. The message names those that exist.
    """
    known, spec = shipped(), ModelSpec(model)
    if entry := known.get(spec.name):
        return entry.verify()
    raise WeightsError(
        f"No trained {spec.title} comes with cifarnet; there are: {', '.join(known) or 'none'}. Train one with"
        f" `{command_line('train', '--model', spec.name)}`, then name its run with `weights`. Received: {model}",
        field="model",
        value=model,
        valid=tuple(known),
    )


def add(source: Path, name: str, *, replace: bool = False) -> NamedWeights:
    """Copy the weights of ``source``, a run directory or a weight file, to the user's own weights under ``name``.

    Raises:
        InvalidValueError: when ``name`` is invalid or taken.
        WeightsError: when there are no readable weights at ``source``.
        StorageError: when a file can't be written. Weights that had the name before still have it.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidValueError(f"{NAME_RULE}. Received: {name}")
    if name in shipped():
        raise InvalidValueError(f"Weights called {name} come with cifarnet. Choose another name. Received: {name}")
    folder = weights_dir()
    file = files.find_weights(source)
    content = own_content(file)  # An invalid file is an error now, not at its first use.
    origin = trained_on(source)
    with _locked_index(folder):
        index = read_index(folder, shipped=False)
        if name in index and not replace:
            raise InvalidValueError(
                f"There are weights called {name} already. Choose another name, or give `replace`. Received: {name}"
            )
        target = folder / f"{name}.{hashlib.sha256(content).hexdigest()[:16]}.h5"
        with _changing(folder, target, *([index[name].path] if name in index else [])):
            write_bytes(target, content)
            entry = make_entry(name, target, *_test_set(source), shipped=False, trained_on=origin)
            write_index(folder, {**index, name: entry})
        entry.verify()  # The folder may have been deleted after the file was written.
    return entry


def remove(name: str) -> None:
    """Remove the user's own weights called ``name`` from the index, and delete their file.

    Raises:
        InvalidValueError: when there are none, or they come with cifarnet.
    """
    folder = weights_dir()
    with _locked_index(folder):
        index = read_index(folder, shipped=False)
        if name not in index:
            own = ", ".join(index) or "none"
            raise InvalidValueError(
                f"You have added no weights called {name}.{did_you_mean(name, index)} You have added: {own}."
                f" Received: {name}"
            )
        entry = index.pop(name)
        with _changing(folder, entry.path):
            write_index(folder, index)


@contextmanager
def _locked_index(folder: Path) -> Iterator[None]:
    """Lock the index of ``folder`` against changes by other processes, and create the folder if it is missing.

    Raises:
        StorageError: when the folder can't be written to, or another process keeps the lock.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / ".lock"))
        except OSError as error:
            raise StorageError(folder, error) from error
        _delete_pending(folder)
        yield


@contextmanager
def _changing(folder: Path, *paths: Path) -> Iterator[None]:
    """After the block, delete those of ``paths`` that are not in the index.

    If the process is killed in the block, the next change deletes them.

    Raises:
        StorageError: when the list of these files can't be written.
    """
    left = _pending(folder)
    write_text(folder / PENDING, "".join(f"{name}\n" for name in sorted(left | {path.name for path in paths})))
    try:
        yield
    finally:
        _delete_pending(folder)


def _pending(folder: Path) -> set[str]:
    try:
        names = (folder / PENDING).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {name for name in names if name.endswith(".h5") and Path(name).name == name}


def _delete_pending(folder: Path) -> None:
    """Delete the files that earlier changes left in ``folder``. Errors are ignored."""
    with suppress(OSError, WeightsError):
        named = {entry.path.name for entry in read_index(folder, shipped=False).values()}
        for name in _pending(folder) - named:
            (folder / name).unlink(missing_ok=True)
        (folder / PENDING).unlink(missing_ok=True)
        remove_leftovers(folder)


def _test_set(source: Path) -> tuple[str | None, int | None]:
    """Return the data source and the number of test images of a run's result; None where it has none."""
    if not os.path.exists(source / files.CONFIG) or not os.path.exists(source / files.METRICS):
        return None, None
    run = Run(source)
    origin, result = run.trained_on, run.result
    # An index that had one of the two alone could not be read.
    if not (origin and result and result.images):
        return None, None
    # The path as it was given is valid only in the folder of the training.
    return origin.data_path or origin.data, result.images
