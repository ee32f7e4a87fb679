"""Read weight files of every format. A new format is one module here and one row of ``FORMATS``.

Weight files may come from untrusted sources. They contain data, never code, and everything in them is checked against
the description of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifarnet.errors import InvalidValueError
from cifarnet.hdf5 import read_content
from cifarnet.preprocessing import Normalization
from cifarnet.weights.formats import hdf5, layouts, safetensors, torch
from cifarnet.weights.formats.tensors import Tensor
from cifarnet.weights.record import Weights

_HEAD = 32
"""The number of bytes by which a format is recognized."""


@dataclass(frozen=True)
class Format:
    """A format of weight files.

    Attributes:
        recognizes: returns whether a file that begins with these bytes has the format.
        load: reads the weights.
        load_header: reads everything but the tensors.
        tensors: reads the tensors of a format that records nothing else; None for formats that describe themselves.
    """

    recognizes: Callable[[bytes], bool]
    load: Callable[[Path], Weights]
    load_header: Callable[[Path], Weights]
    tensors: Callable[[Path], dict[str, Tensor]] | None = None


def _of_tensors(recognizes: Callable[[bytes], bool], tensors: Callable[[Path], dict[str, Tensor]]) -> Format:
    """Return a format that records only tensors, in one of the ``layouts``."""
    return Format(
        recognizes,
        lambda path: layouts.load(tensors(path), path),
        lambda path: layouts.load_header(tensors(path), path),
        tensors,
    )


FORMATS = {
    "torch": _of_tensors(torch.recognizes, torch.read_tensors),
    "safetensors": _of_tensors(safetensors.recognizes, safetensors.read_tensors),
    "hdf5": Format(lambda head: True, hdf5.load, hdf5.load_header),
}
"""The formats in the order in which they are tried. The last one raises the error for unknown formats."""


def load_weights(path: Path) -> Weights:
    """Read a weight file or a checkpoint.

    Raises:
        WeightsError: when the file is missing, damaged, of an unknown layout or version, or does not hold exactly
            the tensors of the network that it names.
    """
    return _format(path).load(path)


def load_header(path: Path) -> Weights:
    """Read a weight file or a checkpoint without its tensors.

    Raises:
        WeightsError: as ``load_weights``.
    """
    return _format(path).load_header(path)


def load_described(path: Path, normalization: Normalization | None, class_names: tuple[str, ...] | None) -> Weights:
    """Read a weight file with facts that files of other programs do not record. None leaves a fact to the file.

    Raises:
        WeightsError: as ``load_weights``.
        InvalidValueError: when the file records its normalization and its classes itself, or the names are not as many
            as its classes.
    """
    found = _format(path)
    if found.tensors:
        return layouts.load(found.tensors(path), path, normalization, class_names)
    if normalization is not None or class_names is not None:
        raise InvalidValueError(
            f"{path} records its normalization and its classes: leave out `mean`, `std` and `class_names`."
            " Received: at least one of them"
        )
    return found.load(path)


def own_content(path: Path) -> bytes:
    """Return the content of the weight file ``path``, converted to cifarnet's format if it records only tensors.

    Raises:
        WeightsError: as ``load_weights``.
    """
    weights = load_weights(path)
    return hdf5.own_content(path, weights) if _format(path).tensors else read_content(path)


def _format(path: Path) -> Format:
    head = _head(path)
    return next(each for each in FORMATS.values() if each.recognizes(head))


def _head(path: Path) -> bytes:
    """Return the first bytes of ``path``; none if it can't be read, which the last format reports."""
    try:
        # Reading a named pipe would wait for its writer.
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD)
    except (OSError, ValueError):
        return b""
