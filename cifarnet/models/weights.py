"""Weight files: one HDF5 file that describes itself, and the original project's layout.

A file holds its header as JSON in the root attribute ``cifarnet`` and its tensors as datasets below ``weights``, under
the full names of the description. A weight file is data, never code, and may come from a stranger: everything read is
checked against the description first (see ``cifarnet.hdf5``).
"""

import hashlib
import json
import math
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet import __version__
from cifarnet.class_names import CLASS_LIMIT, names_fault
from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.fields import typed_fields
from cifarnet.hdf5 import Hdf5File, read_hdf5, write_hdf5
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import CIFAR10_CLASSES, ModelSpec, Normalization, describe, model_name
from cifarnet.runs.provenance import TrainedOn

if TYPE_CHECKING:
    import h5py

HEADER = "cifarnet"
FORMAT = 2
"""Format 2 names the network; format 1, of cifarnet up to 0.2, gave the ``depth`` of a ResNet."""

# The depth is that of He et al.'s deepest. Larger networks only use up time and memory, and their checkpoints would be
# larger than any file that is read.
LARGEST = {"depth": 1202, "classes": CLASS_LIMIT, "image_size": 1024}

# Of Weights.temperature: fitted ones lie within a hundredth and a hundred, and float32 divides by all of these.
TEMPERATURES = (1e-3, 1e3)

# What the original project's preprocessing used, the statistics of CIFAR-10's training images: its files carry none.
ORIGINAL_NORMALIZATION = Normalization(120.70756512369792, 64.1500758911213)


@dataclass(frozen=True)
class Weights:
    """A network's tensors (float32, by full name) and all that using them needs.

    ``recipe`` and ``accuracy`` tell where they come from: the training recipe as JSON-ready data, and the accuracy on
    the test images (0 to 1); None where unknown, as in the original project's files. ``temperature`` divides logits
    before they become probabilities; a picture whose largest logit is below ``reject_below`` is probably of no class.
    Both come from held-out images (``cifarnet.evaluation.calibration``), and are 1 and None without. ``trained_on``
    are the images that they were trained on; None where unknown, as in files of cifarnet 0.1.
    """

    spec: ModelSpec
    tensors: dict[str, np.ndarray] = field(repr=False)
    class_names: tuple[str, ...]
    normalization: Normalization
    recipe: dict[str, Any] | None = None
    accuracy: float | None = None
    temperature: float = 1.0
    reject_below: float | None = None
    version: str = __version__
    trained_on: TrainedOn | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) != self.spec.classes:
            raise WeightsError(
                f"{self.spec.title} with {self.spec.classes} classes needs as many class names."
                f" Received: {', '.join(self.class_names)}"
            )
        low, high = TEMPERATURES
        recipe, accuracy, threshold = self.recipe, self.accuracy, self.reject_below
        for what, valid, value in (
            (f"temperature is {low:g} to {high:g}", low <= self.temperature <= high, self.temperature),
            ("accuracy is 0 to 1, or None", accuracy is None or 0 <= accuracy <= 1, accuracy),
            ("reject_below is finite, or None", threshold is None or math.isfinite(threshold), threshold),
            ("recipe has a name, or is None", recipe is None or isinstance(recipe.get("name"), str), recipe),
        ):
            if not valid:
                raise WeightsError(f"The {what}. Received: {value!s:.60}")

    def sha256(self) -> str:
        """SHA-256 of the tensors alone, in the network's order: equal networks, whatever the file around them."""
        digest = hashlib.sha256()
        for name in named_weights(describe(self.spec)):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.tensors[name]).tobytes())
        return digest.hexdigest()

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """The network's ``logits`` (n, classes) such that their softmax states true probabilities, if it can be known.

        Neither the likeliest class nor the order of the others changes.
        """
        return logits / np.float32(self.temperature)

    def header(self) -> dict[str, Any]:
        """The file's header as JSON-ready data."""
        return {
            "format": FORMAT,
            "version": self.version,
            "spec": self.spec.to_dict(),
            "class_names": list(self.class_names),
            "normalization": {"mean": self.normalization.mean, "std": self.normalization.std},
            "recipe": self.recipe,
            "accuracy": self.accuracy,
            "temperature": self.temperature,
            "reject_below": self.reject_below,
            "trained_on": self.trained_on.to_dict() if self.trained_on else None,
        }


def require_storable(spec: ModelSpec) -> None:
    """Refuse a network whose file would be refused when it is read.

    Raises:
        InvalidValueError: naming the part of ``spec`` that is too large, and the largest that is stored.
    """
    if name := _too_large({"depth": spec.depth, **spec.to_dict()}):
        most, received = LARGEST[name], getattr(spec, name)
        raise InvalidValueError(f"Networks may have a {name} of at most {most:,}. Received: {received:,}")


def _too_large(values: dict[str, Any]) -> str | None:
    """Return the name of the first of a network's ``values`` that is beyond ``LARGEST``."""
    return next((name for name, most in LARGEST.items() if values.get(name, 0) > most), None)


