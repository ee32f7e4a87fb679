"""Write a network to a temporary place, check it with its own runtime, and move it into place."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cifarnet.data.progress import Progress
from cifarnet.errors import BackendError, CifarnetError, ExportError, StorageError
from cifarnet.export import FORMATS, Exported, ExportFormat
from cifarnet.export.images import Images, find_images
from cifarnet.export.quantization import Int8Cost, figures
from cifarnet.export.verify import (
    Comparison,
    Probabilities,
    compare,
    probabilities_of,
    reference,
    require_equal,
)
from cifarnet.files import StrPath, write_bytes
from cifarnet.inference.engines import default_batch_size
from cifarnet.weights.formats import header
from cifarnet.weights.record import Weights

_COMPARED_AGAIN = 20
"""The number of images that are compared after the metadata was added."""


class FormatModule(Protocol):
    """The functions of a module of ``FORMATS``; see ``cifarnet.export``."""

    def write(self, weights: Weights, path: Path) -> None: ...  # noqa: D102

    def annotate(self, path: Path, metadata: Mapping[str, Any]) -> None: ...  # noqa: D102

    def open_network(self, path: Path) -> AbstractContextManager[Probabilities]: ...  # noqa: D102


def build(
    weights: Weights,
    target: Path,
    format: str,
    module: Any,
    int8: bool,
    data: StrPath | None,
    test_split: float | None,
    on_start: Callable[[str], object],
    report: Progress,
) -> Exported:
    """Write ``weights`` to ``target``, and return the figures; see ``export_model``.

    ``module`` is a ``FormatModule``.
    """
    row = FORMATS[format]
    if not row.distances:
        weights = replace(weights, statistics=None, reject_beyond=None)
    _require_backend(format, row)
    images = find_images(weights, data, test_split, int8, report)
    batch_size = default_batch_size(weights.spec)
    expected = reference(weights, images.images, row.reference, batch_size, on_start, report)
    if row.backends:
        on_start("keras")
    with tempfile.TemporaryDirectory() as folder, _failing(row.title):
        path = Path(folder) / "network" / f"network{row.suffix}"
        path.parent.mkdir()
        report(f"Writing {row.title}", 0, None)
        module.write(weights, path)
        comparison, cost = _checked(module, path, row, images, expected, batch_size, int8, report)
        require_equal(comparison, row.tolerance, row.title)
        if int8:
            small = Path(folder) / "int8" / path.name
            small.parent.mkdir()
            report(f"Writing {row.title} in 8-bit integers", 0, None)
            module.write_int8(weights, small, images.calibration)
            float32, path = cost, small
            comparison, cost = _checked(module, path, row, images, expected, batch_size, int8, report)
            batch = min(batch_size, len(images.images))
            cost = Int8Cost(len(images.calibration), batch, float32, cost)  # type: ignore[arg-type]
        facts = {"format": format, "int8": int8, "tolerance": None if int8 else row.tolerance, **comparison.to_dict()}
        with module.open_network(path) as network:
            before = network(images.images[:_COMPARED_AGAIN])
        module.annotate(path, {**header.written(weights), "exported": facts})
        with module.open_network(path) as network:
            after = network(images.images[:_COMPARED_AGAIN])
        if not np.array_equal(before, after):
            raise ExportError(f"The {row.title} file changed when its metadata were added, and was not kept.")
        size = _size(path)
        move(path, target)
    return Exported(target, format, weights.spec.title, size, comparison, cost if int8 else None)


def _require_backend(format: str, row: ExportFormat) -> None:
    """Check that Keras runs on a backend that can write the format.

    Raises:
        BackendError: when it runs on another.
    """
    from cifarnet.backend.select import choose_backend

    if row.backends and (chosen := choose_backend()) not in row.backends:
        raise BackendError(
            f"The format {format} is written by Keras on {row.backends[0]}: use `backend` {row.backends[0]}, or set the"
            f" variable KERAS_BACKEND={row.backends[0]} before Keras is imported."
            f" Received: {chosen}"
        )


def _checked(
    module: FormatModule,
    path: Path,
    row: ExportFormat,
    images: Images,
    expected: np.ndarray,
    batch_size: int,
    timed: bool,
    report: Progress,
) -> tuple[Comparison, Any]:
    """Return how the file ``path`` differs from the probabilities ``expected``, and its ``Figures`` if ``timed``."""
    with module.open_network(path) as network:
        found = probabilities_of(network, images.images, expected.shape[1], batch_size, report)
        comparison = compare(found, expected, images.source, row.reference, row.tolerance)
        if not timed or images.labels is None:
            return comparison, None
        return comparison, figures(network, found, images.images, images.labels, batch_size, _size(path))


@contextmanager
def _failing(title: str) -> Iterator[None]:
    """Make an ``ExportError`` of whatever the library of a format raises."""
    try:
        yield
    except (CifarnetError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ExportError(
            f"The network can't be written and opened as {title}, so that nothing was kept:"
            f" {type(error).__name__}: {text:.300}"
        ) from error


def _size(path: Path) -> int:
    """Return the bytes of the file ``path`` and those beside it, or of all files in the folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.iterdir()
    return sum(file.stat().st_size for file in files if file.is_file())


def move(path: Path, target: Path) -> None:
    """Move the file ``path``, with those beside it, or the folder to ``target``, whose content is replaced.

    If ``target`` is a link to a folder, the folder is replaced, and the link is kept.

    Raises:
        StorageError: when the system refuses; what ``target`` was before is untouched.
    """
    if not path.is_dir():
        beside = [file for file in path.parent.iterdir() if file != path]
        for file in (*beside, path):
            write_bytes(target.with_suffix(file.suffix), file.read_bytes())
        return
    target = target.resolve()
    unique = f"{os.getpid()}.{secrets.token_hex(4)}"
    new, old = (target.with_name(f".{target.name}.{unique}.{name}") for name in ("new", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(path, new)
            if target.exists():
                os.replace(target, old)
            try:
                os.replace(new, target)
            except OSError:
                if old.exists():
                    os.replace(old, target)
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        # Not after a failure: the old content may be nowhere else.
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StorageError(target, error) from error
