"""Read and write weight files of cifarnet, and read those of the original project.

A weight file is an HDF5 file. The root attribute ``cifarnet`` holds its header as JSON. The group ``weights`` holds the
tensors as datasets under the full names of the network's description (see ``cifarnet.hdf5``).
"""

import json
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet import __version__
from cifarnet.errors import InvalidValueError, WeightsError, listed, without_marks
from cifarnet.fields import typed_fields
from cifarnet.hdf5 import Hdf5File, hdf5_content, read_hdf5, write_hdf5
from cifarnet.json_files import shown
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe, model_name
from cifarnet.preprocessing import Normalization, names_fault
from cifarnet.runs.provenance import TrainedOn
from cifarnet.weights.formats import original
from cifarnet.weights.record import FORMAT, LARGEST, MEANINGS, Weights, too_large

if TYPE_CHECKING:
    import h5py

HEADER = "cifarnet"
_GROUP = "weights"


def save_weights(path: Path, weights: Weights, *, half: bool = False) -> None:
    """Write ``weights`` to the file ``path`` atomically, with a checksum. With ``half`` tensors are stored as float16.

    Raises:
        StorageError: when the file can't be written.
    """
    write_hdf5(path, lambda file: write_into(file, weights, half=half))


def own_content(path: Path, weights: Weights) -> bytes:
    """Return the content of the weight file ``path`` with ``weights``."""
    return hdf5_content(path, lambda file: write_into(file, weights))


def write_into(file: "h5py.File", weights: Weights, *, half: bool = False) -> None:
    """Write the header and the tensors into an open file. Checkpoints add the train state to the same file."""
    # The version of the file that the weights were read from may differ.
    file.attrs[HEADER] = json.dumps({**weights.header(), "version": __version__})
    for name, array in weights.tensors.items():
        file.create_dataset(f"{_GROUP}/{name}", data=array, dtype="float16" if half else "float32")


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
    known = set(addresses.values())
    # Keras keeps an empty group for a layer without weights.
    found = (
        file.datasets if is_original else [at for at in (*file.datasets, *file.empty) if at.startswith(f"{_GROUP}/")]
    )
    if extra := [at for at in found if at not in known]:
        raise WeightsError(f"{file.path} has tensors that {weights.spec.title} lacks. Received: {listed(extra, 3)}")
    return replace(weights, tensors=tensors)


def header_in(file: Hdf5File) -> Weights:
    """Return the validated header of a parsed file, without tensors.

    Raises:
        WeightsError: when the header is invalid, or written by a later version of cifarnet.
    """
    path = file.path
    data = file.json(HEADER)
    if data is None:
        return original.header_in(file)
    try:
        if isinstance(data, dict) and isinstance(format := data.get("format"), int) and format > FORMAT:
            raise WeightsError(
                f"{path} was written by cifarnet {data.get('version')!s:.60}, in a format that this version"
                f" ({__version__}) can't read. Upgrade cifarnet to read it. Received: format {shown(format)}"
            )
        header = _Header(**typed_fields(_Header, data, "The header", others=True))
        if fault := names_fault(header.class_names):
            raise InvalidValueError(f"class_names {fault}")
        # As for the names in data sources: macOS stores an accent and its letter as two characters.
        names = tuple(unicodedata.normalize("NFC", name) for name in header.class_names)
        spec = _spec(header.spec, header.format, path)
        normalization = Normalization(**typed_fields(Normalization, header.normalization, "A normalization"))
        trained_on = None if header.trained_on is None else TrainedOn.from_dict(header.trained_on)
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a valid cifarnet weight file: {without_marks(str(error))}") from error
    try:
        return Weights(
            spec,
            {},
            names,
            normalization,
            header.recipe,
            header.accuracy,
            header.temperature,
            header.reject_below,
            header.version,
            trained_on,
        )
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


@dataclass(frozen=True)
class _Header:
    """The JSON header of a weight file. Files of cifarnet 0.1 lack the fields that have defaults."""

    format: int
    version: str
    spec: dict[str, Any]
    class_names: tuple[str, ...]
    normalization: dict[str, Any]
    recipe: dict[str, Any] | None
    accuracy: float | None
    temperature: float = 1.0
    reject_below: float | None = None
    trained_on: dict[str, Any] | None = None


@dataclass(frozen=True)
class _FirstSpec:
    """The network in files of format 1."""

    depth: int = 20
    classes: int = 10
    image_size: int = 32


def _spec(values: dict[str, Any], format: int, path: Path) -> ModelSpec:
    values = typed_fields(_FirstSpec if format == 1 else ModelSpec, values, "A network")
    # Checked before a ModelSpec is created, whose messages would include all digits of a huge number.
    _require_possible(values, path)
    if format == 1:
        values["name"] = model_name(values.pop("depth", _FirstSpec.depth))
    spec = ModelSpec(**values)
    _require_possible({"depth": spec.depth}, path)
    return spec


def _require_possible(values: dict[str, Any], path: Path) -> None:
    if name := too_large(values):
        raise WeightsError(
            f"{path} has a network that is too large. The largest {MEANINGS[name]} is {LARGEST[name]:,}."
            f" Received: {shown(values[name])}"
        )
