"""Read and write weight files of cifarnet, and read those of the original project.

A weight file is an HDF5 file. The root attribute ``cifarnet`` holds its header as JSON. The group ``weights`` holds the
tensors as datasets under the full names of the network's description (see ``cifarnet.hdf5``). The group ``embeddings``
holds the arrays of the embedding statistics, for weights that have them.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifarnet.errors import WeightsError, listed
from cifarnet.hdf5 import Hdf5File, hdf5_content, read_hdf5, write_hdf5
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import describe
from cifarnet.weights.formats import header, original
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    import h5py

HEADER = "cifarnet"
_GROUP = "weights"


def save_weights(path: Path, weights: Weights, *, half: bool = False) -> None:
    """Write ``weights`` to the file ``path`` atomically, with a checksum.

    With ``half``, tensors and embedding statistics are stored as float16, except those with values beyond its range,
    which stay float32.

    Raises:
        StorageError: when the file can't be written.
    """
    write_hdf5(path, lambda file: write_into(file, weights, half=half))


def own_content(path: Path, weights: Weights) -> bytes:
    """Return the content of the weight file ``path`` with ``weights``."""
    return hdf5_content(path, lambda file: write_into(file, weights))


def write_into(file: "h5py.File", weights: Weights, *, half: bool = False) -> None:
    """Write the header and the tensors into an open file. Checkpoints add the train state to the same file."""
    file.attrs[HEADER] = json.dumps(header.written(weights))
    named = {f"{_GROUP}/{name}": array for name, array in weights.tensors.items()}
    for name, array in (named | header.statistics_arrays(weights)).items():
        fits = half and np.abs(array).max() <= np.finfo(np.float16).max
        file.create_dataset(name, data=array, dtype="float16" if fits else "float32")


def load(path: Path) -> Weights:
    """Read a weight file or checkpoint of cifarnet, or a weight file of the original project.

    Raises:
        WeightsError: as ``cifarnet.weights.formats.load_weights``.
    """
    return weights_in(read_hdf5(path))


def load_header(path: Path) -> Weights:
    """Read a file as ``load`` does, without its tensors."""
    return header_in(read_hdf5(path))


def weights_in(file: Hdf5File) -> Weights:
    """Return the header and the tensors of a parsed file.

    Raises:
        WeightsError: when the file does not hold exactly the tensors of its network.
    """
    weights = header_in(file)
    expected = named_weights(describe(weights.spec))
    is_original = weights.version == original.VERSION
    addresses = {name: original.address(name) if is_original else f"{_GROUP}/{name}" for name in expected}
    tensors = {name: file.tensor(addresses[name], weight.shape) for name, weight in expected.items()}
    statistics = {name: file.tensor(name, shape) for name, shape in header.statistics_shapes(weights).items()}
    known = {*addresses.values(), *statistics}
    groups = (f"{_GROUP}/", f"{header.STATISTICS}/")
    # Keras keeps an empty group for a layer without weights.
    found = file.datasets if is_original else [at for at in (*file.datasets, *file.empty) if at.startswith(groups)]
    if extra := [at for at in found if at not in known]:
        raise WeightsError(f"{file.path} has tensors that {weights.spec.title} lacks. Received: {listed(extra, 3)}")
    return header.with_tensors(weights, tensors, statistics)


def header_in(file: Hdf5File) -> Weights:
    """Return the validated header of a parsed file, without tensors.

    Raises:
        WeightsError: when the header is invalid, or written by a later version of cifarnet.
    """
    data = file.json(HEADER)
    return original.header_in(file) if data is None else header.parsed(data, file.path)
