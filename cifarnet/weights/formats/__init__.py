"""Read weight files of every format. A new format is one module here and one row of ``FORMATS``.

Weight files may come from untrusted sources. They contain data, never code, and everything in them is checked against
the description of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.hdf5 import read_content
from cifarnet.preprocessing import Normalization
from cifarnet.weights.formats import hdf5, layouts, onnx, safetensors, torch
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
        tensors: reads the tensors of a file that records nothing else; None for formats that describe themselves, and
            the result None for files that do.
        has_tensors: whether the files hold tensors. Otherwise they hold a program that computes logits.
    """

    recognizes: Callable[[bytes], bool]
    load: Callable[[Path], Weights]
    load_header: Callable[[Path], Weights]
    tensors: Callable[[Path], dict[str, Tensor] | None] | None = None
    has_tensors: bool = True


FORMATS = {
    "torch": Format(
        torch.recognizes,
        lambda path: layouts.load(torch.read_tensors(path), path),
        lambda path: layouts.load_header(torch.read_tensors(path), path),
        torch.read_tensors,
    ),
    "safetensors": Format(safetensors.recognizes, safetensors.load, safetensors.load_header, safetensors.read_tensors),
    "onnx": Format(onnx.recognizes, onnx.load, onnx.load, has_tensors=False),
    "hdf5": Format(lambda head: True, hdf5.load, hdf5.load_header),
}
"""The formats in the order in which they are tried. The last one raises the error for unknown formats."""


def load_weights(path: Path) -> Weights:
    """Read a weight file or a checkpoint.

    Raises:
        WeightsError: when the file is missing, damaged, of an unknown layout or version, or does not hold exactly
            the tensors of the network that it names.
    """
    found = _format(path)
    weights = found.load(path)
    if not found.has_tensors:
        raise WeightsError(
            f"{path} is an exported network, which predict and evaluate can use. It does not hold the tensors that"
            " training, explanations and exports need: give the run, the weight file or the name that it was made from."
            f" Received: {path}"
        )
    return weights


def load_network(path: Path) -> Weights:
    """Read a weight file, a checkpoint, or an ONNX file that ``cifarnet export`` wrote, to classify images.

    Raises:
        WeightsError: as ``load_weights``, and for ONNX files that cifarnet did not write.
    """
    return _format(path).load(path)


def is_exported(path: Path) -> bool:
    """Return whether ``path`` is a file in a format of exported networks, which hold no tensors."""
    return not _format(path).has_tensors


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
    tensors = found.tensors(path) if found.tensors else None
    if tensors is not None:
        return layouts.load(tensors, path, normalization, class_names)
    if normalization is not None or class_names is not None:
        raise InvalidValueError(
            f"{path} records its normalization and its classes: leave out `mean`, `std` and `class_names`."
            " Received: at least one of them"
        )
    return load_weights(path)


def own_content(path: Path) -> bytes:
    """Return the content of the weight file ``path``, converted to HDF5 if it is a file of PyTorch or safetensors.

    Raises:
        WeightsError: as ``load_weights``.
    """
    weights = load_weights(path)
    return hdf5.own_content(path, weights) if _format(path).tensors else read_content(path)


_UNREADABLE = {".keras": "keras", ".tflite": "litert", ".xml": "openvino"}
"""The suffixes of exported networks that cifarnet does not read, with the formats of ``cifarnet export``."""


def _format(path: Path) -> Format:
    """Return the format of the file ``path``.

    Raises:
        WeightsError: for an exported network in a format that cifarnet does not read.
    """
    head = _head(path)
    if head and (name := _UNREADABLE.get(path.suffix)):
        raise WeightsError(
            f"{path} is a network for other programs, in the format {name} of `cifarnet export`. Give the run or the"
            f" weight file that it was made from, or export it as onnx or safetensors, which cifarnet reads."
            f" Received: {path}"
        )
    # A damaged ONNX file may begin with anything.
    if head and path.suffix == ".onnx":
        return FORMATS["onnx"]
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
