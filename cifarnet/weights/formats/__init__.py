"""Read weight files of every format. A new format is one module here and one row of ``FORMATS``.

Weight files may come from untrusted sources. They contain data, never code, and everything in them is checked against
the description of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifarnet.weights.formats import hdf5
from cifarnet.weights.record import Weights


@dataclass(frozen=True)
class Format:
    """A format of weight files.

    Attributes:
        recognizes: returns whether a file has the format.
        load: reads the weights.
        load_header: reads everything but the tensors.
    """

    recognizes: Callable[[Path], bool]
    load: Callable[[Path], Weights]
    load_header: Callable[[Path], Weights]


FORMATS = {"hdf5": Format(lambda path: True, hdf5.load, hdf5.load_header)}
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


def _format(path: Path) -> Format:
    return next(each for each in FORMATS.values() if each.recognizes(path))
