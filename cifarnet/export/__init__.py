"""Write a network for other programs, and check the written file. A new format is one module and a row of ``FORMATS``.

The module of a format has these functions:

- ``write(weights, path)`` writes a network from uint8 images (batch, size, size, 3), with a free batch, to calibrated
  probabilities.
- ``write_int8(weights, path, images)`` does so with 8-bit integers, whose ranges it takes from training ``images``.
- ``annotate(path, metadata)`` adds the metadata to the written file.
- ``open_network(path)`` opens the file with the format's own runtime, without cifarnet's code for networks, and returns
  a function from images to probabilities.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet.choices import BACKENDS
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import ExportError, InvalidValueError, invalid, unknown_value
from cifarnet.files import StrPath, as_path, require_writable
from cifarnet.installation import require_package

if TYPE_CHECKING:
    from cifarnet.export.quantization import Int8Cost
    from cifarnet.export.verify import Comparison
    from cifarnet.weights.record import Weights


@dataclass(frozen=True)
class ExportFormat:
    """A format that networks are written in.

    Attributes:
        module: the module with the functions of the format.
        title: its name in prose.
        suffix: the end of the names of its files.
        requires: the package that writes or opens its files, as Python imports it.
        package: the name under which that package is installed.
        reference: the engine that the file is compared with. It shares little with what writes the file.
        tolerance: the largest difference of a probability from that of the reference.
        int8: whether there are files with 8-bit integers.
        is_folder: whether its files are folders.
        beside: the suffix of a second file of the same name; empty where there is none.
        backends: the backends of Keras that can write it; none where Keras is not needed.
        distances: whether its files keep what ``--reject`` needs: an output ``distance``, or the embedding statistics.
    """

    module: str
    title: str
    suffix: str
    requires: str
    package: str
    reference: str
    tolerance: float = 1e-5
    int8: bool = False
    is_folder: bool = False
    beside: str = ""
    backends: tuple[str, ...] = ()
    distances: bool = False


FORMATS = {
    "onnx": ExportFormat(
        "cifarnet.export.onnx",
        "ONNX",
        ".onnx",
        "onnxruntime",
        "onnxruntime",
        reference="keras",
        int8=True,
        distances=True,
    ),
    "litert": ExportFormat(
        "cifarnet.export.litert",
        "LiteRT",
        ".tflite",
        "ai_edge_litert",
        "ai-edge-litert",
        reference="onnx",
        tolerance=1e-4,
        int8=True,
        backends=("tensorflow",),
    ),
    "savedmodel": ExportFormat(
        "cifarnet.export.savedmodel",
        "SavedModel",
        "-savedmodel",
        "tensorflow",
        "tensorflow",
        reference="onnx",
        is_folder=True,
        backends=("tensorflow",),
    ),
    "keras": ExportFormat(
        "cifarnet.export.keras", "Keras", ".keras", "keras", "keras", reference="onnx", backends=BACKENDS
    ),
    "safetensors": ExportFormat(
        "cifarnet.export.safetensors",
        "safetensors",
        ".safetensors",
        "safetensors",
        "safetensors",
        reference="onnx",
        distances=True,
    ),
    "openvino": ExportFormat(
        "cifarnet.export.openvino",
        "OpenVINO",
        ".xml",
        "openvino",
        "openvino",
        reference="keras",
        beside=".bin",
        distances=True,
    ),
}


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: the file or folder.
        format: its format, one of ``FORMATS``.
        network: the network's name in prose, such as ``ResNet-20``.
        bytes: its size, with the ``.bin`` file of OpenVINO.
        comparison: how its probabilities differ from those of the weights.
        int8: what 8-bit integers cost and gain; None for a file in float32.
    """

    path: Path
    format: str
    network: str
    bytes: int
    comparison: "Comparison"
    int8: "Int8Cost | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready data, as ``cifarnet export --json`` prints them."""
        return {
            "path": str(self.path),
            "format": self.format,
            "network": self.network,
            "bytes": self.bytes,
            "comparison": self.comparison.to_dict(),
            "int8": self.int8.to_dict() if self.int8 else None,
        }