def save_weights(path: Path, weights: Weights, *, half: bool = False) -> None:
    """Write ``weights`` to the file ``path``, atomically and sealed; with ``half`` rounded to float16.

    Raises:
        StorageError: when the system refuses.
    """
    write_hdf5(path, lambda file: write_into(file, weights, half=half))


def write_into(file: "h5py.File", weights: Weights, *, half: bool = False) -> None:
    """Write header and tensors into an open file; a checkpoint adds its training state beside them."""
    # Whatever wrote the file that they were read from, this version writes this one.
    file.attrs[HEADER] = json.dumps({**weights.header(), "version": __version__})
    for name, array in weights.tensors.items():
        file.create_dataset(f"weights/{name}", data=array, dtype="float16" if half else "float32")


def load_weights(path: Path) -> Weights:
    """Read a weight file, a checkpoint, or a weight file of the original project (Keras 2.2.4-tf HDF5 layout).

    Raises:
        WeightsError: when the file is missing, damaged, of an unknown layout or version, or does not hold exactly
            the tensors of the network that it names.
    """
    return weights_in(read_hdf5(path))


def weights_in(file: Hdf5File) -> Weights:
    """Return header and tensors of a parsed file; see ``load_weights``."""
    weights = header_in(file)
    group = None if weights.version == ORIGINAL else "weights"
    expected = named_weights(describe(weights.spec))
    addresses = {name: _address(name, group) for name in expected}
    tensors = {name: file.tensor(addresses[name], weight.shape) for name, weight in expected.items()}
    # Keras keeps an empty group for a layer without weights.
    found = [*file.datasets] if group is None else [*file.datasets, *file.empty]
    known = set(addresses.values())
    extra = [at for at in found if at not in known and (group is None or at.startswith(f"{group}/"))]
    if extra:
        raise WeightsError(f"{file.path} has tensors that {weights.spec.title} has not: {listed(extra, 3)}.")
    return replace(weights, tensors=tensors)


def load_header(path: Path) -> Weights:
    """Like ``load_weights`` but without the tensors."""
    return header_in(read_hdf5(path))


def header_in(file: Hdf5File) -> Weights:
    """Return what a parsed file says it holds, checked; without tensors."""
    path = file.path
    data = file.json(HEADER)
    if data is None:
        return _original_header(file)
    try:
        if isinstance(data, dict) and isinstance(format := data.get("format"), int) and format > FORMAT:
            raise WeightsError(
                f"{path} was written by cifarnet {data.get('version')!s:.60}, whose format this version ({__version__})"
                " does not know. Upgrade cifarnet to read it."
            )
        header = _Header(**typed_fields(_Header, data, "The header", others=True))
        if fault := names_fault(header.class_names):
            raise InvalidValueError(f"class_names {fault}")
        # As data sources do it: macOS writes accents apart from their letters.
        names = tuple(unicodedata.normalize("NFC", name) for name in header.class_names)
        spec = _spec(header.spec, header.format, path)
        normalization = Normalization(**typed_fields(Normalization, header.normalization, "A normalization"))
        trained_on = None if header.trained_on is None else TrainedOn.from_dict(header.trained_on)
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a valid cifarnet weight file: {error}") from error
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
    """The JSON of a weight file; those of cifarnet 0.1 have no field with a default."""

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
    # Before a ModelSpec is made of them: its messages would write out a number of a million digits.
    _require_possible(values, path)
    if format == 1:
        values["name"] = model_name(values.pop("depth", _FirstSpec.depth))
    spec = ModelSpec(**values)
    _require_possible({"depth": spec.depth}, path)
    return spec


def _require_possible(values: dict[str, Any], path: Path) -> None:
    if name := _too_large(values):
        raise WeightsError(f"{path} names a network that is too large. The largest {name} is {LARGEST[name]:,}.")


ORIGINAL = "original"


def _original_header(file: Hdf5File) -> Weights:
    path = file.path
    if not {"conv2d", "sequential", "conv2d_1"} <= set(file.names):
        raise WeightsError(
            f"{path} is an HDF5 file, but not a weight file: it has neither cifarnet's header nor the layers of the"
            f" original project's files (conv2d, sequential, ...). It has: {listed(file.names, 8) or 'nothing'}"
        )
    stage, bias = "sequential/sequential/", file.datasets.get("conv2d_1/conv2d_1/bias:0")
    units = len({address.split("/")[2] for address in file.datasets if address.startswith(stage)})
    if bias is None or len(bias.shape) != 1:
        raise WeightsError(f"{path} is not a complete weight file of the original project: it has no classes.")
    classes = bias.shape[0]
    try:
        spec = _spec({"depth": 6 * units + 2, "classes": classes}, 1, path)
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a complete weight file of the original project: {error}") from error
    names = CIFAR10_CLASSES if classes == len(CIFAR10_CLASSES) else tuple(f"class {k}" for k in range(classes))
    return Weights(spec, {}, names, ORIGINAL_NORMALIZATION, version=ORIGINAL)


def _address(name: str, group: str | None) -> str:
    """Where a tensor lies in the file; the original layout doubles the top layer's name and ends in ``:0``."""
    return f"{group}/{name}" if group else f"{name.partition('/')[0]}/{name}:0"
