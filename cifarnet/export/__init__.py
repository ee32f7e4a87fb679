"""Write a network for other programs. A new format is one module here and one row of ``FORMATS``."""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cifarnet.errors import invalid, unknown_value
from cifarnet.files import StrPath, as_path, require_writable

if TYPE_CHECKING:
    from cifarnet.weights.record import Weights


@dataclass(frozen=True)
class ExportFormat:
    """A format that networks are written in.

    Attributes:
        module: the module with the function ``write(weights, path)``, which replaces the file as a whole or leaves it.
        suffix: the end of the names of its files.
    """

    module: str
    suffix: str


FORMATS = {"keras": ExportFormat("cifarnet.export.keras", ".keras")}


def export_model(weights: "Weights | StrPath", path: StrPath, format: str = "keras") -> Path:
    """Write a network in another ``format`` to the file ``path``, and return its path.

    Args:
        weights: the weights, or a run directory, weight file or name that they are read from.
        path: the file, whose name ends with the suffix of the format, such as ``.keras``. An existing one is replaced.
        format: ``"keras"``: a model of stock layers, which Keras loads without cifarnet; uint8 images (n, size, size,
            3) in, logits (n, classes) out.

    Raises:
        InvalidValueError: for an unknown format, when ``weights`` or ``path`` is not a path, and when ``path`` has
            another suffix or is a folder.
        WeightsError: when there are no readable weights.
        StorageError: when the system refuses to write.
    """
    from cifarnet.weights import catalog
    from cifarnet.weights.record import Weights

    if format not in tuple(FORMATS):
        raise unknown_value("format", format, FORMATS)
    target = as_path(path, "path")
    suffix = FORMATS[format].suffix
    if target.suffix != suffix:
        raise invalid("path", f"must be a file whose name ends with {suffix}", path)
    require_writable(target.parent)
    if os.path.isdir(target):  # Path.is_dir raises an OSError for a name that is too long.
        raise invalid("path", "must be a file, not a folder", path)
    found = weights if isinstance(weights, Weights) else catalog.load(weights)
    importlib.import_module(FORMATS[format].module).write(found, target)
    return target