def export_model(
    weights: "Weights | StrPath",
    path: StrPath | None = None,
    format: str | None = None,
    *,
    int8: bool = False,
    data: StrPath | None = None,
    test_split: float | None = None,
    replace: bool = False,
    on_start: Callable[[str], object] = lambda engine: None,
    report: Progress = silent,
) -> Exported:
    """Write a network in another ``format``, check the file with the format's own runtime, and return the figures.

    The file takes uint8 images (batch, size, size, 3) with a free batch. Normalization and calibration are part of the
    network, whose output is the probabilities (batch, classes). ``safetensors`` holds tensors alone. The metadata of
    the file has class names, normalization, temperature, accuracy, network and the figures of the check.

    The check computes the probabilities of images with the file, and those of the weights with another engine. The
    test images of ``data`` are used, or of the data that the weights record if they are on this machine, or else
    synthetic images.

    Args:
        weights: the weights, or a run directory, weight file or name that they are read from.
        path: the file, whose name ends with the suffix of the format, such as ``.onnx``; any folder for
            ``savedmodel``. By default the name of the network in the current folder.
        format: one of ``FORMATS``. By default the one whose suffix ``path`` has, or ``onnx`` without a path.
        int8: whether to compute in 8-bit integers (``onnx`` and ``litert``). This needs training and test images.
        data: the data source of the images; see ``load_data``.
        test_split: the fraction of every class of ``data`` to hold out as test images, where it has none. Images that
            the weights were trained on are held out as in the training.
        replace: whether an existing file is replaced.
        on_start: called with the name of an engine before it starts.
        report: called with the progress.

    Raises:
        InvalidValueError: for an unknown format, and for a format without ``int8``; when ``weights`` or ``path`` is not
            a path; when ``path`` has another suffix, is a folder, is the file of the weights, or exists and ``replace``
            is false; with ``int8`` also when there are no training images; and for a ``test_split`` without ``data``,
            or that ``data`` can't have.
        BackendError: when a package that the format needs is not installed, or Keras runs on another backend than
            the format needs.
        WeightsError: when there are no readable weights, or they are an exported network, which has no tensors.
        DataError: when ``data`` can't be read, or has other classes.
        ExportError: when the file differs from the weights. It is then not left behind.
        StorageError: when the system refuses to write. What ``path`` was before is untouched.
    """
    from cifarnet.weights import catalog
    from cifarnet.weights.formats import load_weights
    from cifarnet.weights.record import Weights

    if format is None:
        format = _format_of(path)
    if format not in tuple(FORMATS):
        raise unknown_value("format", format, FORMATS)
    row = FORMATS[format]
    if int8 and not row.int8:
        able = " or ".join(name for name, each in FORMATS.items() if each.int8)
        raise invalid("int8", f"is for the format {able}", format, valid=able)
    target = None if path is None else _checked(as_path(path, "path"), row, replace)
    require_package(f"The format {format}", row.requires, row.package)
    if test_split is not None and data is None:
        raise invalid("test_split", "needs `data` to split", test_split)
    source = None
    if isinstance(weights, Weights):
        found = weights
    else:
        source, found = catalog.read(weights, load_weights)
    found.require_tensors("an export")
    if target is None:
        target = _checked(Path(f"{found.spec.name}{'-int8' if int8 else ''}{row.suffix}"), row, replace)
    if source is not None and os.path.realpath(target) == os.path.realpath(source):
        raise invalid("path", "must be another file than that of the weights, which would be lost", target)
    require_writable((target.resolve() if row.is_folder else target).parent)
    from cifarnet.export.build import build

    return build(found, target, format, importlib.import_module(row.module), int8, data, test_split, on_start, report)


def _format_of(path: StrPath | None) -> str:
    """Return the format whose suffix ``path`` has, or the first one without a path.

    Raises:
        InvalidValueError: when no format has the suffix.
    """
    if path is None:
        return next(iter(FORMATS))
    suffix = as_path(path, "path").suffix
    by_suffix = {row.suffix: name for name, row in FORMATS.items() if not row.is_folder}
    if suffix not in by_suffix:
        names = ", ".join(f"{ending} ({name})" for ending, name in by_suffix.items())
        raise invalid("path", f"needs a `format`, or a name that ends with {names}", path, what="The exported file")
    return by_suffix[suffix]


def _checked(path: Path, row: ExportFormat, replace: bool) -> Path:
    """Return ``path`` after checking that a file of the format ``row`` may be written there.

    ``replace`` is whether an existing one may be replaced.

    Raises:
        InvalidValueError: when it may not.
    """
    # Path.is_dir raises an OSError for a name that is too long.
    if row.is_folder:
        if os.path.lexists(path) and not (os.path.isdir(path) and _is_replaceable(path)):
            raise invalid("path", f"must be a new folder, an empty one, or a {row.title} and nothing else", path)
        # The shell that stands in it would be left in a folder that is gone.
        if os.path.isdir(path) and os.path.samefile(path, os.curdir):
            raise invalid("path", "must be another folder than the current one, which would be replaced", path)
        return _new(path, replace or not os.path.lexists(path) or not os.listdir(path))
    if path.suffix != row.suffix:
        raise invalid("path", f"must be a file whose name ends with {row.suffix}", path)
    if os.path.isdir(path):
        raise invalid("path", "must be a file, not a folder", path)
    # An earlier export is replaced with both of its files. Without the first, the other is somebody else's.
    if row.beside and os.path.lexists(other := path.with_suffix(row.beside)) and not os.path.isfile(path):
        raise invalid("path", f"must not have the name of {other} beside it, which would be replaced", path)
    return _new(path, replace or not os.path.lexists(path))


def _new(path: Path, may_be_written: bool) -> Path:
    if not may_be_written:
        raise InvalidValueError(
            f"{path} exists. Choose another file, or give `replace`. Received: {path}", field="path", value=path
        )
    return path


_SAVED_MODEL = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}


def _is_replaceable(folder: Path) -> bool:
    """Return whether ``folder`` is empty, or holds a SavedModel and nothing else."""
    names = set(os.listdir(folder))
    return not names or ("saved_model.pb" in names and names <= _SAVED_MODEL)


__all__ = ["FORMATS", "ExportError", "ExportFormat", "Exported", "export_model"]
