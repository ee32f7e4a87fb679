"""Engines compute logits from images. A new engine is one module here and one row of ``ENGINES``."""

import importlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cifarnet.choices import ENGINE_NAMES
from cifarnet.data.progress import Progress
from cifarnet.errors import invalid, unknown_value
from cifarnet.installation import is_installed, require_package
from cifarnet.models.memory import images_within_limit
from cifarnet.models.spec import ModelSpec
from cifarnet.weights.record import Weights

BATCH_SIZE = 250
"""Images per batch. Larger images have smaller batches; see ``default_batch_size``."""


@dataclass(frozen=True)
class EngineRow:
    """Where an engine is, and what it needs.

    Attributes:
        module: its module, which is imported when the engine starts.
        attribute: its class in the module.
        requires: the package that it runs on.
        precisions: the data types that it computes in. The first is the default.
    """

    module: str
    attribute: str
    requires: str
    precisions: tuple[str, ...] = ("float32",)


ENGINES = {
    "onnx": EngineRow("cifarnet.inference.engines.onnx", "OnnxEngine", "onnxruntime"),
    "keras": EngineRow("cifarnet.inference.engines.keras", "KerasEngine", "keras"),
    "openvino": EngineRow(
        "cifarnet.inference.engines.openvino", "OpenvinoEngine", "openvino", precisions=("float32", "bfloat16")
    ),
}
"""The engines by name."""


class Engine(Protocol):
    """Computes the logits of one network, and the distances of images from its training images.

    In float32, the logits of engines agree to 1e-5 of the largest one.
    """

    def logits(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3).

        Args:
            images: the images.
            batch_size: images per batch.
            compiled: whether to compile the network. Without compilation the first batch is done sooner, and the
                others may take longer. Engines that always compile ignore it.
            report: called with the progress after every batch.
        """
        ...

    def logits_and_distances(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return the logits and, in the last column, the distances of ``images``, float32 (n, classes + 1).

        Distances are those of ``cifarnet.models.embeddings``, in float32 in every precision. The network must have the
        statistics for them (``Weights.reject_beyond``). The arguments are those of ``logits``.
        """
        ...


def default_batch_size(spec: ModelSpec) -> int:
    """Return the images per batch for the network of ``spec``: ``BATCH_SIZE``, or fewer within the limit of memory."""
    return images_within_limit(spec, BATCH_SIZE)


def choose_engine(name: str = "auto", *, backend: str | None = None) -> str:
    """Return the name of the engine for ``name``, without importing an engine.

    ``"auto"`` is ``"onnx"`` on a CPU. It is ``"keras"`` when a Keras ``backend`` is asked for, when the machine has a
    GPU that is ready for Keras, and when ONNX Runtime is not installed.

    Raises:
        InvalidValueError: when there is no such engine.
        BackendError: when the package that the engine runs on is not installed.
    """
    if name not in (*ENGINE_NAMES, *ENGINES):
        raise unknown_value("engine", name, ENGINE_NAMES)
    if name != "auto":
        require_package(f"The engine {name}", ENGINES[name].requires)
        return name
    return "keras" if backend is not None else automatic_engine()[0]


def automatic_engine() -> tuple[str, str]:
    """Return the engine for ``"auto"`` without a chosen backend, and why it is chosen."""
    from cifarnet.backend.gpus import has_usable_gpu

    if has_usable_gpu():
        return "keras", "this machine has an NVIDIA GPU with its driver and CUDA"
    if not is_installed(ENGINES["onnx"].requires):
        return "keras", "ONNX Runtime is not installed"
    return "onnx", "it starts fastest on a CPU"


def choose_precision(engine: str, precision: str | None) -> str:
    """Return the data type in which ``engine`` computes: ``precision``, or by default float32.

    Raises:
        InvalidValueError: when the engine does not compute in ``precision``.
    """
    known = ENGINES[engine].precisions
    if precision not in (None, *known):
        problem = f"must be {' or '.join(known)} for the engine {engine}"
        others = [name for name, row in ENGINES.items() if precision in row.precisions]
        remedy = f"The engine {others[0]} computes in {precision}." if others else ""
        raise invalid("precision", problem, precision, valid=known, remedy=remedy)
    return precision or known[0]


def start_engine(name: str, weights: Weights, *, precision: str | None = None) -> Engine:
    """Return the engine called ``name`` for the network of ``weights``.

    Args:
        name: one of ``ENGINES``.
        weights: the weights.
        precision: the data type of the computation, by default float32.

    Raises:
        InvalidValueError: when there is no such engine, or when it does not compute in ``precision``.
        BackendError: when the package that it runs on is not installed, or the CPU lacks ``precision``.
    """
    if name not in tuple(ENGINES):
        raise unknown_value("engine", name, ENGINES)
    require_package(f"The engine {name}", ENGINES[name].requires)
    row, precision = ENGINES[name], choose_precision(name, precision)
    engine: Engine = getattr(importlib.import_module(row.module), row.attribute)(weights, precision=precision)
    return engine
