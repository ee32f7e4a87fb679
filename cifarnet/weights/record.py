"""The class ``Weights``: a network's tensors, and the facts that evaluation and prediction need."""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cifarnet import __version__
from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.fields import IMAGE_SIZES
from cifarnet.models.embeddings import EmbeddingStatistics
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import CLASS_LIMIT, Normalization
from cifarnet.runs.provenance import TrainedOn

FORMAT = 3
"""The newest version of the file format.

Format 3 has a mean and a standard deviation for each channel, which earlier versions of cifarnet can't read. Files with
one for all channels have format 2, with the network's name. Format 1 has a ResNet's depth. It is that of cifarnet 0.1,
and development versions of 0.2.
"""

# The deepest ResNet of He et al. 2015 (arXiv:1512.03385) has 1,202 layers. Checkpoints of larger networks would exceed
# the size limit of files that are read.
LARGEST = {"depth": 1202, "classes": CLASS_LIMIT, "image_size": int(IMAGE_SIZES.high)}

MEANINGS = {"depth": "depth", "classes": "number of classes", "image_size": "image size"}
"""The meaning of each value in ``LARGEST``, for messages."""

# Valid values of Weights.temperature. Fitted temperatures are between 0.01 and 100.
TEMPERATURES = (1e-3, 1e3)

# Its square is far below the largest float32. Statistics of images have bounds of at most a few million.
_LARGEST_BOUND = 1e15


