"""Weights: a network's tensors and all that using them needs, whatever file they come from."""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cifarnet import __version__
from cifarnet.class_names import CLASS_LIMIT
from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, Normalization, describe
from cifarnet.runs.provenance import TrainedOn

FORMAT = 2
"""Format 2 names the network; format 1, of cifarnet up to 0.2, gave the ``depth`` of a ResNet."""

# The depth is that of He et al.'s deepest. Larger networks only use up time and memory, and their checkpoints would be
# larger than any file that is read.
LARGEST = {"depth": 1202, "classes": CLASS_LIMIT, "image_size": 1024}

# Of Weights.temperature: fitted ones lie within a hundredth and a hundred, and float32 divides by all of these.
TEMPERATURES = (1e-3, 1e3)


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
    if name := too_large({"depth": spec.depth, **spec.to_dict()}):
        most, received = LARGEST[name], getattr(spec, name)
        raise InvalidValueError(f"Networks may have a {name} of at most {most:,}. Received: {received:,}")


def too_large(values: dict[str, Any]) -> str | None:
    """Return the name of the first of a network's ``values`` that is beyond ``LARGEST``."""
    return next((name for name, most in LARGEST.items() if values.get(name, 0) > most), None)
