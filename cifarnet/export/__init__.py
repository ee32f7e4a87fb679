"""Write a network for other programs. A new format is one module here and one row of ``FORMATS``."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cifarnet.errors import unknown_value
from cifarnet.files import StrPath, as_path

if TYPE_CHECKING:
    from cifarnet.weights.record import Weights


@dataclass(frozen=True)
class ExportFormat:
    """A format that networks are written in.

    Attributes:
        module: the module with the function ``write(weights, path)``, which replaces the file as a whole or leaves it.
        suffix: the usual end of file names.
    """

    module: str
    suffix: str


FORMATS = {"keras": ExportFormat("cifarnet.export.keras", ".keras")}


def export_model(weights: "Weights | StrPath", path: StrPath, format: str = "keras") -> Path:
    """Write a network in another ``format`` to the file ``path``, and return its path.

    Args:
        weights: the weights, or a run directory, weight file or name that they are read from.
        path: the file. An existing one is replaced.
        format: ``"keras"``: a model of stock layers, which Keras loads without cifarnet; uint8 images (n, size, size,
            3) in, logits (n, classes) out.

    Raises:
        InvalidValueError: for an unknown format, and when ``weights`` or ``path`` is not a path.
        WeightsError: when there are no readable weights.
        StorageError: when the system refuses to write.
    """
    from cifarnet.weights import catalog
    from cifarnet.weights.record import Weights

    if format not in FORMATS:
        raise unknown_value("format", format, FORMATS)
    target = as_path(path, "path")
    found = weights if isinstance(weights, Weights) else catalog.load(weights)
    importlib.import_module(FORMATS[format].module).write(found, target)
    return target