@dataclass(frozen=True)
class Weights:
    """A network's trained tensors, and the facts that evaluation and prediction need.

    Attributes:
        spec: the network.
        tensors: float32 arrays by full name, such as ``conv2d/kernel``.
        class_names: the name of each class, in the order of the logits.
        normalization: preprocessing of the images.
        recipe: the training recipe as JSON-ready data; None where unknown, as in the original project's files.
        accuracy: accuracy on the test images, 0 to 1; None where unknown.
        temperature: divisor of the logits, which calibrates probabilities; 1 without calibration.
        reject_below: a picture whose largest logit is below this probably belongs to none of the classes; None where
            unknown. Like ``temperature`` it is fitted to held-out images (``cifarnet.evaluation.calibration``). It
            counts only where ``reject_beyond`` is None.
        reject_beyond: a picture whose distance is above this probably belongs to none of the classes; None for weights
            without embedding statistics. It is fitted as ``reject_below`` is.
        statistics: the statistics of training images by which distances are computed (``cifarnet.models.embeddings``).
            None without ``reject_beyond``, and for an exported network, whose graph has them.
        version: the version of cifarnet that wrote the file.
        trained_on: the images of the training; None where unknown, as in files of cifarnet 0.1.
        graph: the serialized ONNX graph that computes the logits, of an exported network, which has no tensors; None
            for weights.
        graph_precision: the data type in which ``graph`` computes, ``float32`` or ``int8``.

    Raises:
        WeightsError: for an invalid value. The message names the field.
    """

    spec: ModelSpec
    tensors: dict[str, np.ndarray] = field(repr=False)
    class_names: tuple[str, ...]
    normalization: Normalization
    recipe: dict[str, Any] | None = None
    accuracy: float | None = None
    temperature: float = 1.0
    reject_below: float | None = None
    reject_beyond: float | None = None
    statistics: EmbeddingStatistics | None = field(default=None, repr=False)
    version: str = __version__
    trained_on: TrainedOn | None = None
    graph: bytes | None = field(default=None, repr=False)
    graph_precision: str = "float32"

    def __post_init__(self) -> None:
        if len(self.class_names) != self.spec.classes:
            raise WeightsError(
                f"{self.spec.title} with {self.spec.classes} classes needs as many class names."
                f" Received: {', '.join(self.class_names)}"
            )
        low, high = TEMPERATURES
        recipe, accuracy, below, beyond = self.recipe, self.accuracy, self.reject_below, self.reject_beyond
        for what, valid, value in (
            (f"temperature is {low:g} to {high:g}", low <= self.temperature <= high, self.temperature),
            ("accuracy is 0 to 1, or None", accuracy is None or 0 <= accuracy <= 1, accuracy),
            ("reject_below is finite, or None", below is None or math.isfinite(below), below),
            ("reject_beyond is finite and at least 0, or None", beyond is None or 0 <= beyond < math.inf, beyond),
            ("recipe has a name, or is None", recipe is None or isinstance(recipe.get("name"), str), recipe),
        ):
            if not valid:
                raise WeightsError(f"The {what}. Received: {value!s:.60}")
        if self.statistics is not None:
            self._require_fitting(self.statistics)

    def _require_fitting(self, statistics: EmbeddingStatistics) -> None:
        """Check that ``statistics`` have the shapes for the network, and that there is a threshold for them."""
        if self.reject_beyond is None:
            raise WeightsError("Embedding statistics need the threshold reject_beyond. Received: None")
        for name, shape in EmbeddingStatistics.shapes(self.spec).items():
            if (found := statistics.arrays()[name].shape) != shape:
                raise WeightsError(
                    f"The {name} of the embedding statistics of {self.spec.title} must have the shape {shape}."
                    f" Received: {found}"
                )
        if not (bound := statistics.bound()) < _LARGEST_BOUND:
            raise WeightsError(
                f"The embedding statistics of {self.spec.title} are too large for distances in float32: the bound must"
                f" be below {_LARGEST_BOUND:g}. Received: {bound:g}"
            )

    def required_statistics(self) -> EmbeddingStatistics:
        """Return the statistics by which distances are computed.

        Raises:
            WeightsError: when there are none.
        """
        if self.statistics is None:
            raise WeightsError(f"The {self.spec.title} has no embedding statistics. Received: weights without them")
        return self.statistics

    def require_tensors(self, purpose: str) -> None:
        """Check that there are tensors, which ``purpose`` needs: ``an export``.

        Raises:
            WeightsError: when this is an exported network.
        """
        if self.graph is not None:
            raise WeightsError(
                f"The {self.spec.title} is an exported network. It does not hold the tensors that {purpose} needs: use"
                " the run, the weight file or the name that it was made from. Received: an exported network"
            )

    def sha256(self) -> str:
        """Return the SHA-256 of names and tensors in the network's order. It is independent of the header."""
        digest = hashlib.sha256()
        for name in named_weights(describe(self.spec)):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.tensors[name]).tobytes())
        return digest.hexdigest()

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Return ``logits`` (n, classes) divided by the temperature, whose softmax gives calibrated probabilities.

        The order of the classes does not change.
        """
        return logits / np.float32(self.temperature)

    def header(self) -> dict[str, Any]:
        """Return the header of the weight file as JSON-ready data."""
        return {
            "format": FORMAT if self.normalization.per_channel else 2,
            "version": self.version,
            "spec": self.spec.to_dict(),
            "class_names": list(self.class_names),
            "normalization": self.normalization.to_dict(),
            "recipe": self.recipe,
            "accuracy": self.accuracy,
            "temperature": self.temperature,
            "reject_below": self.reject_below,
            "reject_beyond": self.reject_beyond,
            "trained_on": self.trained_on.to_dict() if self.trained_on else None,
        }


def require_storable(spec: ModelSpec) -> None:
    """Check that a network is small enough for a weight file that can be read.

    Raises:
        InvalidValueError: when it is too large. The message names the value and its limit.
    """
    if name := too_large({"depth": spec.depth, **spec.to_dict()}):
        most, received = LARGEST[name], getattr(spec, name)
        raise InvalidValueError(f"The {MEANINGS[name]} of a network is at most {most:,}. Received: {received:,}")


def too_large(values: dict[str, Any]) -> str | None:
    """Return the name of the first of a network's ``values`` that exceeds its limit in ``LARGEST``, or None."""
    return next((name for name, most in LARGEST.items() if values.get(name, 0) > most), None)
