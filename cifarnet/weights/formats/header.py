"""The header of cifarnet's files: the facts that evaluation and prediction need, as JSON."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import __version__
from cifarnet.errors import InvalidValueError, WeightsError, without_marks
from cifarnet.fields import typed_fields
from cifarnet.json_files import shown
from cifarnet.models.embeddings import EmbeddingStatistics
from cifarnet.models.spec import ModelSpec, model_name
from cifarnet.preprocessing import Normalization, names_fault
from cifarnet.runs.provenance import TrainedOn
from cifarnet.weights.record import FORMAT, LARGEST, MEANINGS, Weights, too_large

NAME = "cifarnet"
"""The name under which files hold the header."""

STATISTICS = "embeddings"
"""The name under which files hold the arrays of the embedding statistics, if the header has ``reject_beyond``."""


def statistics_shapes(weights: Weights) -> dict[str, tuple[int, int]]:
    """Return the shapes of the arrays of embedding statistics that a file with the header of ``weights`` must hold.

    The keys are the names in the file, such as ``embeddings/means``.
    """
    if weights.reject_beyond is None:
        return {}
    return {f"{STATISTICS}/{name}": shape for name, shape in EmbeddingStatistics.shapes(weights.spec).items()}


def statistics_arrays(weights: Weights) -> dict[str, np.ndarray]:
    """Return the arrays of the embedding statistics of ``weights`` by their names in files."""
    if weights.statistics is None:
        return {}
    return {f"{STATISTICS}/{name}": array for name, array in weights.statistics.arrays().items()}


def with_tensors(weights: Weights, tensors: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray]) -> Weights:
    """Return ``weights`` with ``tensors``, and with the arrays of ``statistics_shapes``."""
    parts = {name.removeprefix(f"{STATISTICS}/"): array for name, array in statistics.items()}
    return replace(weights, tensors=dict(tensors), statistics=EmbeddingStatistics(**parts) if parts else None)


def written(weights: Weights) -> dict[str, Any]:
    """Return the header of a new file with ``weights`` as JSON-ready data."""
    # The version of the file that the weights were read from may differ.
    return {**weights.header(), "version": __version__}


def parsed(data: Any, path: Path) -> Weights:
    """Return the weights without tensors that the header ``data`` of the file ``path`` describes.

    Raises:
        WeightsError: when the header is invalid, or written by a later version of cifarnet.
    """
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
            header.reject_beyond,
            version=header.version,
            trained_on=trained_on,
        )
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


@dataclass(frozen=True)
class _Header:
    """The JSON header of a file. Files of cifarnet 0.1 lack the fields that have defaults."""

    format: int
    version: str
    spec: dict[str, Any]
    class_names: tuple[str, ...]
    normalization: dict[str, Any]
    recipe: dict[str, Any] | None
    accuracy: float | None
    temperature: float = 1.0
    reject_below: float | None = None
    reject_beyond: float | None = None
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
